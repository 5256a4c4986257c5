"""The state between steps: at a stage's end, and what the next stage leaves out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

if TYPE_CHECKING:
    from workbench.trace.runs import Run

LEFT_OUT = "the next stage leaves it out"
_STATE = ["alpha", "mix", "alive"]
_ROUNDING = 1e-5  # of a row's sum in float32


def candidates_so_far(run: Run) -> xr.DataArray:
    """`(stage, edge, op)`: could this stage, or one before it, have chosen the operation?"""
    alive = run.starts["alive"]
    return alive.copy(data=np.logical_or.accumulate(alive.to_numpy(), axis=0))


def state_after(run: Run, index: int) -> xr.Dataset:
    """`alpha`, `mix`, `alive` `(edge, op)` after the last step so far of the stage at `index`.

    As `settled` has it; before a stage's first step it is the stage's own first state.
    """
    start, trace = run.starts.isel(stage=index), run.trace
    (rows,) = np.nonzero(trace["stage"].to_numpy() == int(start["stage"]))
    if not len(rows):
        return start[_STATE].drop_vars(["stage", "step", "epoch"])
    last = rows[-1:]
    return _settled(run, trace[_STATE].isel(step=last)).isel(step=0)


def settled(run: Run) -> xr.Dataset:
    """The trace of a run, in which every step has what was pruned behind it too.

    At an epoch's end operations go after the last step was recorded.  They are not alive then and
    weigh 0; where an edge's weights sum to one, the rest shares what they had, each in proportion
    to its own weight, and one that is alone weighs 1.  This is what the search itself goes on with
    under a softmax, whatever its temperature, and under weights that are alphas; under an entmax of
    an order above 1 it is near that only, since there the rest does not keep its proportions.
    Weights that need not sum to one, such as sigmoids, stay as they are.
    """
    return _settled(run, run.trace)


def _settled(run: Run, trace: xr.Dataset) -> xr.Dataset:
    """`trace`, itself if nothing changes; of its steps those count that a pruning names."""
    rows, gone = _pruned_behind(run, trace)
    mix, alive = trace["mix"].to_numpy(), trace["alive"].to_numpy()
    changed = (gone & (alive[rows] | (mix[rows] != 0))).any(axis=(1, 2))
    rows, gone = rows[changed], gone[changed]
    if not len(rows):
        return trace
    mix, alive = mix.copy(), alive.copy()
    shares = _sum_to_one(mix[rows]) & _sum_to_one(_first_mix(run, trace, rows))
    alive[rows] &= ~gone
    mix[rows] = _shared_out(mix[rows], alive[rows], gone.any(axis=-1) & shares[:, None])
    return trace.assign(mix=trace["mix"].copy(data=mix), alive=trace["alive"].copy(data=alive))


def _pruned_behind(run: Run, trace: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `trace` with prunings, and what went there: bool `(rows, edge, op)`."""
    steps, pruned = trace["step"].to_numpy(), run.prunings
    pruned = pruned.loc[np.isin(pruned["step"].to_numpy(dtype=np.int64), steps)]
    found = np.searchsorted(steps, pruned["step"].to_numpy(dtype=np.int64))
    rows, place = np.unique(found, return_inverse=True)
    gone = np.zeros((len(rows), trace.sizes["edge"], trace.sizes["op"]), dtype=bool)
    edge, op = (
        trace.indexes[name].get_indexer(pruned[name].to_numpy(dtype=object))
        for name in ("edge", "op")
    )
    gone[place, edge, op] = True
    return rows, gone


def _first_mix(run: Run, trace: xr.Dataset, rows: np.ndarray) -> np.ndarray:
    """`(rows, edge, op)`: the mixing weights that the stages of `rows` began with."""
    stages = trace["stage"].to_numpy()[rows]
    places = np.searchsorted(run.starts["stage"].to_numpy(), stages)
    return run.starts["mix"].to_numpy()[places]


def _sum_to_one(mix: np.ndarray) -> np.ndarray:
    """`(rows,)`: do the weights `(rows, edge, op)` of every edge that mixes something?

    All edges are asked: two sigmoids may sum to one on one of them.
    """
    total = mix.sum(axis=-1, dtype=np.float64)
    return ((total == 0) | (np.abs(total - 1) < _ROUNDING)).all(axis=-1)


def _shared_out(mix: np.ndarray, alive: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """`mix` `(rows, edge, op)` of what is alive, summing to one again at `edges` `(rows, edge)`.

    Where those that are left weigh nothing, they do after it.
    """
    left = np.where(alive, mix, np.float32(0))
    total = left.sum(axis=-1, keepdims=True, dtype=np.float64)
    shared = left / np.where(total > 0, total, 1.0)
    alone = alive & (alive.sum(axis=-1, keepdims=True) == 1)
    return np.where(edges[..., None], np.where(alone, 1.0, shared), left).astype(mix.dtype)


def left_out(run: Run) -> pd.DataFrame:
    """A row per operation that was alive at a stage's end and is no candidate in the next one.

    Returns:
        The columns of `Run.prunings`: `step` and `epoch` are those with which the next stage
        begins, `weight` is the last mixing weight.
    """
    rows = []
    for index in range(1, run.starts.sizes["stage"]):
        now, before = run.starts.isel(stage=index), state_after(run, index - 1)
        gone = before["alive"].to_numpy() & ~now["alive"].to_numpy()
        clock = {name: int(now[name]) for name in ("step", "epoch", "stage")}
        for edge, op in np.argwhere(gone):
            there = {name: str(now[name].values[at]) for name, at in (("edge", edge), ("op", op))}
            weight = float(before["mix"].values[edge, op])
            rows.append({**clock, **there, "weight": weight, "reason": LEFT_OUT})
    return pd.DataFrame(rows, columns=list(run.prunings.columns))
