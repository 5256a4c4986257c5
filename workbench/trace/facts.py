"""What a header says of the process that writes a run."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from workbench.limits import shown
from workbench.trace import folder
from workbench.trace.checkpoints import Checkpoint
from workbench.trace.lines import Line

_LOG = logging.getLogger(__name__)
_VERSIONS = ("workbench", "torch", "torchvision", "entmax", "numpy", "zarr")


def new_header(meta: Mapping[str, object]) -> Line:
    """That of a run which has not begun."""
    return {
        "schema": folder.SCHEMA,
        "id": uuid.uuid4().hex,  # another search may come into a folder of this name
        "status": "running",
        "started": None,
        "finished": None,
        "heartbeat": None,
        **_process(),
        "error": None,
        "resumed": [],
        "events": 0,  # lines, and steps by stage: what a reader must find, or something is lost
        "steps": {},
        "meta": dict(meta),
    }


def resumed_header(header: Line, start: Checkpoint) -> Line:
    """`header` of a run that goes on from `start`: when and where, and by this process.

    What a reader must find is less from then on; it looks here first.
    """
    place = cast("dict[str, Any]", start.record)
    steps = {s: n for s, n in cast("Line", header["steps"]).items() if int(s) < place["stage"]}
    now = {"at": folder.now(), "checkpoint": start.number, "clock": start.facts["clock"]}
    now["put_back"] = False  # what came after the checkpoint is still there
    now["versions"] = _told_versions(cast("Line", header["meta"]).get("versions"))
    return {
        **header,
        **_process(),
        "status": "running",
        "finished": None,
        "error": None,
        "resumed": [*cast("list[object]", header.get("resumed", [])), now],
        "events": place["events"],
        "steps": {**steps, str(place["stage"]): place["rows"]},
    }


def _told_versions(before: object) -> Line:
    """Those of now; where a package is not the one the run was begun with, a warning."""
    mine = cast("Line", made_with()["versions"])
    theirs = before if isinstance(before, dict) else mine
    other = [f"{n} {theirs[n]} → {mine[n]}" for n in mine if n in theirs and theirs[n] != mine[n]]
    if other:
        told = shown(", ".join(map(str, other)))
        _LOG.warning("the run goes on under other versions, perhaps not to the same bits: %s", told)
    return mine


def _process() -> Line:
    return {"pid": os.getpid(), "host": platform.node()}


def made_with() -> Line:
    """Versions, and the command of this process."""
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _VERSIONS},
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
