"""What a run says of what was searched: parts of its method, its space and its images, by name."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import cast

from workbench.limits import shown
from workbench.part_text import numbered
from workbench.trace.runs import Run

_NO_PART = {"name", "paper", "summary", "stages"}
_NO_RECIPE = {"seed", "machine", "command", "classes"}
_SIZES = ("channels", "cells", "nodes", "operations")
LAYOUT = "layout"  # all of a space that its sizes do not say, in eight letters


def stages_of(method: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """The parts of every stage, as far as they are such."""
    stages = method.get("stages")
    return [one for one in stages if isinstance(one, dict)] if isinstance(stages, list) else []


def stage_names(method: Mapping[str, object]) -> list[str]:
    """What its stages are called, in their order."""
    return numbered([str(stage.get("name")).strip("'") for stage in stages_of(method)])


def others_of(method: Mapping[str, object]) -> dict[str, object]:
    """The parts that belong to no stage."""
    return {name: value for name, value in method.items() if name not in _NO_PART}


def parts_of(run: Run) -> dict[str, str]:
    """What its results may depend on beside the seed; a part that no run has is missing.

    Two runs that have all of it alike are seeds of the same thing, however they were started.
    """
    return {**method_parts(run), **_space_parts(run), **_image_parts(run)}


def recipe_of(run: Run) -> dict[str, str]:
    """How what a run found was trained, beside seed and machine; empty where it was not."""
    if run.evaluation is None:
        return {}
    recipe = cast("Mapping[str, object]", run.evaluation["recipe"])
    return {name: shown(value) for name, value in recipe.items() if name not in _NO_RECIPE}


def telling(parts: Sequence[Mapping[str, str]]) -> list[str]:
    """The names of those that are not the same in all that have them.

    The layout is left out where the sizes say as much.
    """
    names = dict.fromkeys(name for one in parts for name in one)
    differ = [n for n in names if len({one[n] for one in parts if n in one}) > 1]
    sizes = [name for name in _SIZES if name in differ]
    laid_out = {(*(one.get(n) for n in sizes), one[LAYOUT]) for one in parts if LAYOUT in one}
    said = len(laid_out) == len({places[:-1] for places in laid_out})
    return [name for name in differ if name != LAYOUT or not said]


def method_parts(run: Run) -> dict[str, str]:
    """The parts of its method, those of several stages with the stage's name in front."""
    method = run.meta.get("method")
    if not isinstance(method, dict):
        return {}
    stages, others = stages_of(method), others_of(method)
    told = stage_names(method)
    parts = {
        (f"{tag}.{name}" if len(stages) > 1 else str(name)): str(value)
        for tag, stage in zip(told, stages, strict=True)
        for name, value in stage.items()
        if name != "name"
    }
    parts |= {"stages": ", ".join(told)} if stages else {}
    return parts | {str(name): str(value) for name, value in others.items()}


def _space_parts(run: Run) -> dict[str, str]:
    space = run.space
    layers, kinds = space.get("layers"), space.get("cells")
    cells = list(kinds.values()) if isinstance(kinds, dict) else []
    if not isinstance(layers, list) or not all(isinstance(x, dict) for x in [*layers, *cells]):
        return {}
    widths = [layer.get("channels") for layer in layers]
    rest = {**space, "cells": cells, "layers": [{**x, "channels": None} for x in layers]}
    lists = [cell.get("columns") for cell in cells]
    return {
        "channels": str(min((w for w in widths if isinstance(w, int)), default="?")),
        "cells": str(len(layers)),
        "nodes": _each([cell.get("nodes") for cell in cells]),
        "operations": _each([", ".join(map(str, x)) if isinstance(x, list) else x for x in lists]),
        LAYOUT: _short([rest, widths]),
    }


def _image_parts(run: Run) -> dict[str, str]:
    data = run.meta.get("data")
    if not isinstance(data, dict) or "fingerprint" not in data:
        return {}
    parts = {"images": str(data["fingerprint"])[:8]}
    return parts | ({"augmentation": str(data["augment"])} if "augment" in data else {})


def _each(values: Sequence[object]) -> str:
    """A text of every kind of cell, once where they are alike."""
    return "; ".join(dict.fromkeys(map(str, values)))


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return f"{zlib.crc32(text.encode()):08x}"
