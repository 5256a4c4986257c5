"""What a recorded search did: labelled tables of one run, without torch.

In all formulas `m` are the mixing weights of one edge, over its operations.  An operation leads an
edge where its mixing weight is the largest.  Of several that share the largest the first column
leads; an edge on which all that weigh anything weigh the same, or nothing does, is led by nobody.
The state after a step is that after the prunings behind it: see `workbench.trace.latest.settled`.
Shares of edges are of all edges that the stages so far have, also of those on which the operation
is no candidate: over the operations, and nobody, they sum to one.  A mean weight is over the edges
of which the operation is, or was in a stage before, a candidate; where it was pruned it weighs 0.
"""

from __future__ import annotations

from typing import Literal, TypedDict, cast

import numpy as np
import pandas as pd
import xarray as xr

from workbench.trace.latest import candidates_so_far, settled
from workbench.trace.runs import Run

NONE, SKIP = "none", "skip_connect"


class Summary(TypedDict):
    """One line about a run; what is not known is None."""

    method: str | None
    space: str | None
    data: str | None
    status: str
    steps: int
    epochs: int
    seconds: float
    alive_per_edge: float
    pruned_share: float
    none_share: float
    skip_share: float
    genotype: str | None
    op_counts: dict[str, int]
    parameters: int | None
    macs: int | None
    test_accuracy: float | None


def dominance(run: Run, *, by: Literal["kind", "all"] = "kind") -> pd.DataFrame:
    """Which operations lead: per step, kind of cell and operation.

    share = edges led by the operation / edges
    mean_weight = mean of its m over the edges of which it is a candidate

    Args:
        run: The run.
        by: "kind" counts each kind of cell for itself, "all" counts them together.

    Returns:
        Columns step, epoch, kind, op, share, mean_weight, both of them in [0, 1]; mean_weight is
        NaN where the operation is a candidate nowhere.
    """
    trace = settled(run)
    mix, candidate, stages = trace["mix"].to_numpy(), *_candidates(run, trace)
    led = _leaders(trace["mix"])[..., None] == np.arange(mix.shape[-1])
    kind = trace["kind"].to_numpy() if by == "kind" else np.full(mix.shape[1], "all")
    kinds = list(dict.fromkeys(kind.tolist()))
    ops = trace["op"].to_numpy().astype(object)
    whole = (len(mix), len(kinds), len(ops))  # one row per step, kind and operation
    share, weight = np.empty(whole), np.empty(whole, dtype=mix.dtype)
    for index, name in enumerate(kinds):
        own = candidate[:, kind == name]  # (stages, edges, ops)
        edges, places = own.any(-1).sum(1)[stages], own.sum(1)[stages]
        share[:, index] = led[:, kind == name].sum(1) / np.maximum(edges, 1)[:, None]
        weight[:, index] = mix[:, kind == name].sum(1) / np.where(places, places, np.nan)
    along = {name: trace[name].to_numpy()[:, None, None] for name in ("step", "epoch")}
    columns = {
        **along,
        "kind": np.array(kinds, dtype=object)[:, None],
        "op": ops,
        "share": share,
        "mean_weight": weight,
    }
    return pd.DataFrame({n: np.broadcast_to(v, whole).ravel() for n, v in columns.items()})


def entropy(run: Run) -> xr.DataArray:
    """Undecidedness of every edge at every step, in nats.

    H = - sum_i p_i ln p_i,   p = m / sum m

    Returns:
        `(step, edge)`: 0 where one operation is left, ln n at n equal weights, NaN at none left.
    """
    mix = settled(run)["mix"].astype("float64")
    total = mix.sum("op")
    share = mix / total.where(total > 0)
    logs = np.log(share.where(share > 0, 1.0))
    return (-(share * logs).sum("op", skipna=False)).clip(min=0.0).rename("entropy")


def support(run: Run) -> pd.DataFrame:
    """How many operations an edge still mixes: exact zeros count as gone.

    support = number of i with m_i > 0,   alive = operations that were not pruned

    Returns:
        Columns step, epoch, kind, edge, support, alive.
    """
    trace = settled(run)
    counts = xr.Dataset(
        {"support": (trace["mix"] > 0).sum("op"), "alive": trace["alive"].sum("op")}
    )
    frame = counts.to_dataframe(dim_order=["step", "edge"]).reset_index()
    return frame.loc[:, ["step", "epoch", "kind", "edge", "support", "alive"]]


def margins(run: Run) -> xr.DataArray:
    """How far the leader of every edge is ahead: its mixing weight minus the second largest.

    Returns:
        `(step, edge)`: m_(1) - m_(2), in the units of m; an edge of one operation has m_(1), one
        of none NaN.
    """
    mix = settled(run)["mix"]
    top = np.sort(np.pad(mix.to_numpy(), ((0, 0), (0, 0), (2, 0))), axis=-1)
    ahead = np.where(top[..., -1] > 0, top[..., -1] - top[..., -2], np.nan)
    return mix.sum("op").copy(data=ahead).rename("margin")


def rank_switches(run: Run) -> pd.DataFrame:
    """How often the leader of an edge changed from one step to the next.

    Returns:
        Columns kind, edge, switches (a count).
    """
    trace = settled(run)
    leaders = _leaders(trace["mix"])
    switches = (leaders[1:] != leaders[:-1]).sum(0)
    return _edges(trace).assign(switches=switches)


def decision_step(run: Run) -> pd.DataFrame:
    """When an edge was decided: the first step from which its leader never changed again.

    Returns:
        Columns kind, edge, op (the last leader, None if nobody leads), step; no row for a run
        without steps.
    """
    trace = settled(run)
    leaders, steps = _leaders(trace["mix"]), trace["step"].to_numpy()
    if not len(steps):
        return _edges(trace)[:0].assign(op=[], step=[])
    other = leaders != leaders[-1]
    first = np.where(other.any(0), len(steps) - other[::-1].argmax(0), 0)
    ops = [*trace["op"].to_numpy().tolist(), None]  # leader -1 is the last of them
    return _edges(trace).assign(op=[ops[i] for i in leaders[-1]], step=steps[first])


def none_and_skip(run: Run) -> pd.DataFrame:
    """How much of the end belongs to `none` and to `skip_connect`, per kind and over "all".

    Returns:
        Columns kind; none_share, skip_share (of the edges, led by it); none_weight, skip_weight
        (mean mixing weight, NaN where it is a candidate nowhere); tied_share (of the edges, led by
        nobody although they mix something); alive (operations left); alive_share (of all
        candidates so far).
        It is the state of `Run.latest`: after the last step and what was pruned behind it.
    """
    last = run.latest
    led, mix = _led(last["mix"]), last["mix"]
    tied = ~led.any("op") & (mix > 0).any("op")
    candidate = run.starts["alive"].any("stage")
    kinds = last["kind"].to_numpy()
    rows = []
    for name in (*dict.fromkeys(kinds.tolist()), "all"):
        own = np.ones(len(kinds), dtype=bool) if name == "all" else kinds == name
        alive = int(last["alive"][own].sum())
        rows.append(
            {
                "kind": name,
                "none_share": _share(led[own], NONE),
                "skip_share": _share(led[own], SKIP),
                "none_weight": _mean(mix[own], candidate[own], NONE),
                "skip_weight": _mean(mix[own], candidate[own], SKIP),
                "tied_share": float(tied[own].mean()) if own.any() else 0.0,
                "alive": alive,
                "alive_share": alive / max(int(candidate[own].sum()), 1),
            }
        )
    return pd.DataFrame(rows)


def alive_share(run: Run) -> xr.DataArray:
    """What pruning left at every step, in [0, 1].

    Returns:
        `(step,)`: operations alive / candidates of all stages so far, over all edges.
    """
    trace = settled(run)
    candidate, stages = _candidates(run, trace)
    alive = trace["alive"].sum(["edge", "op"])
    return (alive / np.maximum(candidate.sum((1, 2))[stages], 1)).rename("alive_share")


def summary(run: Run) -> Summary:
    """One line about a run.

    Returns:
        `seconds` of the search without its pauses, with what epochs did behind their last step;
        `alive_per_edge` operations, on the mean; `pruned_share` of the candidates; `none_share` and
        `skip_share` of the edges; the genotype, as text, and how often it has each operation;
        `parameters` and `macs` of the evaluated network, or else of the one last derived in the
        search; `test_accuracy` in [0, 1], of the first training.
    """
    trace, end = run.trace, none_and_skip(run).iloc[-1]
    evaluation = run.evaluation or {}
    found = run.latest_genotype
    return {
        "method": run.named("method"),
        "space": run.named("space"),
        "data": run.named("data"),
        "status": run.state,
        "steps": trace.sizes["step"],
        "epochs": len(run.epochs),
        "seconds": _seconds(run),
        "alive_per_edge": float(end["alive"]) / max(trace.sizes["edge"], 1),
        "pruned_share": 1.0 - float(end["alive_share"]),
        "none_share": float(end["none_share"]),
        "skip_share": float(end["skip_share"]),
        "genotype": str(found) if found else None,
        "op_counts": found.op_counts() if found else {},
        "parameters": _cost(run, "parameters"),
        "macs": _cost(run, "macs"),
        "test_accuracy": cast("float | None", evaluation.get("test_accuracy")),
    }


def _leaders(mix: xr.DataArray) -> np.ndarray:
    """The leading column of every edge `(…, edges)`, -1 where nobody leads."""
    values = mix.to_numpy()
    if not values.shape[-1]:
        return np.full(values.shape[:-1], -1)
    top = values.max(-1, keepdims=True)
    weigh, most = (values > 0).sum(-1), (values == top).sum(-1)
    tied = (weigh > 1) & (weigh == most)
    return np.where((weigh == 0) | tied, -1, values.argmax(-1))


def _led(mix: xr.DataArray) -> xr.DataArray:
    """Does the operation lead the edge?  Shaped like `mix`."""
    return mix.copy(data=_leaders(mix)[..., None] == np.arange(mix.sizes["op"]))


def _edges(trace: xr.Dataset) -> pd.DataFrame:
    return pd.DataFrame({"kind": trace["kind"].to_numpy(), "edge": trace["edge"].to_numpy()})


def _seconds(run: Run) -> float:
    """Seconds of the search so far, with what epochs did behind their last step.

    A step's `seconds` are since the first event; an epoch's are its own, from before its first step
    until it ended.  When it ended was not noted: not before its last step, and not before the epoch
    in front of it had ended and its own seconds had passed.  The later of the two is its end here;
    what lies between two epochs, such as saving the state, is counted with the next step.
    """
    trace, end = run.trace, 0.0
    steps = np.append(0.0, trace["seconds"].to_numpy())  # the first one: no step yet
    last = np.searchsorted(trace["epoch"].to_numpy(), run.epochs["epoch"].to_numpy(), side="right")
    for own, at in zip(run.epochs["seconds"].to_numpy(dtype=float), last, strict=True):
        end = max(end + (own if own > 0 else 0.0), float(steps[at]))
    return float(max(end, steps[-1]))


def _candidates(run: Run, trace: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """`candidates_so_far` `(stages, edges, ops)`, and in which of them each step is."""
    begun, stages = run.starts["stage"].to_numpy(), trace["stage"].to_numpy()
    return candidates_so_far(run).to_numpy(), np.searchsorted(begun, stages)


def _share(led: xr.DataArray, op: str) -> float:
    """The share of edges that an operation leads; 0 where the space lacks it."""
    if op not in led["op"] or not led.sizes["edge"]:
        return 0.0
    return float(led.sel(op=op).mean())


def _mean(mix: xr.DataArray, candidate: xr.DataArray, op: str) -> float:
    """The mean of one operation's weights over the edges of which it is a candidate, or NaN."""
    own = candidate.sel(op=op).to_numpy() if op in mix["op"] else np.zeros(0, dtype=bool)
    return float(mix.sel(op=op).to_numpy()[own].mean()) if own.any() else float("nan")


def _cost(run: Run, name: Literal["parameters", "macs"]) -> int | None:
    if run.evaluation is not None:
        return cast("int", run.evaluation[name])
    known = run.epochs[name].dropna()
    return int(known.iloc[-1]) if len(known) else None
