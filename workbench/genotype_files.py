"""Genotypes as a person gives them: a text, a run, a file of one, a file of many."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.limits import GENOTYPE_FILE, path_fault, read_text, shown
from workbench.spaces.genotype import Genotype, GenotypeError
from workbench.tables import genotype_of

COLUMNS = ("genotype", "arch", "arch_str", "code")  # of a CSV; the first that is there counts


@dataclass(frozen=True)
class Given:
    """A genotype and where it stands: the empty text, or a file and line for error messages."""

    genotype: Genotype
    where: str = ""


def read_genotypes(text: str) -> list[Given]:
    """The genotypes that `text` is or names.

    It is a text form of either field, JSON, the six digits of a NAS-Bench-201 cell, a run folder,
    or a file: one genotype, one per line (empty lines and lines that begin with # do not count),
    or a CSV with a column of `COLUMNS`.

    Raises:
        GenotypeError: if it is none of these; a bad row is named by its line.
        RunError: if it is a folder and no run, or a run without a genotype.
    """
    if text.lstrip().startswith(("|", "{")) or "(" in text:
        return [Given(Genotype.parse(text))]
    if re.fullmatch(r"[0-4]{6}", text.strip()):
        return [Given(genotype_of(text))]
    path = Path(text)
    if path_fault(text) is None and path.is_dir():
        return [Given(_of_run(path))]
    if path_fault(text) is not None or not path.is_file():
        raise GenotypeError(
            f"{shown(text)} is no genotype's text and no file or run that holds one"
        )
    content = read_text(path, GENOTYPE_FILE, "file of genotypes", GenotypeError)
    try:
        rows = _rows(path, content) if path.suffix.lower() == ".csv" else _lines(path, content)
        found = list(rows)
    except csv.Error as error:
        raise GenotypeError(f"{path} cannot be read as a CSV: {error}") from error
    if not found:
        raise GenotypeError(f"{path} holds no genotype")
    return found


def _of_run(path: Path) -> Genotype:
    from workbench.trace import RunError, open_run

    run = open_run(path)
    if run.genotype is None:
        raise RunError(f"{path} has no genotype yet (status {run.status}); let the search end")
    return run.genotype


def _lines(path: Path, content: str) -> Iterator[Given]:
    lines = [
        (number, line.strip())
        for number, line in enumerate(content.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    whole = content.lstrip().startswith("{") or (lines and lines[-1][1].startswith(")"))
    if whole:  # JSON, or one Genotype(…) over several lines
        yield Given(_parsed(content, str(path)), str(path))
        return
    for number, line in lines:
        where = f"{path}, line {number}"
        yield Given(_parsed(line, where), where)


def _rows(path: Path, content: str) -> Iterator[Given]:
    rows = csv.DictReader(content.splitlines(keepends=True))
    column = next((name for name in COLUMNS if name in (rows.fieldnames or ())), None)
    if column is None:
        raise GenotypeError(f"{path} needs a column named {', '.join(COLUMNS)}")
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        yield Given(_parsed(row[column] or "", where), where)


def _parsed(text: str, where: str) -> Genotype:
    try:
        return (
            genotype_of(text) if re.fullmatch(r"\s*[0-4]{1,6}\s*", text) else Genotype.parse(text)
        )
    except GenotypeError as error:
        raise GenotypeError(f"{where}: {error}") from error
