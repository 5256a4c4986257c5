"""Which runs are seeds of the same thing: those of one method, space and data."""

from __future__ import annotations

from collections.abc import Sequence
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
