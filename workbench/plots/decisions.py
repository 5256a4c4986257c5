"""When every edge was decided, and how often it changed its mind before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench import analysis
from workbench.plots import theme

if TYPE_CHECKING:
    from workbench.trace.runs import Run

NOBODY = "no operation"  # leads an edge whose weights are all zero, or all equal
HOVER = (
    "<b>%{fullData.name}</b> leads %{y} for good<br>from step %{x:,} (epoch %{customdata}) on"
    "<extra></extra>"
)


def decisions_frame(run: Run) -> pd.DataFrame:
    """One row per edge, in the order of the cells; no row before the first step.

    Returns:
        Columns `kind`, `edge`, `switches` (how often its leader changed from one step to the next),
        `op` (the leader at the end; "no operation" if nobody leads), `step` and `epoch`
        (the first from which that leader never changed again).
    """
    decided, switches = analysis.decision_step(run), analysis.rank_switches(run)
    counts = dict(zip(switches["edge"], switches["switches"], strict=True))
    steps, epochs = (run.trace[name].values for name in ("step", "epoch"))
    at = np.searchsorted(steps, decided["step"].to_numpy(dtype=np.int64))
    return pd.DataFrame(
        {
            "kind": decided["kind"],
            "edge": decided["edge"],
            "switches": np.array([counts[edge] for edge in decided["edge"]], dtype=int),
            "op": decided["op"].fillna(NOBODY).astype(str),
            "step": decided["step"].astype(int),
            "epoch": epochs[at].astype(int),
        }
    )


def decisions(run: Run) -> go.Figure:
    """Left, how often each edge's leader changed; right, from when on it never did again.

    A dot has the colour of the operation the edge decided for; the line goes on to the end.
    """
    frame = decisions_frame(run)
    edges = frame["edge"].tolist()
    fig = make_subplots(
        rows=1, cols=2, shared_yaxes=True, column_widths=[0.3, 0.7], horizontal_spacing=0.03
    )
    fig.add_trace(_bars(frame), row=1, col=1)
    steps = run.trace["step"].values
    last = int(steps[-1]) if len(steps) else 0
    parts = dict(theme.groups(frame, "op"))
    for op in [*map(str, run.trace["op"].values), NOBODY]:
        for trace in _decided(op, parts[op,], last) if (op,) in parts else ():
            fig.add_trace(trace, row=1, col=2)
    fig.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=edges,
        range=[len(edges) - 0.4, -0.6],
    )
    for border in np.flatnonzero(frame["kind"].to_numpy()[1:] != frame["kind"].to_numpy()[:-1]):
        fig.add_hline(float(border) + 0.5, line={"color": "rgba(128,128,128,0.55)", "width": 1})
    fig.update_xaxes(title="Changes of the leader", rangemode="tozero", row=1, col=1)
    fig.update_xaxes(title="Step from which the leader stays", row=1, col=2)
    fig.update_xaxes(range=[-0.02 * last, 1.02 * last or 1], row=1, col=2)
    theme.styled(
        fig,
        title="When edges were decided",
        subtitle="an edge is decided from when the leader, its largest weight, never changes again",
        height=170 + 19 * len(edges),
    )
    return fig if len(frame) else theme.note(fig, "Nothing recorded yet", row=1, col=2)


def _bars(frame: pd.DataFrame) -> go.Bar:
    return go.Bar(
        x=frame["switches"].to_numpy(),
        y=frame["edge"].tolist(),
        orientation="h",
        marker={"color": theme.faded(theme.INK["both"], 0.75)},
        showlegend=False,
        hovertemplate="the leader of %{y} changed %{x:,} times<extra></extra>",
    )


def _decided(op: str, frame: pd.DataFrame, last: int) -> list[go.Scatter]:
    """Dots where edges were decided for `op`, and lines from there to the last step."""
    look = {"color": theme.colour(op)}
    shared = {"name": op, "legendgroup": op}
    ends = [x for step in frame["step"] for x in (step, last, None)]
    rows = [y for edge in frame["edge"] for y in (edge, edge, None)]
    lines = go.Scatter(
        x=ends,
        y=rows,
        mode="lines",
        line={**look, "dash": theme.dash(op), "width": 1.5},
        showlegend=False,
        hoverinfo="skip",
        **shared,
    )
    dots = go.Scatter(
        x=frame["step"].to_numpy(),
        y=frame["edge"].tolist(),
        customdata=frame["epoch"].to_numpy(),
        mode="markers",
        marker={**look, "size": 9, "symbol": theme.symbol(op)},
        hovertemplate=HOVER,
        **shared,
    )
    return [lines, dots]
