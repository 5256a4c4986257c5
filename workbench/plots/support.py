"""How undecided the edges are: entropy of their mixing weights, and how many are above zero."""

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

PANELS = {"entropy": "Entropy (nats)", "support": "Operations with weight > 0"}


def support_frame(run: Run) -> pd.DataFrame:
    """One row per step, kind of cell and measure, over the edges of that kind.

    Returns:
        Columns `step`, `kind`, `measure` ("entropy" in nats, or "support", the number of
        operations with a mixing weight above zero), `mean`, `low` and `high`.
    """
    entropy = analysis.entropy(run).rename("value").to_dataframe().reset_index()
    support = analysis.support(run).rename(columns={"support": "value"})
    columns = ["step", "kind", "value"]
    both = pd.concat(
        [entropy[columns].assign(measure="entropy"), support[columns].assign(measure="support")]
    )
    groups = both.groupby(["measure", "kind", "step"], sort=False)["value"]
    return groups.agg(mean="mean", low="min", high="max").reset_index()


def support(run: Run) -> go.Figure:
    """Entropy and support size: the mean over edges, and a band from the least to the most."""
    frame = support_frame(run)
    fig = make_subplots(rows=1, cols=2, horizontal_spacing=0.1)
    kinds = list(dict.fromkeys(str(kind) for kind in run.trace["kind"].values))
    for col, (measure, title) in enumerate(PANELS.items(), start=1):
        for index, kind in enumerate(kinds):
            part = frame.loc[(frame["measure"] == measure) & (frame["kind"] == kind)]
            for trace in _band(part.dropna(), kind, index, first=col == 1):
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


def _band(part: pd.DataFrame, kind: str, index: int, *, first: bool) -> list[go.Scatter]:
    steps = part["step"].to_numpy()
    columns = [part[name].to_numpy(np.float32) for name in ("low", "high", "mean")]
    if not len(steps):
        return []
    kept = np.unique(np.concatenate([theme.thin(steps, y, 2 * theme.POINTS) for y in columns]))
    low, high, mean = (y[kept] for y in columns)
    colour = theme.series(index)
    shared = {"x": steps[kept], "legendgroup": kind, "mode": "lines"}
    edge = {"line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    return [
        go.Scatter(y=low, name=f"{kind}, least", **edge, **shared),
        go.Scatter(
            y=high,
            name=f"{kind}, most",
            fill="tonexty",
            fillcolor=theme.faded(colour, 0.16),
            **edge,
            **shared,
        ),
        go.Scatter(
            y=mean,
            name=theme.cell_name(kind),
            showlegend=first,
            line={"color": colour, "width": 2.2, "dash": theme.series_dash(index)},
            customdata=np.stack([low, high], axis=-1),
            hovertemplate="mean %{y:.3g} (from %{customdata[0]:.3g} to %{customdata[1]:.3g}) at "
            "step %{x:,}<extra>%{fullData.name}</extra>",
            **shared,
        ),
    ]
