"""Losses, accuracies and learning rates of the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots import theme
from workbench.plots.names import of_split

if TYPE_CHECKING:
    from workbench.trace.runs import Run

PANELS = ("Loss", "Accuracy (%)", "Learning rate")
OBJECTIVE = "Objective without data"  # a panel of its own: it is no cross-entropy
LOOKS = {"lr": ("weights", 0), "arch_lr": ("architecture", 1), "loss": ("objective", 2)}


def training_frame(run: Run, *, smoothing: int | None = None) -> pd.DataFrame:
    """One row per step and measured scalar that is a loss, an accuracy or a learning rate.

    Args:
        smoothing: Span in steps of the exponential moving average, which begins anew in every
            stage; if None a thirtieth of the run, but 5 or more.

    Returns:
        Columns `step`, `epoch`, `stage`, `name` (as recorded), `panel`, `value`, `smooth`;
        accuracies are in percent; steps that did not measure the scalar are left out, and so is
        what probes measured: `gap` and `probe` draw that.
    """
    trace = run.trace
    clock = {name: np.asarray(trace[name].values) for name in ("step", "epoch", "stage")}
    steps = clock["step"]
    span = smoothing or max(len(steps) // 30, 5)
    parts = []
    for name in map(str, trace.data_vars):
        panel = _panel(name)
        if panel is None or trace[name].dims != ("step",) or trace[name].attrs.get("probed"):
            continue
        value = np.asarray(trace[name].values, dtype=np.float64)
        kept = np.isfinite(value)
        value = value[kept] * (100 if panel == "Accuracy (%)" else 1)
        own = {name: values[kept] for name, values in clock.items()}
        smooth = np.empty_like(value)
        for stage in np.unique(own["stage"]):
            here = own["stage"] == stage
            smooth[here] = pd.Series(value[here]).ewm(span=span).mean().to_numpy()
        parts.append(
            pd.DataFrame(
                {
                    **own,
                    "name": name,
                    "panel": panel,
                    "value": value,
                    "smooth": value if panel == "Learning rate" else smooth,
                }
            )
        )
    columns = ["step", "epoch", "stage", "name", "panel", "value", "smooth"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _panel(name: str) -> str | None:
    if name == "loss":  # of a stage that takes no batches, as a zero-cost warm-up
        return OBJECTIVE
    if name.startswith("loss"):
        return "Loss"
    if name.startswith("accuracy"):
        return "Accuracy (%)"
    return "Learning rate" if name in ("lr", "arch_lr") else None


def training(run: Run, *, smoothing: int | None = None) -> go.Figure:
    """Panels of losses, accuracies (thin as measured, thick smoothed) and learning rates.

    A fourth one, only of a search that has it, is the objective of stages that look at no data.
    """
    frame = training_frame(run, smoothing=smoothing)
    panels = [*PANELS, *([OBJECTIVE] if OBJECTIVE in set(frame["panel"]) else [])]
    across = 3 if len(panels) == 3 else 2
    down = -(-len(panels) // across)
    fig = make_subplots(rows=down, cols=across, horizontal_spacing=0.09, vertical_spacing=0.26)
    for index, panel in enumerate(panels):
        row, col = divmod(index, across)
        part = frame.loc[frame["panel"] == panel]
        _draw(fig, panel, part, row + 1, col + 1, legend=_legend_id(index))
        title = _score(run) if panel == OBJECTIVE else theme.axis(panel)
        fig.update_yaxes(title=title, row=row + 1, col=col + 1)
    theme.styled(fig, title="Training of the supernet", height=60 + 300 * down)
    if down > 1:  # stages follow each other, each in panels of its own
        fig.update_xaxes(matches="x").update_layout(margin={"t": 92})
    for index in range(len(panels)):
        place = cast("Any", fig.get_subplot(index // across + 1, index % across + 1))
        left, top = place.xaxis.domain[0], place.yaxis.domain[1] + 0.02 / down
        place = {"x": left, "y": top, "xanchor": "left", "yanchor": "bottom", "orientation": "h"}
        fig.update_layout({_legend_id(index): place})
    return fig


def _score(run: Run) -> str:
    """What the objective without data is: it is made less, so the score is more."""
    return "−Zen score (no unit)" if "zen" in run.trace else f"{OBJECTIVE} (no unit)"


def _draw(
    fig: go.Figure, panel: str, part: pd.DataFrame, row: int, col: int, *, legend: str
) -> None:
    for (name,), curve in theme.groups(part, "name"):
        for line in _lines(name, curve, legend=legend):
            fig.add_trace(line, row=row, col=col)
    fig.update_xaxes(title="Step", row=row, col=col)
    if part.empty:
        theme.note(fig, "Not measured", row=row, col=col)
    rates = part["value"].to_numpy(np.float64)
    if panel == "Learning rate" and len(rates) and rates.max() > 30 * rates.min() > 0:
        fig.update_yaxes(type="log", dtick=1, exponentformat="power", row=row, col=col)


def _legend_id(index: int) -> str:
    return f"legend{index + 1}" if index else "legend"


def _broken(curve: pd.DataFrame, value: str) -> dict[str, np.ndarray]:
    """`x` and `y` of a line that ends with every stage: the next one has another supernet."""
    steps, values = curve["step"].to_numpy(), curve[value].to_numpy(np.float64)
    kept = theme.thin(steps, values, 2 * theme.POINTS)
    borders = np.flatnonzero(np.diff(curve["stage"].to_numpy()[kept])) + 1
    y = np.insert(values[kept], borders, np.nan)
    return {"x": np.insert(steps[kept], borders, steps[kept][borders]), "y": y}


def _alone(y: np.ndarray) -> np.ndarray:
    """Points of `_broken` without a neighbour, which a line does not show."""
    gaps = np.concatenate([[True], ~np.isfinite(y), [True]])
    return gaps[:-2] & ~gaps[1:-1] & gaps[2:]


def _lines(name: str, curve: pd.DataFrame, *, legend: str) -> list[go.Scatter]:
    title, index = LOOKS.get(name) or of_split(name)
    colour, points = theme.series(index), _broken(curve, "smooth")
    shared = {"name": title, "legendgroup": name, "legend": legend, "mode": "lines"}
    rank = {"legendrank": 1000 + index}
    alone = _alone(points["y"])
    dots = {"mode": "lines+markers", "marker": {"size": 5 * alone, "color": colour}}
    thick = go.Scatter(
        **points,
        line={"color": colour, "width": 2, "dash": theme.series_dash(index)},
        hovertemplate="%{y:.4g} at step %{x:,}<extra>%{fullData.name}</extra>",
        **shared | (dots if alone.any() else {}),
        **rank,
    )
    if name in ("lr", "arch_lr"):
        return [thick]
    thin = go.Scatter(
        **_broken(curve, "value"),
        line={"color": theme.faded(colour, 0.35), "width": 0.8},
        showlegend=False,
        hoverinfo="skip",
        **shared,
        **rank,
    )
    return [thin, thick]
