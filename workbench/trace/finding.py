"""Runs beside each other: those in some folders."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from workbench.trace import folder
from workbench.trace.folder import RunError
from workbench.trace.runs import Run, open_run

_LOG = logging.getLogger(__name__)


def find_runs(paths: Iterable[Path | str]) -> Runs:
    """The runs in these folders: each is a run itself, or holds runs; in order of name.

    A run that is named more than once, by whatever path, counts once, at its first place.  One
    inside a folder that cannot be opened is left out with a warning; see `Runs.damaged`.

    Raises:
        RunError: if a folder is no run and holds none, or itself is a run that cannot be opened.
    """
    found: dict[Path, Run] = {}
    damaged: dict[Path, str] = {}
    for path in map(Path, paths):
        inside = sorted(header.parent for header in path.glob(f"*/{folder.HEADER}"))
        if (path / folder.HEADER).exists() or not inside:
            found.setdefault(path.resolve(), open_run(path))
            continue
        for place in inside:
            try:
                run = open_run(place)
                _ = run.genotype  # damage that stops every comparison
                found.setdefault(place.resolve(), run)
            except RunError as error:
                damaged[place] = str(error)
                _LOG.warning("left out: %s", error)
    if not found and not damaged:
        raise RunError("no run was named; give one or more run folders")
    return Runs(found.values(), damaged)


class Runs(list[Run]):
    """Runs beside each other; prints one a line.

    Attributes:
        damaged: folders that hold a run which could not be opened, and why.
    """

    def __init__(self, runs: Iterable[Run] = (), damaged: Mapping[Path, str] | None = None) -> None:
        super().__init__(runs)
        self.damaged = dict(damaged or {})

    def __repr__(self) -> str:
        lines = [*map(repr, self), *(f"<left out: {why}>" for why in self.damaged.values())]
        return "\n".join(lines) or "no runs"
