"""NAS-Bench-201 by table: the published accuracy of a cell, looked up and never trained.

A table is a CSV of all cells, one row each, or the official benchmark (`workbench.official_table`)
where that is installed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol, get_args

from workbench.errors import WorkbenchError
from workbench.limits import TABLE_FILE, read_text, shown
from workbench.spaces.genotype import CellGenes, Gene, Genotype, GenotypeError

Dataset = Literal["cifar10", "cifar100", "imagenet16_120"]
Provenance = Literal["may be looked up", "retrained, not looked up"]

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")  # digits of a code
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (from, to), in a code's order
DATASETS: tuple[Dataset, ...] = get_args(Dataset)

# The best of all 15,625 cells: no look-up can give more.
CEILINGS: Mapping[Dataset, float] = MappingProxyType(
    {"cifar10": 94.37, "cifar100": 73.51, "imagenet16_120": 47.31}
)
_ROUNDING = 0.005  # of a published percentage

_COLUMNS: Mapping[Dataset, str] = MappingProxyType(
    {"cifar10": "c10_test200", "cifar100": "c100_test200", "imagenet16_120": "in16_test200"}
)


class TableError(WorkbenchError):
    """A table that cannot be read, or a cell that is not in it."""


@dataclass(frozen=True)
class Entry:
    """What a table says of a cell: mean test accuracy in percent after 200 epochs of training.

    `index` and `iso_class` are the official order and the class of cells that compute the same,
    None where the table does not say; so are `parameters`.
    """

    code: str
    cifar10: float
    cifar100: float
    imagenet16_120: float
    index: int | None = None
    parameters: int | None = None
    iso_class: int | None = None

    @property
    def genotype(self) -> Genotype:
        """The cell."""
        return genotype_of(self.code)

    def accuracy(self, dataset: Dataset) -> float:
        """The accuracy on a data set."""
        return {name: float(getattr(self, name)) for name in DATASETS}[dataset]


class Table(Protocol):
    """Something to look cells up in."""

    def lookup(self, genotype: Genotype) -> Entry:
        """The entry of a cell; `TableError` if it has none."""
        ...

    def ceiling(self, dataset: Dataset) -> float:
        """The best accuracy of any cell, in percent."""
        ...


@dataclass(frozen=True)
class CsvTable:
    """A table in memory; every cell is a row, also those that compute what another one does.

    Two such cells were trained apart and may differ, so each has its own figures.
    """

    entries: Mapping[str, Entry]

    def lookup(self, genotype: Genotype) -> Entry:
        """The entry of a cell.

        Raises:
            TableError: if the table has no row for it.
        """
        code = code_of(genotype)
        if code not in self.entries:
            raise TableError(f"the table has no row for {genotype} (code {code})")
        return self.entries[code]

    def twins(self, genotype: Genotype) -> list[Entry]:
        """The other cells that compute the same, by the table's own classes if it has any."""
        entry = self.lookup(genotype)
        if entry.iso_class is None:
            return []
        return [e for e in self._classes[entry.iso_class] if e.code != entry.code]

    def ceiling(self, dataset: Dataset) -> float:
        """The best accuracy of any row."""
        return max(entry.accuracy(dataset) for entry in self.entries.values())

    @cached_property
    def _classes(self) -> dict[int, list[Entry]]:
        out: dict[int, list[Entry]] = {}
        for entry in self.entries.values():
            if entry.iso_class is not None:
                out.setdefault(entry.iso_class, []).append(entry)
        return out


def read_table(path: Path | str, *, trust_pickle: bool = False) -> Table:
    """The table in a file: a CSV, or the official benchmark's file or folder.

    A CSV has the columns `code` and `c10_test200`, `c100_test200`, `in16_test200`; `index`,
    `params_c10`, `iso_class` may be there too, and any others.

    Args:
        path: where the table is.
        trust_pickle: whether the official benchmark's file may be opened; it is a pickle, and a
            pickle that somebody made on purpose runs any code.

    Raises:
        TableError: if it cannot be read; a bad row is named by its line.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        from workbench.official_table import official_table

        return official_table(path, trust_pickle=trust_pickle)
    try:
        text = read_text(path, TABLE_FILE, "table", TableError)
        rows = csv.DictReader(text.splitlines(keepends=True))
        missing = {"code", *_COLUMNS.values()} - set(rows.fieldnames or ())
        if missing:
            raise TableError(f"table {path} has no column {', '.join(sorted(missing))}")
        entries = {}
        for row in rows:
            entry = _entry(row, f"table {path}, line {rows.line_num}")
            if entry.code in entries:
                raise TableError(f"table {path}, line {rows.line_num}: {entry.code} is twice")
            entries[entry.code] = entry
    except csv.Error as error:
        raise TableError(f"table {path} cannot be read: {error}") from error
    if not entries:
        raise TableError(f"table {path} holds no row")
    return CsvTable(entries)


def _entry(row: Mapping[str, str | None], where: str) -> Entry:
    def number(column: str, kind: Callable[[str], float]) -> float | None:
        text = row.get(column)
        if text is None or not text.strip():
            return None
        try:
            return kind(text)
        except ValueError as error:
            raise TableError(f"{where}: {column} is {shown(text)}, no number") from error

    accuracies = {column: number(column, float) for column in _COLUMNS.values()}
    for column, value in accuracies.items():
        if value is None or not 0 <= value <= 100:
            raise TableError(f"{where}: {column} must be a percentage, not {value}")
    try:
        code = code_of(genotype_of(row["code"] or ""))
    except GenotypeError as error:
        raise TableError(f"{where}: {error}") from error
    counts = [number(column, int) for column in ("index", "params_c10", "iso_class")]
    return Entry(code, *accuracies.values(), *counts)  # pyright: ignore[reportArgumentType]


def genotype_of(code: str) -> Genotype:
    """The cell of a six-digit code: per edge, in the order of `EDGES`, which of `OPS`.

    Raises:
        GenotypeError: if it is no such code.
    """
    text = code.strip()
    code = text.zfill(6) if text else ""  # a spreadsheet drops zeros in front
    if len(code) != 6 or not set(code) <= set("01234"):
        raise GenotypeError(
            f"{shown(code)} is no code of a NAS-Bench-201 cell: six digits 0 to 4, one per edge "
            f"1←0, 2←0, 2←1, 3←0, 3←1, 3←2, for {', '.join(OPS)}"
        )
    genes = tuple(
        Gene(OPS[int(digit)], src, dst)
        for digit, (src, dst) in zip(code, EDGES, strict=True)
        if digit != "0"
    )
    return Genotype((CellGenes("cell", 1, 3, genes, (3,)),))


def code_of(genotype: Genotype) -> str:
    """The six digits of a NAS-Bench-201 cell; an edge without a gene is `none`.

    Raises:
        GenotypeError: if it is no cell of that benchmark.
    """
    if not genotype.is_nasbench201 or genotype.cells[0].nodes != 3:
        raise GenotypeError(
            "only cells of NAS-Bench-201 are in its table: one kind of cell with one input and "
            f"three nodes, |op~0|+|op~0|op~1|+|op~0|op~1|op~2|; this is {genotype}"
        )
    cell, chosen = genotype.cells[0], {}
    if cell.concat != (3,):
        raise GenotypeError(f"a NAS-Bench-201 cell puts out its node 3, not {list(cell.concat)}")
    for gene in cell.genes:
        where = f"cell:{gene.src}→{gene.dst}"
        if gene.op not in OPS:
            raise GenotypeError(f"{where} has op {gene.op!r}, which is none of {', '.join(OPS)}")
        if (gene.src, gene.dst) in chosen:
            raise GenotypeError(f"{where} has two operations; a cell of the table has one per edge")
        chosen[gene.src, gene.dst] = gene.op
    return "".join(str(OPS.index(chosen.get(edge, "none"))) for edge in EDGES)


def provenance(dataset: Dataset, accuracy: float, table: Table | None = None) -> Provenance:
    """Whether an accuracy in percent can have come out of the table.

    One above the table's best was trained anew under another recipe: it cannot be compared with
    those that were looked up.

    Args:
        dataset: what was tested on.
        accuracy: in percent.
        table: whose best row counts; by default the published ceilings.

    Raises:
        TableError: if the accuracy is no percentage.
    """
    if not 0 <= accuracy <= 100:
        raise TableError(f"an accuracy is a percentage from 0 to 100, not {accuracy}")
    best = CEILINGS[dataset] if table is None else table.ceiling(dataset)
    return "retrained, not looked up" if accuracy > best + _ROUNDING else "may be looked up"
