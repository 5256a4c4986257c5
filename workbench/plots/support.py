"""How undecided the edges are: entropy of their mixing weights, and how many are above zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench import analysis
from workbench.plots import moments, theme
from workbench.trace.latest import settled

if TYPE_CHECKING:
    from workbench.trace.runs import Run

PANELS = {"entropy": "Entropy (nats)", "support": "Operations with weight > 0"}


def support_frame(run: Run) -> pd.DataFrame:
    """One row per step, kind of cell and measure, over the edges of that kind.

    Returns:
        Columns `step`, `kind`, `measure` ("entropy" in nats, or "support", the number of
        operations with a mixing weight above zero), `mean`, `low` and `high`.
    """
    measured = {"entropy": analysis.entropy(run), "support": (settled(run)["mix"] > 0).sum("op")}
    parts = [moments.over_edges(part).assign(measure=name) for name, part in measured.items()]
    return pd.concat(parts, ignore_index=True).loc[
        :, ["measure", "kind", "step", "mean", "low", "high"]
    ]


def support(run: Run) -> go.Figure:
    """Entropy and support size: the mean over edges, and a band from the least to the most."""
    frame = support_frame(run)
    fig = make_subplots(rows=1, cols=2, horizontal_spacing=0.1)
    kinds = list(dict.fromkeys(str(kind) for kind in run.trace["kind"].values))
    for col, (measure, title) in enumerate(PANELS.items(), start=1):
        for index, kind in enumerate(kinds):
            part = frame.loc[(frame["measure"] == measure) & (frame["kind"] == kind)]
            for trace in theme.band(part.dropna(), kind, index, legend=col == 1):
                fig.add_trace(trace, row=1, col=col)
        fig.update_yaxes(title=title, rangemode="tozero", row=1, col=col)
        fig.update_xaxes(title="Step", row=1, col=col)
    theme.styled(
        fig,
        title="How undecided the edges are",
        subtitle="line: mean over edges; band: from the most to the least decided edge",
        height=400,
    )
    return fig if len(frame) else theme.note(fig, "Nothing recorded yet")
