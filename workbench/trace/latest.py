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


def state_after(run: Run, index: int) -> xr.Dataset:
    """`alpha`, `mix`, `alive` `(edge, op)` after the last step so far of the stage at `index`.

    What was pruned after that step is not alive and weighs 0; how the rest shares the weight then
    is not recorded, it keeps that of the step.  Before a stage's first step it is the stage's own
    first state.
    """
    start, trace = run.starts.isel(stage=index), run.trace
    (rows,) = np.nonzero(trace["stage"].to_numpy() == int(start["stage"]))
    if not len(rows):
        return start[_STATE].drop_vars(["stage", "step", "epoch"])
    last = trace[_STATE].isel(step=int(rows[-1]))
    alive, gone = last["alive"].to_numpy().copy(), run.prunings
    late = gone.loc[(gone["stage"] == int(start["stage"])) & (gone["step"] >= int(last["step"]))]
    edge, op = (
        last.indexes[name].get_indexer(late[name].to_numpy(dtype=object)) for name in ("edge", "op")
    )
    alive[edge, op] = False
    alive = last["alive"].copy(data=alive)
    return last.assign(alive=alive, mix=last["mix"].where(alive, np.float32(0)))


def settled(run: Run) -> xr.Dataset:
    """The trace of a run, in which the last step of a stage has what was pruned behind it too."""
    trace = run.trace
    stages, steps = trace["stage"].to_numpy(), trace["step"].to_numpy()
    last = np.flatnonzero(np.append(stages[1:] != stages[:-1], len(stages) > 0))
    late = [row for row in last if steps[row] in run.prunings["step"].to_numpy()]
    if not late:
        return trace
    mix, alive = trace["mix"].copy(deep=True), trace["alive"].copy(deep=True)
    begun = run.starts["stage"].to_numpy().tolist()
    for row in late:
        state = state_after(run, begun.index(stages[row]))
        mix[row], alive[row] = state["mix"].to_numpy(), state["alive"].to_numpy()
    return trace.assign(mix=mix, alive=alive)


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
