"""A record that a loss of power leaves as whole as the saved state that stands for it."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.trace.folder import CHECKPOINTS, CONTROL, EVALUATION_EPOCHS, TRACE, sync

_FOLDERS = (TRACE, Path(EVALUATION_EPOCHS).parent.name)
_FILES = (".json", ".jsonl")  # all others beside them are not a run's


_COARSE = 2 * 10**9  # ns: no file system rounds times further


def sync_written(path: Path, since: int = 0) -> int:
    """Return when all that is below a folder is on its disk, but for saved states.

    Args:
        since: what the call before returned; files last written before that are there already.

    Returns:
        When the newest file was written, in ns, by the clock of its file system.
    """
    newest = since
    for place, folders, files in os.walk(path):
        top = Path(place) == path
        folders[:] = [n for n in folders if n != CHECKPOINTS and (n in _FOLDERS or not top)]
        files = [Path(place, name) for name in files if name != CONTROL and name[0] != "."]
        mine = [file for file in files if (file.suffix in _FILES or not top) and file.is_file()]
        times = [(file.stat().st_mtime_ns, file) for file in mine]
        fresh = [file for time, file in times if time >= since - _COARSE]
        for changed in [*fresh, Path(place)] if fresh else ():
            sync(changed)
        newest = max([newest, *(time for time, _ in times)])
    return newest
