"""Norms of the gradients that moved weights and alphas, and steps in which they were spikes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots import theme

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.trace.runs import Run

PANELS = {"grad_norm_weights": "the weights", "grad_norm_alpha": "the alphas"}
LAST = 50  # steps
TIMES = 10.0
COLUMNS = ["step", "epoch", "name", "value", "median", "spike"]


def gradients_frame(run: Run, *, times: float = TIMES, last: int = LAST) -> pd.DataFrame:
    """One row per step and recorded norm: how long a gradient was, before it was clipped.

    Args:
        times: A norm above so many times the median before it is a spike.
        last: The median is that of so many steps, or as many as the stage has had.

    Returns:
        Columns `step`, `epoch`, `name` (`grad_norm_weights`, `grad_norm_alpha`), `value`, `median`
        (of the steps before; NaN in a stage's first), `spike`.  Steps without such a gradient, or
        with one that is not finite, are left out.

    Raises:
        ValueError: if `times` is not above 0 or `last` not above 0.
    """
    if not times > 0 or last < 1:
        raise ValueError(f"`times` must be above 0 and `last` 1 or more, not {times} and {last}")
    trace = run.trace
    parts = []
    for name in (name for name in PANELS if name in trace):
        value = np.asarray(trace[name].values, dtype=np.float64)
        kept = np.isfinite(value)
        part = pd.DataFrame({c: trace[c].to_numpy()[kept] for c in ("step", "epoch")})
        part = part.assign(name=name, value=value[kept])
        median = _medians(value[kept], trace["stage"].to_numpy()[kept], last)
        parts.append(part.assign(median=median, spike=part["value"] > times * median))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _medians(
    value: NDArray[np.floating], stage: NDArray[np.integer], last: int
) -> NDArray[np.floating]:
    """For every value the median of up to `last` before it in its stage, NaN for the first."""
    median = np.full(len(value), np.nan)
    for index in np.unique(stage):
        own = stage == index
        rolling = pd.Series(value[own]).rolling(last, min_periods=1)
        median[own] = rolling.median().shift().to_numpy()
    return median


def gradients(run: Run, *, times: float = TIMES, last: int = LAST) -> go.Figure:
    """Two panels over the steps: norm of the weights' gradient above that of the alphas'.

    Spikes (`gradients_frame`) are marked; the dotted line is what a norm must exceed to be one.
    """
    frame = gradients_frame(run, times=times, last=last)
    title = "Norms of the gradients"
    if frame.empty:
        fig = theme.styled(go.Figure(), title=title, height=220)
        return theme.note(fig, "This run did not record norms of gradients")
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    limit, shown = f"{times:g} × the median of the {last} steps before", set()
    for row, (name, whose) in enumerate(PANELS.items(), start=1):
        part = frame.loc[frame["name"] == name]
        if not (part["value"] > 0).any():
            theme.note(fig, "Always 0" if len(part) else "Not measured", row=row)
            continue
        for line in _lines(part.assign(limit=times * part["median"]), limit=limit):
            line.showlegend = line.name not in shown
            shown.add(line.name)
            fig.add_trace(line, row=row, col=1)
        fig.update_yaxes(title=f"Norm, {whose}", row=row)
    fig.update_yaxes(type="log", exponentformat="power")
    fig.update_xaxes(title="Step", row=2)
    theme.styled(fig, title=title, subtitle=_said(frame), height=480)
    place = {"x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "orientation": "h"}
    return fig.update_layout(legend=place)


def _said(frame: pd.DataFrame) -> str:
    """How many spikes there are."""
    found = {name: part["spike"].sum() for (name,), part in theme.groups(frame, "name")}
    parts = [f"{count:,} of {PANELS[name]}" for name, count in found.items()]
    return f"before clipping; spikes: {', '.join(parts)}"


def _lines(part: pd.DataFrame, *, limit: str) -> list[go.Scatter]:
    """The norm, the column `limit` under that name, and the spikes."""
    steps, value = part["step"].to_numpy(), part["value"].to_numpy()
    bounds = part.loc[part["limit"] > 0]
    spikes = part.loc[part["spike"]]
    kept = _thinned(steps, value)
    at = _thinned(bounds["step"].to_numpy(), bounds["limit"].to_numpy())
    return [
        go.Scatter(
            x=steps[kept],
            y=np.where(value > 0, value, np.nan)[kept],  # a gap: a log axis has no 0
            name="norm",
            mode="lines",
            line={"color": theme.series(0), "width": 1.4},
            hovertemplate="%{y:.4g} at step %{x:,}<extra></extra>",
        ),
        go.Scatter(
            x=bounds["step"].to_numpy()[at],
            y=bounds["limit"].to_numpy()[at],
            name=limit,
            mode="lines",
            line={"color": theme.INK["both"], "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
        ),
        go.Scatter(
            x=spikes["step"].to_numpy(),
            y=spikes["value"].to_numpy(),
            name="spike",
            mode="markers",
            marker={"color": theme.series(1), "size": 8, "symbol": "circle-open", "line_width": 2},
            customdata=(spikes["value"] / spikes["median"]).to_numpy(),
            hovertemplate="%{y:.4g} at step %{x:,}, %{customdata:.3g} × the median"
            "<extra>spike</extra>",
        ),
    ]


def _thinned(steps: NDArray[np.integer], value: NDArray[np.floating]) -> NDArray[np.intp]:
    """What to draw of a curve on a log axis."""
    if not len(value):
        return np.arange(0)
    least = value[value > 0].min()
    return theme.thin(steps, np.log10(np.maximum(value, least)), 2 * theme.POINTS)
