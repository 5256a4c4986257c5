"""Runs beside each other: those in some folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from workbench.trace import folder
from workbench.trace.folder import RunError
from workbench.trace.runs import Run, open_run


def find_runs(paths: Iterable[Path | str]) -> Runs:
    """The runs in these folders: each is a run itself, or holds runs; in order of name.

    A run that is named more than once, by whatever path, counts once, at its first place.

    Raises:
        RunError: if a folder is no run and holds none.
    """
    found: dict[Path, Run] = {}
    for path in map(Path, paths):
        inside = sorted(header.parent for header in path.glob(f"*/{folder.HEADER}"))
        for place in [path] if (path / folder.HEADER).exists() or not inside else inside:
            found.setdefault(place.resolve(), open_run(place))
    if not found:
        raise RunError("no run was named; give one or more run folders")
    return Runs(found.values())


class Runs(list[Run]):
    """Runs beside each other; prints one a line."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "no runs"
