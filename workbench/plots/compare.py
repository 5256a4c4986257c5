"""Several runs in one figure: accuracy by method, accuracy against time, curves with seed bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from workbench import comparison
from workbench.plots import theme

if TYPE_CHECKING:
    from workbench.trace.runs import Run

_OTHERS = "rgba(128,128,128,0.55)"
_COLOURS = tuple(dict.fromkeys(c for op, c in theme.COLOURS.items() if op != "none"))


def accuracy_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per evaluated run, best method first.

    Returns:
        Columns `method`, `seed`, `accuracy` (percent, of the test split), `seconds` (of the
        search), `parameters`.
    """
    frame = comparison.runs_frame(runs).dropna(subset=["test_accuracy"])
    frame = frame.assign(accuracy=100 * frame["test_accuracy"].astype(float))
    means = {name: part["accuracy"].mean() for (name,), part in theme.groups(frame, "method")}
    order = sorted(means, key=lambda name: -means[name])
    frame = frame.assign(method=pd.Categorical(frame["method"], order))
    frame = frame.sort_values(["method", "seed"], ignore_index=True)
    return frame.loc[:, ["method", "seed", "accuracy", "seconds", "parameters"]]


def accuracy(runs: Sequence[Run]) -> go.Figure:
    """Test accuracy of every run, one line per method, with the mean and standard deviation."""
    frame = accuracy_frame(runs)
    fig, parts = go.Figure(), theme.groups(frame, "method")
    names = [name for (name,), _ in parts]
    for (name,), part in parts:
        fig.add_scatter(
            x=part["accuracy"], y=[name] * len(part), mode="markers", showlegend=False,
            marker={"color": _OTHERS, "size": 9}, customdata=part["seed"],
            hovertemplate="%{x:.2f} %, seed %{customdata}<extra>%{y}</extra>",
        )  # fmt: skip
    means, spreads = _moments(parts, "accuracy")
    fig.add_scatter(
        x=means, y=names, mode="markers", name="mean ± sd over searches",
        marker={"color": theme.series(0), "size": 11, "symbol": "line-ns-open"},
        error_x={"array": spreads, "color": theme.series(0), "thickness": 2},
        hovertemplate="mean %{x:.2f} %<extra>%{y}</extra>",
    )  # fmt: skip
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(title="Test accuracy of the derived network (%)")
    theme.styled(
        fig,
        title="How good is what each method found?",
        subtitle="a dot is one search, its network trained once from scratch",
        height=150 + 26 * max(len(names), 1),
    )
    return fig if len(frame) else theme.note(fig, "No run is evaluated yet")


def accuracy_against_time(runs: Sequence[Run]) -> go.Figure:
    """Mean test accuracy against mean search time, one named point per method."""
    frame = accuracy_frame(runs)
    parts = theme.groups(frame, "method")
    means, spreads = _moments(parts, "accuracy")
    names = [name for (name,), _ in parts]
    fig = go.Figure(
        go.Scatter(
            x=_moments(parts, "seconds")[0], y=means, customdata=names,
            text=[name.removesuffix("_small") for name in names],
            mode="markers+text", textposition=_around(len(parts)), textfont={"size": 10},
            marker={"color": theme.series(0), "size": 8},
            error_y={"array": spreads, "color": _OTHERS, "thickness": 1},
            hovertemplate="%{customdata}: %{y:.2f} % after %{x:.1f} s<extra></extra>",
        )
    )  # fmt: skip
    fig.update_xaxes(title="Search time (s), logarithmic", type="log")
    fig.update_traces(cliponaxis=False)
    fig.update_yaxes(title="Test accuracy (%)")
    theme.styled(
        fig, title="What does the accuracy cost?", subtitle="bars: sd over searches", height=520
    )
    return fig if len(frame) else theme.note(fig, "No run is evaluated yet")


def curves(runs: Sequence[Run], scalar: str = "loss_train") -> go.Figure:
    """A scalar over the search, one line per method with a band of one sd over its seeds."""
    frame = comparison.curves_frame(runs, scalar)
    fig = go.Figure()
    for index, ((name,), part) in enumerate(theme.groups(frame, "method")):
        x, mean, sd = 100 * part["progress"], part["mean"], part["sd"].fillna(0)
        colour = _COLOURS[index % len(_COLOURS)]
        shared = {"legendgroup": name, "x": x, "mode": "lines", "hoverinfo": "skip"}
        width = {"width": 0}
        fig.add_scatter(y=mean - sd, line=width, showlegend=False, **shared)
        fill = theme.faded(colour, 0.15)
        fig.add_scatter(
            y=mean + sd, line=width, fill="tonexty", fillcolor=fill, showlegend=False, **shared
        )
        fig.add_scatter(
            x=x, y=mean, name=name, legendgroup=name, mode="lines",
            line={"color": colour, "dash": theme.series_dash(index // len(_COLOURS))},
            hovertemplate="%{y:.3f} at %{x:.0f} % of the search<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    fig.update_xaxes(title="Epochs of the search done (%)")
    fig.update_yaxes(title=scalar)
    theme.styled(fig, title=f"{scalar} over the search", subtitle="band: ± sd over seeds")
    return fig if len(frame) else theme.note(fig, f"No run has {scalar}")


def _moments(
    parts: Sequence[tuple[tuple[str, ...], pd.DataFrame]], column: str
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of a column in every part; the latter 0 of a single row."""
    values = [part[column].to_numpy(dtype=float) for _, part in parts]
    spreads = [float(row.std(ddof=1)) if len(row) > 1 else 0.0 for row in values]
    return [float(row.mean()) for row in values], spreads


def _around(count: int) -> list[str]:
    """Where names stand beside their points: in turns, so that neighbours leave each other room."""
    sides = ("top center", "bottom center", "middle right", "middle left")
    return [sides[index % len(sides)] for index in range(count)]
