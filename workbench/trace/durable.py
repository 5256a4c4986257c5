"""A record that a loss of power leaves as whole as the saved state that stands for it."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.trace.folder import CHECKPOINTS, CONTROL, EVALUATION_EPOCHS, TRACE, sync

_FOLDERS = (TRACE, Path(EVALUATION_EPOCHS).parent.name)
_FILES = (".json", ".jsonl")  # all others beside them are not a run's


def sync_written(path: Path, known: dict[Path, int]) -> None:
    """Return when all that is below a folder is on its disk, but for saved states.

    Args:
        known: when each file had been written last that is there already; it is kept up to date.
    """
    for place, folders, files in os.walk(path):
        top = Path(place) == path
        folders[:] = [n for n in folders if n != CHECKPOINTS and (n in _FOLDERS or not top)]
        files = [Path(place, name) for name in files if name != CONTROL and name[0] != "."]
        mine = [file for file in files if (file.suffix in _FILES or not top) and file.is_file()]
        times = {file: file.stat().st_mtime_ns for file in mine}
        fresh = [file for file, time in times.items() if known.get(file) != time]
        for changed in [*fresh, Path(place)] if fresh else ():
            sync(changed)
        known |= times
