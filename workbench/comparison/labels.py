"""Which runs are seeds of the same thing: those of one method, space and data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from workbench.trace.runs import Run


class Group(NamedTuple):
    """What runs have in common that are seeds of the same thing; "?" is not recorded."""

    method: str
    space: str
    data: str


def group_of(run: Run) -> Group:
    """The method, space and data of a run."""
    return Group(*(run.named(what) or "?" for what in ("method", "space", "data")))


def labels(runs: Sequence[Run]) -> list[str]:
    """The name of each run's group: its method, and of space and data what is not one for all."""
    groups = [group_of(run) for run in runs]
    told = [index for index in (1, 2) if len({group[index] for group in groups}) > 1]
    return [" · ".join([group.method, *(group[index] for index in told)]) for group in groups]


def grouped(runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    """The runs of every group under its label, in order of appearance."""
    out: dict[str, list[Run]] = {}
    for name, run in zip(labels(runs), runs, strict=True):
        out.setdefault(name, []).append(run)
    return list(out.items())


def run_names(runs: Sequence[Run]) -> list[str]:
    """A name for each run that no other has: its folder's, with parents in front where it repeats.

    The same folder given again is named with its number, such as `a (2)`.
    """
    paths = [Path(os.path.abspath(run.path)) for run in runs]
    names = {path: _shortest(path, set(paths) - {path}) for path in set(paths)}
    earlier = [paths[:index].count(path) for index, path in enumerate(paths)]
    return [
        names[path] + (f" ({count + 1})" if count else "")
        for path, count in zip(paths, earlier, strict=True)
    ]


def grouped_names(runs: Sequence[Run]) -> list[tuple[str, str, Run]]:
    """Group, name and run of every run, runs of a group beside each other as in `grouped`."""
    rows = list(zip(labels(runs), run_names(runs), runs, strict=True))
    return [row for group in dict.fromkeys(labels(runs)) for row in rows if row[0] == group]


def _shortest(path: Path, others: set[Path]) -> str:
    """The last parts of a path, as few as no other path ends in."""
    length = len(path.parts)
    depths = range(1, length + 1)
    alone = (n for n in depths if all(path.parts[-n:] != other.parts[-n:] for other in others))
    return str(Path(*path.parts[-next(alone, length) :]))
