"""A record that a loss of power leaves as whole as the saved state that stands for it."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.trace.folder import CHECKPOINTS, CONTROL, EVALUATION_LOCK, LOCK, sync

_OF_OTHERS = (CONTROL, LOCK, EVALUATION_LOCK)  # which come and go, and nobody needs afterwards


def sync_written(path: Path, known: dict[Path, int]) -> None:
    """Return when all that is below a folder is on its disk, but for saved states.

    Args:
        known: when each file had been written last that is there already; it is kept up to date.
    """
    for place, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name != CHECKPOINTS]
        mine = [Path(place, n) for n in files if n not in _OF_OTHERS and not n.startswith(".")]
        times = {file: file.stat().st_mtime_ns for file in mine}
        fresh = [file for file, time in times.items() if known.get(file) != time]
        for changed in [*fresh, Path(place)] if fresh else ():
            sync(changed)
        known |= times
