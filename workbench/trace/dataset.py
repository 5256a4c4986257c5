"""The arrays of a run as one labelled dataset, over all of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
import xarray as xr

from workbench.trace.grown import Grown
from workbench.trace.header import is_sealed, least_steps
from workbench.trace.store import DIMS, EDGES, Opened, StageStore
from workbench.trace.waiting import MEMORY

FILL = {"alpha": np.nan, "mix": 0.0, "alive": False}
PROBED = "probed"  # attribute of a variable that a probe measured


@dataclass
class Arrays:
    """What was read of a run's arrays, by stage and name as in the store, and what was opened."""

    read: dict[tuple[int, str], Grown] = field(default_factory=dict)
    opened: Opened = field(default_factory=dict)

    def copy(self) -> Arrays:
        """Another one that goes on from here."""
        return Arrays(dict(self.read), dict(self.opened))


class SpaceLine(TypedDict):
    """What `StageStarted` says of a space, as far as its axes go."""

    edges: list[str]
    kinds: list[str]
    src: list[int]
    dst: list[int]
    ops: list[str]


class StageLine(TypedDict):
    """A line `StageStarted` of `events.jsonl`."""

    stage: int
    step_offset: int
    epoch_offset: int
    space: SpaceLine
    alpha: list[list[float | None]]
    mix: list[list[float]]
    alive: list[list[bool]]


@dataclass(frozen=True)
class _Axes:
    """All edges and operations of any stage, in order of first appearance."""

    edges: Mapping[str, tuple[str, int, int]]  # name: (kind, src, dst)
    ops: tuple[str, ...]

    @staticmethod
    def of(stages: Sequence[StageLine]) -> _Axes:
        edges: dict[str, tuple[str, int, int]] = {}
        ops: dict[str, None] = {}
        for space in (stage["space"] for stage in stages):
            ends = zip(space["kinds"], space["src"], space["dst"], strict=True)
            edges |= dict(zip(space["edges"], ends, strict=True))
            ops |= dict.fromkeys(space["ops"])
        return _Axes(edges, tuple(ops))

    def coords(self) -> dict[str, object]:
        kinds, src, dst = zip(*self.edges.values(), strict=True) if self.edges else ((), (), ())
        return {
            "edge": np.array(list(self.edges), dtype=str),
            "op": np.array(self.ops, dtype=str),
            "kind": ("edge", np.array(kinds, dtype=str)),
            "src": ("edge", np.array(src, dtype=np.int64)),
            "dst": ("edge", np.array(dst, dtype=np.int64)),
        }

    def spread(self, values: np.ndarray, space: SpaceLine, fill: float) -> np.ndarray:
        """`(…, edges, ops)` of one stage on the axes of all; what the stage lacks is `fill`."""
        if space["edges"] == list(self.edges) and space["ops"] == list(self.ops):
            return values
        shape = (*values.shape[:-2], len(self.edges), len(self.ops))
        out = np.full(shape, fill, dtype=values.dtype)
        columns = np.array([self.ops.index(op) for op in space["ops"]], dtype=np.int64)
        out[..., self._rows(space)[:, None], columns] = values
        return out

    def spread_edges(self, values: np.ndarray, space: SpaceLine) -> np.ndarray:
        """`(…, edges)` of one stage on the edges of all; NaN at those that the stage lacks."""
        out = np.full((*values.shape[:-1], len(self.edges)), np.nan, dtype=values.dtype)
        out[..., self._rows(space)] = values
        return out

    def placed(self, values: np.ndarray, space: SpaceLine) -> np.ndarray:
        """Values `(steps,)`, `(steps, edges)` or `(steps, edges, ops)` of one stage, likewise."""
        if values.ndim == 3:
            return self.spread(values, space, np.nan)
        return self.spread_edges(values, space) if values.ndim == 2 else values

    def _rows(self, space: SpaceLine) -> np.ndarray:
        names = list(self.edges)
        return np.array([names.index(edge) for edge in space["edges"]], dtype=np.int64)


def read_trace(
    store: Path, stages: Sequence[StageLine], header: Mapping[str, object], known: Arrays
) -> xr.Dataset:
    """Every step that is wholly written, of all `stages`, one after the other.

    Args:
        header: read before `stages`: it says how much there was.
        known: what was read before of this store; whole chunks of it are not read again.

    Raises:
        RunError: if something is lost or damaged.
    """
    axes = _Axes.of(stages)
    stores = [_store(store, stage, header, known.opened) for stage in stages]
    parts = [_read_stage(*pair, axes, known) for pair in zip(stores, stages, strict=True)]
    names = dict.fromkeys(name for part in parts for name in part)
    forms = {name: part[name].ndim for part in parts for name in part}
    others = (*FILL, "step", "epoch", "stage", "seconds", MEMORY)
    probed = {name for one in stores for name in one.probes}
    lengths = [len(part["step"]) for part in parts]

    def joined(name: str, dtype: str, inner: tuple[int, ...] = ()) -> np.ndarray:
        own = [
            part[name] if name in part else np.full((length, *inner), np.nan, np.float32)
            for part, length in zip(parts, lengths, strict=True)
        ]
        if len(own) == 1 and own[0].dtype == dtype:  # most runs have one stage: nothing is copied
            return own[0]
        return np.concatenate([np.empty((0, *inner), dtype), *own]).astype(dtype, copy=False)

    inner = (len(axes.edges), len(axes.ops))
    state = {"alpha": "float32", "mix": "float32", "alive": "bool"}
    variables: dict[str, tuple[object, ...]] = {
        name: (DIMS, joined(name, dtype, inner)) for name, dtype in state.items()
    }
    for name in (name for name in names if name not in others):
        values = joined(name, "float32", inner[: forms[name] - 1])
        attributes = {PROBED: True} if name in probed else {}
        variables[name] = (DIMS[: forms[name]], values, attributes)
    coords = {
        "step": joined("step", "int64"),
        "stage": ("step", joined("stage", "int64")),
        "epoch": ("step", joined("epoch", "int64")),
        "seconds": ("step", joined("seconds", "float64")),
    }
    if MEMORY in names:
        coords[MEMORY] = ("step", joined(MEMORY, "float64"))
    return xr.Dataset(variables, {**axes.coords(), **coords})


def count_steps(store: Path, stages: Sequence[StageLine], header: Mapping[str, object]) -> int:
    """How many steps are wholly written.

    Raises:
        RunError: if some are lost.
    """
    return sum(len(_store(store, stage, header, {}).steps()) for stage in stages)


def first_states(stages: Sequence[StageLine]) -> xr.Dataset:
    """Alpha, mixing weights and what is alive before each stage's first step, as in the trace.

    Returns:
        Variables `(stage, edge, op)`; coordinates `step` and `epoch` of a stage, its first ones.
    """
    axes = _Axes.of(stages)
    inner = (len(axes.edges), len(axes.ops))
    variables: dict[str, tuple[object, ...]] = {}
    for name, fill in FILL.items():
        dtype = "bool" if name == "alive" else "float32"
        rows = [axes.spread(np.array(s[name], dtype), s["space"], fill) for s in stages]
        variables[name] = (("stage", *DIMS[1:]), np.array(rows, dtype).reshape(len(stages), *inner))
    own = {"stage": "stage", "step": "step_offset", "epoch": "epoch_offset"}
    clocks = {
        name: ("stage", np.array([stage[key] for stage in stages], dtype=np.int64))
        for name, key in own.items()
    }
    return xr.Dataset(variables, {**axes.coords(), **clocks})


def first_state(states: xr.Dataset) -> xr.Dataset:
    """The first of `first_states`; without any, one of no edges."""
    if not states.sizes["stage"]:
        blank = {name: (DIMS[1:], np.full((0, 0), fill)) for name, fill in FILL.items()}
        return xr.Dataset(blank, _Axes.of(()).coords())
    return states.isel(stage=0).drop_vars(["stage", "step", "epoch"])


def _read_stage(
    store: StageStore, stage: StageLine, axes: _Axes, known: Arrays
) -> dict[str, np.ndarray]:
    read, number = known.read, stage["stage"]
    steps = store.steps(read.get((number, "step")))  # first: all else of them is there by then
    read[number, "step"] = steps

    def rows(name: str) -> np.ndarray:
        read[number, name] = store.read(name, len(steps), read.get((number, name)))
        return read[number, name].values

    part = {name: rows(name) for name in (*FILL, *store.scalars, "epoch", "seconds")}
    for name, fill in FILL.items():
        part[name] = axes.spread(part[name], stage["space"], fill)
    if store.weighs_edges:
        part[EDGES] = axes.spread_edges(rows(EDGES), stage["space"])
    for name in store.probes:
        part[name] = axes.placed(rows(name), stage["space"])
    part["step"] = steps.values + stage["step_offset"]
    part["epoch"] = part["epoch"] + stage["epoch_offset"]
    part["stage"] = np.full(len(steps), stage["stage"])
    return part


def _store(
    store: Path, stage: StageLine, header: Mapping[str, object], opened: Opened
) -> StageStore:
    number, space = stage["stage"], stage["space"]
    inner = (len(space["edges"]), len(space["ops"]))
    least = least_steps(header).get(number, 0)
    return StageStore(store / f"stage_{number}", inner, is_sealed(header), least, opened)
