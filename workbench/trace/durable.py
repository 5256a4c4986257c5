"""A record that a loss of power leaves as whole as the saved state that stands for it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from workbench.trace.folder import CHECKPOINTS, CONTROL, EVALUATION_EPOCHS, TRACE, sync

_FOLDERS = (TRACE, Path(EVALUATION_EPOCHS).parent.name)
_FILES = (".json", ".jsonl")  # all others beside them are not a run's
_COARSE = 2 * 10**9  # ns: no file system rounds times further


class Synced(NamedTuple):
    """What is on the disk: what was last written before `newest`, unless the clock was set since.

    In ns: of the file system's clock, and of the system's beside one that nobody sets.
    """

    newest: int = 0
    clock: int = 0


NOTHING = Synced()


def sync_written(path: Path, since: Synced = NOTHING) -> Synced:
    """Return when all that is below a folder is on its disk, but for saved states.

    Args:
        since: what the call before returned.
    """
    now, newest = time.time_ns(), since.newest
    clock = now - time.monotonic_ns()
    if abs(clock - since.clock) > _COARSE / 2:
        newest = 0
    least = newest - _COARSE
    for place, folders, files in os.walk(path):
        top = Path(place) == path
        folders[:] = [n for n in folders if n != CHECKPOINTS and (n in _FOLDERS or not top)]
        files = [Path(place, name) for name in files if name != CONTROL and name[0] != "."]
        mine = [file for file in files if (file.suffix in _FILES or not top) and file.is_file()]
        times = [(file.stat().st_mtime_ns, file) for file in mine]
        fresh = [file for written, file in times if written >= least]
        for changed in [*fresh, Path(place)] if fresh else ():
            sync(changed)
        newest = max([newest, *(written for written, _ in times if written <= now)])
    return Synced(newest, clock)
