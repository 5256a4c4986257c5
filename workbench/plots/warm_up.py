"""A zero-cost warm-up: the terms of its score, and the weights that it moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots import names, theme

if TYPE_CHECKING:
    from workbench.trace.runs import Run

PANELS = ("zen", "log_ntk", "bn_term", "weight_norm")
COLUMNS = ["step", "epoch", "name", "value"]


def warm_up_frame(run: Run) -> pd.DataFrame:
    """One row per step of the stages that followed the Zen score, and per value they measured.

    Returns:
        Columns `step`, `epoch`, `name`, `value`: `zen`, its terms `log_ntk` and `bn_term` (without
        their weights beta1 and beta2), and `weight_norm`, where the probe `WeightNorms` measured
        it.  No row for a search without such a stage.
    """
    trace = run.trace
    if "zen" not in trace:
        return pd.DataFrame(columns=COLUMNS)
    stage = trace["stage"].to_numpy()
    scored = np.isin(stage, np.unique(stage[np.isfinite(trace["zen"].to_numpy())]))
    parts = []
    for name in (name for name in PANELS if name in trace):
        kept = scored & np.isfinite(trace[name].to_numpy())
        part = {c: trace[c].to_numpy()[kept] for c in ("step", "epoch")}
        value = trace[name].to_numpy()[kept].astype(np.float64)
        parts.append(pd.DataFrame({**part, "name": name, "value": value}))
    return pd.concat(parts, ignore_index=True)


def warm_up(run: Run) -> go.Figure:
    """Four panels over the steps of a zero-cost warm-up: score, both terms, norm of the weights."""
    frame = warm_up_frame(run)
    if frame.empty:
        fig = theme.styled(go.Figure(), title="Zero-cost warm-up", height=220)
        return theme.note(fig, "This search has no zero-cost warm-up that takes steps")
    fig = make_subplots(rows=2, cols=2, horizontal_spacing=0.12, vertical_spacing=0.16)
    for index, name in enumerate(PANELS):
        row, col = divmod(index, 2)
        part = frame.loc[frame["name"] == name]
        fig.update_xaxes(title="Step", row=row + 1, col=col + 1)
        fig.update_yaxes(title=names.label(name), row=row + 1, col=col + 1)
        if part.empty:
            how = f"Not measured:<br>{names.how_to('WeightNorms')}"
            theme.note(fig, how, row=row + 1, col=col + 1)
        else:
            fig.add_trace(_curve(part, index), row=row + 1, col=col + 1)
    fig.update_xaxes(matches="x")
    theme.styled(
        fig,
        title="Zero-cost warm-up",
        subtitle="Zen = β1 log NTK + β2 BN, on Gaussian pictures, without labels",
        height=560,
    )
    return fig


def _curve(part: pd.DataFrame, index: int) -> go.Scatter:
    steps, values = part["step"].to_numpy(), part["value"].to_numpy()
    kept = theme.thin(steps, values, 2 * theme.POINTS)
    return go.Scatter(
        x=steps[kept],
        y=values[kept],
        mode="lines+markers" if len(kept) <= 60 else "lines",
        marker={"size": 4},
        line={"color": theme.series(min(index, 2)), "width": 1.8},
        showlegend=False,
        hovertemplate="%{y:.5g} at step %{x:,}<extra></extra>",
    )
