"""What a header says of the process that writes a run."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

from workbench.trace import folder
from workbench.trace.checkpoints import Checkpoint
from workbench.trace.lines import Line

_VERSIONS = ("workbench", "torch", "torchvision", "entmax", "numpy", "zarr")


def process() -> Line:
    """This process, as a header names it."""
    return {"pid": os.getpid(), "host": platform.node()}


def resumption(start: Checkpoint) -> Line:
    """When and where a run went on."""
    return {"at": folder.now(), "checkpoint": start.number, "clock": start.facts["clock"]}


def made_with() -> Line:
    """Versions, and the command of this process."""
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _VERSIONS},
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
