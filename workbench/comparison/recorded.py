"""What a run says of what was searched: parts of its method, its space and its images, by name."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import cast

from workbench.limits import shown
from workbench.trace.runs import Run

_NO_PART = {"name", "paper", "summary", "stages"}
_NO_RECIPE = {"seed", "machine", "command", "classes"}
_LAYOUT = "layout"


def stages_of(method: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """The parts of every stage."""
    return cast("Sequence[Mapping[str, object]]", method.get("stages", ()))


def others_of(method: Mapping[str, object]) -> dict[str, object]:
    """The parts that belong to no stage."""
    return {name: value for name, value in method.items() if name not in _NO_PART}


def parts_of(run: Run) -> dict[str, str]:
    """What its results may depend on beside the seed; a part that no run has is missing.

    Two runs that have all of it alike are seeds of the same thing, however they were started.
    """
    return {**_method_parts(run), **_space_parts(run), **_image_parts(run)}


def recipe_of(run: Run) -> dict[str, str]:
    """How what a run found was trained, beside seed and machine; empty where it was not."""
    if run.evaluation is None:
        return {}
    recipe = cast("Mapping[str, object]", run.evaluation["recipe"])
    return {name: shown(value) for name, value in recipe.items() if name not in _NO_RECIPE}


def telling(parts: Sequence[Mapping[str, str]]) -> list[str]:
    """The names of those that are not the same in all that have them, and say enough."""
    names = dict.fromkeys(name for one in parts for name in one)
    differ = [n for n in names if len({one[n] for one in parts if n in one}) > 1]
    sizes = {"channels", "cells", "nodes", "operations"} & {*differ}
    return [name for name in differ if name != _LAYOUT or not sizes]


def _method_parts(run: Run) -> dict[str, str]:
    method = run.meta.get("method")
    if not isinstance(method, dict):
        return {}
    stages = stages_of(method)
    parts = {
        (f"{stage.get('name')}.{name}" if len(stages) > 1 else name): str(value)
        for stage in stages
        for name, value in stage.items()
        if name != "name"
    }
    return parts | {name: str(value) for name, value in others_of(method).items()}


def _space_parts(run: Run) -> dict[str, str]:
    space = run.space
    layers, cells = space.get("layers"), space.get("cells")
    if not isinstance(layers, list) or not isinstance(cells, dict) or not layers:
        return {}
    rest = {
        "family": space.get("family"),
        "reductions": [(layer.get("kind"), layer.get("reduction")) for layer in layers],
        "cells": {
            kind: [cell.get(name) for name in ("inputs", "output", "candidates")]
            for kind, cell in cells.items()
        },
    }
    return {
        "channels": str(min(cast("int", layer["channels"]) for layer in layers)),
        "cells": str(len(layers)),
        "nodes": _each(str(cell.get("nodes")) for cell in cells.values()),
        "operations": _each(
            ", ".join(map(str, cell.get("columns", ()))) for cell in cells.values()
        ),
        _LAYOUT: _short(rest),
    }


def _image_parts(run: Run) -> dict[str, str]:
    data = run.meta.get("data")
    if not isinstance(data, dict) or "fingerprint" not in data:
        return {}
    parts = {"images": str(data["fingerprint"])[:8]}
    return parts | ({"augmentation": str(data["augment"])} if "augment" in data else {})


def _each(texts: object) -> str:
    """A text of every kind of cell, once where they are alike."""
    return "; ".join(dict.fromkeys(cast("Sequence[str]", texts)))


def _short(value: object) -> str:
    return f"{zlib.crc32(json.dumps(value, sort_keys=True).encode()):08x}"
