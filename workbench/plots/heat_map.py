"""The weights of all edges at one moment, edges by operations, with a slider over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots import moments, playing, theme
from workbench.trace.latest import candidates_so_far, settled

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from workbench.trace.runs import Run

Value = Literal["mix", "alpha"]
FRAMES = 40  # moments of the slider
ACROSS = 4  # kinds of cells beside each other
TITLES = {"mix": "Mixing weights", "alpha": "Architecture parameters α"}
UNITS = {"mix": "Mixing weight", "alpha": "Architecture parameter α (logit)"}
HOVER = {
    "mix": "<b>%{x}</b> on %{y}<br>mixing weight %{z:.4f}, rank %{customdata}<extra></extra>",
    "alpha": "<b>%{x}</b> on %{y}<br>α %{z:.4f}, rank %{customdata}<extra></extra>",
}


def heat_map_frame(
    run: Run, *, value: Value = "mix", kind: str | None = None, frames: int | None = None
) -> pd.DataFrame:
    """One row per step, edge and operation that is alive after the step.

    What was pruned behind a step is gone at that step, and the rest has its weight: see
    `workbench.trace.latest.settled`.

    Args:
        value: Mixing weights, or the raw architecture parameters.
        kind: Cells to look at; every kind if None.
        frames: At most so many steps, evenly spaced, first and last among them; every step if None.

    Returns:
        Columns `step`, `epoch`, `kind`, `edge`, `op`, `value`, and `rank` (1 is the edge's largest
        value among what is alive).
    """
    seen = _moments(run, value, kind, frames)
    step, edge, op = np.nonzero(np.isfinite(seen.values))
    return pd.DataFrame(
        {
            "step": seen.steps[step],
            "epoch": seen.epochs[step],
            "kind": pd.Categorical.from_codes(*_codes(seen.kinds, edge)),
            "edge": pd.Categorical.from_codes(edge, seen.edges),
            "op": pd.Categorical.from_codes(op, seen.ops),
            "value": seen.values[step, edge, op],
            "rank": seen.ranks[step, edge, op],
        }
    )


class _Moments(NamedTuple):
    """What the slider shows: `values`, `ranks` and `gone` are `(moments, edges, ops)`."""

    steps: NDArray[np.integer]
    epochs: NDArray[np.integer]
    edges: list[str]
    kinds: list[str]
    ops: list[str]
    values: NDArray[np.float64]  # NaN where the operation is not alive
    ranks: NDArray[np.uint8]
    gone: NDArray[np.bool_]  # pruned, unlike what never was a candidate


def _moments(run: Run, value: Value, kind: str | None, frames: int | None) -> _Moments:
    trace = settled(run)
    trace = trace if kind is None else trace.sel(edge=trace["kind"] == kind)
    kept = moments.evenly(trace.sizes["step"], frames)
    trace = trace.isel(step=kept)
    alive = np.array(trace["alive"].values, dtype=bool)
    values = np.where(alive, np.asarray(trace[value].values, dtype=np.float64), np.nan)
    values[~np.isfinite(values)] = np.nan
    return _Moments(
        np.asarray(trace["step"].values),
        np.asarray(trace["epoch"].values),
        [str(edge) for edge in trace["edge"].values],
        [str(cell) for cell in trace["kind"].values],
        [str(op) for op in trace["op"].values],
        values,
        moments.ranks(values),
        _candidates(run, trace) & ~alive,
    )


def _candidates(run: Run, trace: xr.Dataset) -> NDArray[np.bool_]:
    """`(steps, edges, ops)`: could this stage or one before it have chosen the operation?"""
    begun = candidates_so_far(run).sel(edge=trace["edge"]).to_numpy()
    return begun[np.searchsorted(run.starts["stage"].to_numpy(), trace["stage"].to_numpy())]


def _codes(names: list[str], rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], list[str]]:
    kinds = list(dict.fromkeys(names))
    return np.array([kinds.index(name) for name in names], dtype=np.intp)[rows], kinds


def heat_map(
    run: Run, *, value: Value = "mix", kind: str | None = None, frames: int = FRAMES
) -> go.Figure:
    """Edges by operations; the slider and its buttons go through the search.

    The last step is shown first.  A cross is an operation that was pruned, an empty place one that
    never was a candidate.  Colours mean the same at every moment.

    Args:
        value: Mixing weights, from `moments.bottom` up, or raw architecture parameters, to both
            sides of 0.
        kind: Cells to look at; every kind if None, beside each other.
        frames: At most so many moments, evenly spaced over the steps.
    """
    seen = _moments(run, value, kind, frames)
    kinds = list(dict.fromkeys(seen.kinds))
    fig, across = _panels(kinds), min(max(len(kinds), 1), ACROSS)
    last = len(seen.steps) - 1
    for index, name in enumerate(kinds):
        for trace in _layers(seen, last, name, value):
            fig.add_trace(trace, row=index // across + 1, col=index % across + 1)
    fig.frames = [
        go.Frame(
            name=str(step),
            data=[layer for name in kinds for layer in _changes(seen, at, name)],
            traces=list(range(2 * len(kinds))),
        )
        for at, step in enumerate(seen.steps)
    ]
    rows = max((seen.kinds.count(name) for name in kinds), default=1)
    blocks = max(-(-len(kinds) // ACROSS), 1)
    _styled(fig, seen, value, height=blocks * (21 * rows + 90))
    return fig if len(seen.steps) else theme.note(fig, "Nothing recorded yet")


def _panels(kinds: list[str]) -> go.Figure:
    across = min(max(len(kinds), 1), ACROSS)
    blocks = max(-(-len(kinds) // ACROSS), 1)
    return make_subplots(
        rows=blocks,
        cols=across,
        subplot_titles=[theme.cell_name(kind) for kind in kinds],
        horizontal_spacing=min(0.16, 0.45 / across),  # names of edges fit 600 px
        vertical_spacing=0.3 / (blocks + 1),
    )


def _layers(seen: _Moments, at: int, kind: str, value: Value) -> tuple[go.Heatmap, go.Scatter]:
    """Heat map and crosses of one kind of cell at one moment."""
    own = np.flatnonzero(np.array(seen.kinds) == kind)
    heat, crosses = _changes(seen, at, kind) if at >= 0 else (go.Heatmap(), go.Scatter())
    heat.update(
        x=seen.ops,
        y=[seen.edges[edge] for edge in own],
        coloraxis="coloraxis",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        hovertemplate=HOVER[value],
    )
    crosses.update(
        mode="markers",
        marker={"symbol": "x-thin", "size": 6, "line": {"width": 1.2, "color": theme.INK["both"]}},
        showlegend=False,
        hovertemplate="<b>%{x}</b> on %{y}<br>pruned<extra></extra>",
    )
    return heat, crosses


def _changes(seen: _Moments, at: int, kind: str) -> tuple[go.Heatmap, go.Scatter]:
    """What differs from moment to moment, and no more."""
    own = np.flatnonzero(np.array(seen.kinds) == kind)
    edge, op = np.nonzero(seen.gone[at, own])
    return (
        go.Heatmap(z=seen.values[at, own].astype(np.float32), customdata=seen.ranks[at, own]),
        go.Scatter(x=[seen.ops[i] for i in op], y=[seen.edges[own[i]] for i in edge]),
    )


def _styled(fig: go.Figure, seen: _Moments, value: Value, *, height: int) -> None:
    finite = seen.values[np.isfinite(seen.values)]
    top = float(np.abs(finite).max()) if len(finite) else 1.0
    scale = {"cmin": moments.bottom(finite), "colorscale": theme.SEQUENTIAL}
    if value == "alpha":
        scale = {"cmin": -top, "colorscale": theme.DIVERGING}
    fig.update_xaxes(tickangle=-40, showgrid=False, type="category", categoryarray=seen.ops)
    fig.update_yaxes(autorange="reversed", showgrid=False, type="category")
    fig.update_annotations(font={"size": 13})
    theme.styled(
        fig,
        title=f"{TITLES[value]} over time",
        subtitle="× is gone; empty: never a candidate",
        height=height + 190 - playing.ROOM,
    )
    bar = {"title": {"text": UNITS[value], "side": "right"}, "thickness": 14, "outlinewidth": 0}
    axis = cast("Any", {**scale, "cmax": top or 1.0, "colorbar": bar})
    fig.update_layout(coloraxis=axis, margin={"t": 96, "b": 170 - playing.ROOM})
    moments_in_words = [
        f"{step:,} (epoch {epoch})" for step, epoch in zip(seen.steps, seen.epochs, strict=True)
    ]
    playing.playable(fig, moments_in_words, prefix="after step ")
