"""Losses, accuracies and learning rates of the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots import theme

if TYPE_CHECKING:
    from workbench.trace.runs import Run

PANELS = ("Loss", "Accuracy (%)", "Learning rate")
NAMES = {"train": "training data", "val": "validation data"}


def training_frame(run: Run, *, smoothing: int | None = None) -> pd.DataFrame:
    """One row per step and measured scalar that is a loss, an accuracy or a learning rate.

    Args:
        smoothing: Span in steps of the exponential moving average; if None a thirtieth of the run,
            but 5 or more.

    Returns:
        Columns `step`, `epoch`, `name` (as recorded), `panel`, `value`, `smooth`; accuracies are
        in percent; steps that did not measure the scalar are left out, and so is what probes
        measured: `gap` and `probe` draw that.
    """
    trace = run.trace
    steps, epochs = np.asarray(trace["step"].values), np.asarray(trace["epoch"].values)
    span = smoothing or max(len(steps) // 30, 5)
    parts = []
    for name in map(str, trace.data_vars):
        panel = _panel(name)
        if panel is None or trace[name].dims != ("step",) or trace[name].attrs.get("probed"):
            continue
        value = np.asarray(trace[name].values, dtype=np.float64)
        kept = np.isfinite(value)
        value = value[kept] * (100 if panel == "Accuracy (%)" else 1)
        smooth = pd.Series(value).ewm(span=span).mean().to_numpy()
        parts.append(
            pd.DataFrame(
                {
                    "step": steps[kept],
                    "epoch": epochs[kept],
                    "name": name,
                    "panel": panel,
                    "value": value,
                    "smooth": value if panel == "Learning rate" else smooth,
                }
            )
        )
    columns = ["step", "epoch", "name", "panel", "value", "smooth"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _panel(name: str) -> str | None:
    if name.startswith("loss"):
        return "Loss"
    if name.startswith("accuracy"):
        return "Accuracy (%)"
    return "Learning rate" if name in ("lr", "arch_lr") else None


def training(run: Run, *, smoothing: int | None = None) -> go.Figure:
    """Three panels: losses, accuracies (thin as measured, thick smoothed) and learning rates."""
    frame = training_frame(run, smoothing=smoothing)
    fig = make_subplots(rows=1, cols=3, horizontal_spacing=0.09)
    for col, panel in enumerate(PANELS, start=1):
        part = frame.loc[frame["panel"] == panel]
        for index, ((name,), curve) in enumerate(theme.groups(part, "name")):
            for line in _lines(name, curve, index, legend=_legend_id(col)):
                fig.add_trace(line, row=1, col=col)
        fig.update_xaxes(title="Step", row=1, col=col)
        fig.update_yaxes(title=theme.axis(panel), row=1, col=col)
        if part.empty:
            theme.note(fig, "Not measured", row=1, col=col)
    rates = frame.loc[frame["panel"] == "Learning rate", "value"]
    if len(rates) and rates.max() > 30 * rates.min() > 0:
        fig.update_yaxes(type="log", dtick=1, exponentformat="power", row=1, col=3)
    theme.styled(fig, title="Training of the supernet", height=360)
    for col in (1, 2, 3):
        left = cast("Any", fig.get_subplot(1, col)).xaxis.domain[0]
        place = {"x": left, "y": 1.02, "xanchor": "left", "yanchor": "bottom", "orientation": "h"}
        fig.update_layout({_legend_id(col): place})
    return fig


def _legend_id(col: int) -> str:
    return "legend" if col == 1 else f"legend{col}"


def _lines(name: str, curve: pd.DataFrame, index: int, *, legend: str) -> list[go.Scatter]:
    ending = name.rsplit("_", 1)[-1]
    title = {"lr": "weights", "arch_lr": "architecture"}.get(name, NAMES.get(ending, name))
    steps, colour = curve["step"].to_numpy(), theme.series(index)
    smooth, value = curve["smooth"].to_numpy(), curve["value"].to_numpy()
    shared = {"name": title, "legendgroup": name, "legend": legend, "mode": "lines"}
    kept = theme.thin(steps, smooth, 2 * theme.POINTS)
    thick = go.Scatter(
        x=steps[kept],
        y=smooth[kept],
        line={"color": colour, "width": 2, "dash": theme.series_dash(index)},
        hovertemplate="%{y:.4g} at step %{x:,}<extra>%{fullData.name}</extra>",
        **shared,
    )
    if name in ("lr", "arch_lr"):
        return [thick]
    kept = theme.thin(steps, value, 2 * theme.POINTS)
    thin = go.Scatter(
        x=steps[kept],
        y=value[kept],
        line={"color": theme.faded(colour, 0.35), "width": 0.8},
        showlegend=False,
        hoverinfo="skip",
        **shared,
    )
    return [thin, thick]
