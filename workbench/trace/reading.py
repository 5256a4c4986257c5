"""Reading events and genotypes, also while it is written and after a search was taken up again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from workbench.spaces.genotype import Genotype, GenotypeError
from workbench.trace import folder
from workbench.trace.appended import read_on
from workbench.trace.checks import check_line
from workbench.trace.control import POLL_SECONDS, lost, over
from workbench.trace.dataset import Arrays
from workbench.trace.folder import RunError
from workbench.trace.header import (
    being_put_back,
    is_sealed,
    least_events,
    read_header,
    turns,
)

T = TypeVar("T")
PATIENCE = 30.0  # seconds; to put 40,000 steps back takes one
_STEPS = f"{folder.TRACE}/stage_*/step/c"


@dataclass(frozen=True)
class Events:
    """The lines of a run's `events.jsonl`, and how many bytes they are."""

    lines: list[dict[str, object]] = field(default_factory=list)
    size: int = 0


@dataclass
class Known:
    """What was read of a run: true until the search goes back to a checkpoint.

    `stamp` is that of the folder before anything of it was read.
    """

    stamp: object = None
    events: Events = field(default_factory=Events)
    arrays: Arrays = field(default_factory=Arrays)


def read_events(run_path: Path, header: Mapping[str, object], known: Events) -> Events:
    """The lines of a run's `events.jsonl`.

    Args:
        header: as it was read before.  A writer appends a line before it counts it there; so a
            reader that looks into the header first never finds too few.
        known: those that were read before, which are not read again.

    Raises:
        RunError: if a line is damaged, or some are lost.
    """
    file = run_path / folder.EVENTS
    lines, size = read_on(file, known.lines, known.size, required=is_sealed(header))
    least = least_events(header)
    if len(lines) < least:  # or the search went back to a checkpoint, which says so first
        least, known = least_events(read_header(run_path)), Events()
        lines, size = read_on(file, [], 0, required=is_sealed(header))
    if len(lines) < least:
        what = f"holds {len(lines)} whole lines" if file.exists() else "is missing"
        raise RunError(
            f"{file} {what}, and {folder.HEADER} says there are {least}; {folder.RESTORE}"
        )
    first = len(known.lines) if size >= known.size else 0
    for number, line in enumerate(lines[first:], start=first + 1):
        check_line(line, f"{file}, line {number},")
    return Events(lines, size)


def stamp(run_path: Path) -> object:
    """It changes with whatever is written into a run's folder."""
    seen: list[object] = []
    for place in (run_path, run_path / "evaluation"):
        with suppress(OSError), os.scandir(place) as entries:  # gone meanwhile: that is a change
            seen += [
                (entry.name, *_written(entry.stat(follow_symlinks=False))) for entry in entries
            ]
    for place in run_path.glob(_STEPS):  # only the last chunk grows
        with suppress(OSError):
            chunks = os.listdir(place)
            last = max((name for name in chunks if name.isdecimal()), key=int, default="")
            seen.append((str(place), len(chunks), last, *_written((place / last).lstat())))
    return sorted(seen, key=repr)


def _written(now: os.stat_result) -> tuple[int, int, int]:
    return now.st_ino, now.st_size, now.st_mtime_ns


def read_genotype(
    run_path: Path,
    header: Mapping[str, object],
    events: Callable[[], Sequence[Mapping[str, object]]],
) -> Genotype | None:
    """What a run derived, from its own file or else from the event; None if it has not.

    Raises:
        RunError: if the file is damaged.
    """
    path = run_path / folder.GENOTYPE
    if path.exists():
        return genotype_in(folder.read_sealed(path, required=is_sealed(header)), str(path))
    said = [line for line in events() if line["event"] == "Derived"]
    return genotype_in(said[-1]["genotype"], str(run_path / folder.EVENTS)) if said else None


def genotype_in(value: object, where: str) -> Genotype:
    """The genotype in a JSON value; `where` is its place in errors.

    Raises:
        RunError: if it is none.
    """
    try:
        return Genotype.from_json(json.dumps(value))
    except GenotypeError as error:
        raise RunError(f"{where}: {error}") from error


def steady(run_path: Path, memory: dict[str, object], look: Callable[[], T]) -> T:
    """What `look` sees of a run; once more if the search went back to a checkpoint meanwhile.

    As long as a search that lives puts its record back, this waits, though not for ever.

    Args:
        memory: what is remembered of the run, of which only its path stays true then.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found = look()
        except RunError:
            if not _went_back(run_path, memory, end):
                raise
            continue
        if not _went_back(run_path, memory, end):
            return found


def _went_back(run_path: Path, memory: dict[str, object], end: float) -> bool:
    now, before = read_header(run_path), memory.get("header")
    busy = being_put_back(now) and not over(now) and not lost(now) and time.monotonic() < end
    if busy:
        time.sleep(POLL_SECONDS)
    elif not isinstance(before, dict) or turns(now) == turns(before):
        return False
    for name in [name for name in memory if name != "path"]:
        del memory[name]
    memory["header"] = now
    return True
