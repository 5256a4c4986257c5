"""Putting a record back to where a checkpoint was written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr

from workbench.events import Resumed
from workbench.trace import folder
from workbench.trace.probed import probed_axes
from workbench.trace.stage import StageArrays


def rewind(path: Path, place: Mapping[str, Any], event: Resumed) -> StageArrays:
    """Take out of the record in `path` what came after a checkpoint; it comes again.

    Args:
        place: where the record stood then, `Checkpoint.record`.
        event: which stage it was in.

    Returns:
        The arrays of that stage, to be written on.

    Raises:
        RunError: if what came before is damaged.
    """
    assert event.space is not None
    (path / folder.GENOTYPE).unlink(missing_ok=True)
    folder.cut(path / folder.EVENTS, place["events_bytes"])
    folder.read_lines(path / folder.EVENTS)  # whole, or it says which is not
    store = path / folder.TRACE
    for later in store.glob("stage_*"):
        if int(later.name.removeprefix("stage_")) > place["stage"]:
            shutil.rmtree(later)
    probed: dict[str, int] = {}
    for number in range(place["stage"]):
        probed |= probed_axes(zarr.open_group(store, path=f"stage_{number}", mode="r"))
    group = zarr.open_group(store, path=f"stage_{place['stage']}", mode="r+")
    return StageArrays(group, event.space, event.clock, probed, place["rows"])
