"""Events as lines of `events.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from workbench.events import (
    Derived,
    Diverged,
    EpochEnded,
    Held,
    Probed,
    Pruned,
    Rows,
    StageStarted,
    Stopped,
)
from workbench.spaces.space import Space
from workbench.trace.appended import Line
from workbench.trace.stage import Layout

if TYPE_CHECKING:
    from torch import Tensor

_OF_DIVERGED = ("what", "edge", "cell", "op", "remedy")
WithinStep = Probed | Pruned | Held
RareEvent = StageStarted | Probed | Pruned | Held | EpochEnded | Stopped | Derived | Diverged


def event_line(event: RareEvent) -> Line:
    """An event as JSON values; what is not finite is None."""
    clock = event.clock
    line: Line = {"event": type(event).__name__, "stage": clock.stage}
    line |= {"epoch": clock.epoch, "step": clock.step}
    match event:
        case StageStarted():
            return line | _stage(event)
        case Probed():
            return line | {"values": {k: _measured(v) for k, v in event.values.items()}}
        case Pruned():
            weight = _plain(np.asarray(event.weight))
            return line | {
                "edge": event.edge,
                "op": event.op,
                "weight": weight,
                "reason": event.reason,
            }
        case Held():
            return line | {"edge": event.edge, "op": event.op, "reason": event.reason}
        case EpochEnded():
            return line | _epoch(event)
        case Stopped():
            return line | {"reason": event.reason}
        case Diverged():
            return line | {name: getattr(event, name) for name in _OF_DIVERGED}
        case Derived():
            residual = {k: _plain(np.asarray(v)) for k, v in event.residual_entropy.items()}
            return line | {
                "genotype": json.loads(event.genotype.to_json()),
                "residual_entropy": residual,
            }


def _measured(value: Tensor | Rows) -> object:
    if isinstance(value, Mapping):
        return {kind: _plain(rows) for kind, rows in _by_kind(value).items()}
    return _plain(_numbers(value))


def _stage(event: StageStarted) -> Line:
    layout = Layout(event.space)
    return {
        "epochs": event.clock.epochs,
        "steps": event.clock.steps,
        "parameters": event.parameters,
        "split": {name: indices.tolist() for name, indices in event.split.items()},
        "space": _space(event.space),
        "alpha": _plain(layout.spread(_by_kind(event.alpha), np.nan)),
        "mix": _plain(layout.spread(_by_kind(event.mix), 0.0)),
        "alive": (layout.spread(_by_kind(event.alive), 0.0) != 0).tolist(),
    }


def _by_kind(rows: Rows) -> dict[str, np.ndarray]:
    return {kind: _numbers(value) for kind, value in rows.items()}


def _numbers(value: Tensor | float) -> np.ndarray:
    """The float32 numbers of a tensor on any device, or of a float."""
    if isinstance(value, int | float):
        return np.asarray(value, dtype=np.float32)
    return value.detach().float().cpu().numpy()


def _space(space: Space) -> Line:
    cells = {
        cell.kind: {
            "inputs": cell.inputs,
            "nodes": cell.nodes,
            "output": cell.output,
            "edges": list(cell.edge_names),
            "columns": list(cell.columns),
            "candidates": [list(row) for row in cell.candidates],
        }
        for cell in space.cells
    }
    layers = [
        {"kind": x.kind, "channels": x.channels, "reduction": x.reduction} for x in space.layers
    ]
    return {
        "family": space.family,
        "stem_channels": space.stem_channels,
        "cells": cells,
        "layers": layers,
        **Layout(space).attributes(),
    }


def _epoch(event: EpochEnded) -> Line:
    genotype = event.genotype
    return {
        "scalars": {name: _plain(np.asarray(value)) for name, value in event.scalars.items()},
        "genotype": None if genotype is None else json.loads(genotype.to_json()),
        "parameters": event.parameters,
        "macs": event.macs,
        "alive": event.alive,
        "supernet_parameters": event.supernet_parameters,
        "seconds": event.seconds,
        "memory": event.memory,
    }


def _plain(values: np.ndarray) -> object:
    """Nested lists of numbers, None where a number is not finite: JSON has no word for it."""
    nothing = np.array(None, dtype=object)
    return np.where(np.isfinite(values), values.astype(object), nothing).tolist()
