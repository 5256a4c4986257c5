"""How far the leader of every edge is ahead of the second: a choice, or a coin toss?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench import analysis
from workbench.plots import moments, theme

if TYPE_CHECKING:
    from workbench.trace.runs import Run

COLUMNS = 200  # moments of the heat map


def margins_frame(run: Run) -> pd.DataFrame:
    """One row per step and kind of cell: the margin over the edges of that kind.

    The margin of an edge is its largest mixing weight minus the second largest; an edge that has
    lost all its operations has none.

    Returns:
        Columns `step`, `kind`, `mean`, `low` and `high` (of the least and the most decided edge),
        all in the units of the mixing weights.
    """
    return moments.over_edges(analysis.margins(run))


def edge_margins_frame(run: Run, *, points: int | None = None) -> pd.DataFrame:
    """One row per step and edge.

    Args:
        points: At most so many steps, evenly spaced; every step if None.

    Returns:
        Columns `step`, `epoch`, `kind`, `edge`, `margin`.
    """
    margin = analysis.margins(run)
    margin = margin.isel(step=moments.evenly(margin.sizes["step"], points))
    edges = margin.sizes["edge"]
    repeats = margin.sizes["step"]
    return pd.DataFrame(
        {
            "step": np.repeat(margin["step"].values, edges),
            "epoch": np.repeat(margin["epoch"].values, edges),
            "kind": np.tile(margin["kind"].values.astype(object), repeats),
            "edge": np.tile(margin["edge"].values.astype(object), repeats),
            "margin": np.asarray(margin.values, dtype=np.float64).ravel(),
        }
    )


def margins(run: Run) -> go.Figure:
    """Above, the mean margin per kind of cell and a band over its edges; below, every edge."""
    frame = margins_frame(run)
    edges = [str(edge) for edge in run.trace["edge"].values]
    lower = 17 * max(len(edges), 4)
    fig = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=30 / (lower + 260),
        row_heights=[220, lower],
    )
    for index, ((kind,), part) in enumerate(theme.groups(frame, "kind")):
        for trace in theme.band(part.dropna(), kind, index):
            fig.add_trace(trace, row=1, col=1)
    fig.add_trace(_heat(edge_margins_frame(run, points=COLUMNS), edges), row=2, col=1)
    fig.update_yaxes(title="Margin (mixing weight)", rangemode="tozero", row=1, col=1)
    fig.update_yaxes(exponentformat="none", row=1, col=1)
    fig.update_yaxes(type="category", autorange="reversed", showgrid=False, row=2, col=1)
    fig.update_xaxes(title="Step", row=2, col=1)
    theme.styled(
        fig,
        title="Margin between the first and the second operation",
        subtitle="line: mean over edges; band: from the least to the most decided edge",
        height=lower + 390,
    )
    share = lower / (lower + 220)
    bar = {"title": {"text": "Margin (mixing weight)", "side": "right"}, "thickness": 14,
           "exponentformat": "none", "outlinewidth": 0, "y": 0, "yanchor": "bottom",
           "len": share}  # fmt: skip
    fig.update_layout(coloraxis={"cmin": 0, "colorscale": theme.SEQUENTIAL, "colorbar": bar})
    return fig if len(frame) else theme.note(fig, "Nothing recorded yet")


def _heat(frame: pd.DataFrame, edges: list[str]) -> go.Heatmap:
    steps = frame["step"].to_numpy().reshape(-1, max(len(edges), 1))[:, 0]
    margin = (
        frame["margin"].to_numpy(np.float32).reshape(len(steps), len(edges)).T
    )  # (edges, steps)
    return go.Heatmap(
        x=steps,
        y=edges,
        z=margin,
        coloraxis="coloraxis",
        ygap=1,
        hovertemplate="<b>%{y}</b><br>margin %{z:.4f} at step %{x:,}<extra></extra>",
    )
