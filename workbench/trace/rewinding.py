"""Putting a record back to where a checkpoint was written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import zarr

from workbench.events import Resumed
from workbench.trace import folder
from workbench.trace.appended import cut, read_lines
from workbench.trace.checkpoints import Checkpoint
from workbench.trace.folder import RunError
from workbench.trace.probed import probed_axes
from workbench.trace.stage import Layout, StageArrays, names_in
from workbench.trace.store import StageStore, damaged

_WHOLE = ("stage", "rows", "step_offset", "epochs", "events", "events_bytes")
_SECONDS = ("seconds", "waited", "waited_before")


def place_in(start: Checkpoint) -> Mapping[str, Any]:
    """Where the record of a search stood at a checkpoint.

    Raises:
        RunError: if it does not say so in whole numbers and seconds.
    """
    place = start.record
    whole = all(isinstance(place.get(name), int) for name in _WHOLE)
    if not whole or not all(_number(place.get(name)) for name in (*_WHOLE, *_SECONDS)):
        raise RunError(f"{start.file} does not say where the record stood; take an older one")
    return place


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53


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
    store, number = path / folder.TRACE, place["stage"]
    inner = Layout(event.space).shape
    kept = StageStore(store / f"stage_{number}", inner, least=place["rows"])
    kept.steps()
    for name in (*names_in(kept), *kept.probes):  # whole, or it says which is not
        kept.read(name, kept.least)
    _group(store, "r")  # of the stages that are still to come
    probed: dict[str, int] = {}
    for before in range(number):
        probed |= probed_axes(_group(store / f"stage_{before}", "r"))
    group = _group(store / f"stage_{number}", "r+")
    (path / folder.GENOTYPE).unlink(missing_ok=True)
    cut(path / folder.EVENTS, place["events_bytes"])
    read_lines(path / folder.EVENTS)  # likewise
    for later in store.glob("stage_*"):
        which = later.name.removeprefix("stage_")
        if which.isdecimal() and int(which) > number:
            shutil.rmtree(later)
    return StageArrays(group, event.space, event.clock, probed, kept)


def _group(place: Path, mode: Literal["r", "r+"]) -> zarr.Group:
    """A group, of no other format: what those may name is executed."""
    try:
        return zarr.open_group(place, mode=mode, zarr_format=3)
    except Exception as error:  # whatever zarr meets in bytes that are none of its own
        raise damaged(place / "zarr.json", error) from error
