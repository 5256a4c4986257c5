"""A record that a loss of power leaves as whole as the saved state that stands for it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from workbench.trace.folder import CHECKPOINTS, CONTROL, EVALUATION_LOCK, LOCK, sync

_OF_OTHERS = (CONTROL, LOCK, EVALUATION_LOCK)  # which come and go, and nobody needs afterwards
MARGIN = 60.0  # seconds by which the clock of a disk elsewhere may be behind


def sync_written(path: Path, since: float = 0.0) -> float:
    """Return when what was written below a folder is on its disk, but for saved states.

    Args:
        since: Unix time before which everything was synchronised already.

    Returns:
        Unix time before which everything is now.
    """
    began = time.time()
    for place, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name != CHECKPOINTS]
        mine = [Path(place, n) for n in files if n not in _OF_OTHERS and not n.startswith(".")]
        fresh = [file for file in mine if file.stat().st_mtime >= since - MARGIN]
        for changed in [*fresh, Path(place)] if fresh else ():
            sync(changed)
    return began
