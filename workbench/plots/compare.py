"""The accuracy of several runs: by method, with both kinds of luck, and against search time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench import comparison
from workbench.analysis import summary
from workbench.plots import names as words
from workbench.plots import theme

if TYPE_CHECKING:
    from workbench.trace.runs import Run

_OTHERS = "rgba(128,128,128,0.55)"


def accuracy_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per training of what a run found, best method first.

    Returns:
        Columns `method` (the group of `comparison.labels`), `run` (of `comparison.run_names`),
        `seed` (of the search), `retraining` (counted from 1), `accuracy` (percent, of the test
        split), `seconds` (of the search), `parameters`.
    """
    rows = []
    known = comparison.runs_frame(runs)
    for index, (name, run) in enumerate(zip(comparison.labels(runs), runs, strict=True)):
        row = {"method": name, **known.iloc[index][["run", "seed", "seconds", "parameters"]]}
        for number, value in enumerate(comparison.accuracies(run), start=1):
            rows.append({**row, "retraining": number, "accuracy": 100 * value})
    columns = ["method", "run", "seed", "retraining", "accuracy", "seconds", "parameters"]
    frame = pd.DataFrame(rows, columns=columns)
    means = {name: found.mean for name, found in _spreads(frame).items()}
    order = sorted(means, key=lambda name: -means[name])
    frame = frame.assign(method=pd.Categorical(frame["method"], order))
    return frame.sort_values(["method", "seed", "run", "retraining"], ignore_index=True)


def accuracy(runs: Sequence[Run]) -> go.Figure:
    """Test accuracy of every training, one line per method, a lane in it per search.

    Bars are the standard deviations over searches and, below, of retrainings.
    """
    frame = _shown(accuracy_frame(runs))
    fig, parts = go.Figure(), theme.groups(frame, "method")
    names = [name for (name,), _ in parts]
    for at, (_, part) in enumerate(parts):
        lanes = theme.groups(part, "run")
        for lane, (_, search) in enumerate(lanes):
            y = at - 0.05 - 0.3 * lane / max(len(lanes) - 1, 1)
            many = len(search) > 1
            fig.add_scatter(
                x=search["accuracy"], y=[y] * len(search),
                mode="lines+markers" if many else "markers", showlegend=False,
                line={"color": _OTHERS, "width": 1}, marker={"color": _OTHERS, "size": 8},
                customdata=search[["method", "seed", "retraining"]],
                hovertemplate="%{x:.2f} %, search of seed %{customdata[1]}, training "
                "%{customdata[2]}<extra>%{customdata[0]}</extra>",
            )  # fmt: skip
    found = _spreads(frame)
    _add_mean(fig, found, names, "search_sd", "mean ± sd over searches", 0, 0.12)
    if not all(np.isnan(one.retraining_sd) for one in found.values()):
        _add_mean(fig, found, names, "retraining_sd", "± sd of retrainings", 1, 0.28)
    fig.update_yaxes(tickvals=list(range(len(names))), ticktext=names)
    fig.update_yaxes(range=[len(names) - 0.4, -0.6])
    fig.update_xaxes(title="Test accuracy of the derived network (%)")
    theme.styled(
        fig,
        title="How good is what each method found?",
        subtitle="a dot is one training from scratch; trainings of one search share a line",
        height=190 + 40 * max(len(names), 1),
    )
    fig.update_layout(legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"}, margin={"t": 104})
    return fig if len(frame) else theme.note(fig, "No run is evaluated yet")


def accuracy_against_time(runs: Sequence[Run]) -> go.Figure:
    """Mean test accuracy against mean search time, one named point per method.

    The time is that of all searches of a method, as in `comparison.methods_frame`, the accuracy of
    those that were evaluated.
    """
    frame, times = _shown(accuracy_frame(runs)), _search_seconds(runs)
    found, parts = _spreads(frame), theme.groups(frame, "method")
    names = [name for (name,), _ in parts]
    seconds = [times[name] for name in names]
    spreads = [found[name].search_sd for name in names]
    short = [name.replace("_small", "") for name in names]
    fig = go.Figure(
        go.Scatter(
            x=seconds, y=[found[name].mean for name in names], customdata=names,
            text=short if len(set(short)) == len(names) else names,
            mode="markers+text", textposition=_around(seconds), textfont={"size": 10},
            marker={"color": theme.series(0), "size": 8},
            error_y={"array": np.nan_to_num(spreads), "color": _OTHERS, "thickness": 1},
            hovertemplate="%{customdata}: %{y:.2f} % after %{x:.1f} s<extra></extra>",
        )
    )  # fmt: skip
    fig.update_xaxes(title="Search time (s), logarithmic", type="log")
    fig.update_traces(cliponaxis=False)
    fig.update_yaxes(title="Test accuracy (%)")
    theme.styled(
        fig,
        title="What does the accuracy cost?",
        subtitle="time: mean of all searches; accuracy: mean of the evaluated ones, bars: sd",
        height=520,
    )
    return fig if len(frame) else theme.note(fig, "No run is evaluated yet")


def _search_seconds(runs: Sequence[Run]) -> dict[str, float]:
    """The mean search time of every method, by its name as a figure shows it."""
    known: dict[str, list[float]] = {}
    for name, run in zip(comparison.labels(runs), runs, strict=True):
        known.setdefault(words.as_text(name), []).append(summary(run)["seconds"])
    return {name: float(np.mean(seconds)) for name, seconds in known.items()}


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with names and seeds as a figure shows them."""
    methods = frame["method"].cat.rename_categories(words.as_text)
    return frame.assign(method=methods, seed=frame["seed"].map(words.as_text))


def _spreads(frame: pd.DataFrame) -> dict[str, comparison.Spread]:
    """Mean and deviations of every method's accuracies, in percent."""
    return {
        name: comparison.spread([own["accuracy"].tolist() for _, own in theme.groups(part, "run")])
        for (name,), part in theme.groups(frame, "method")
    }


def _add_mean(
    fig: go.Figure, found: Mapping[str, comparison.Spread], names: Sequence[str], sd: str,
    title: str, colour: int, below: float,
) -> None:  # fmt: skip
    """A bar of a deviation around every method's mean."""
    spreads = [found[name]._asdict()[sd] for name in names]
    fig.add_scatter(
        x=[found[name].mean for name in names], y=[at + below for at in range(len(names))],
        mode="markers", name=title, customdata=list(zip(names, spreads, strict=True)),
        marker={"color": theme.series(colour), "size": 11, "symbol": "line-ns-open"},
        error_x={"array": np.nan_to_num(spreads), "color": theme.series(colour), "thickness": 2},
        hovertemplate="mean %{x:.2f} %, sd %{customdata[1]:.2f}<extra>%{customdata[0]}</extra>",
    )  # fmt: skip


def _around(seconds: Sequence[float]) -> list[str]:
    """Where names stand beside points of a logarithmic axis.

    In turns above and below, so that neighbours leave each other room, and towards the middle, so
    that none is cut off at an edge.
    """
    logs = np.log(np.maximum(seconds, 1e-9))
    low, high = min(logs, default=0.0), max(logs, default=0.0)
    places = (logs - low) / (high - low) if high > low else np.full(len(logs), 0.5)
    turns = places.argsort().argsort() % 2
    return [
        f"{('top', 'bottom')[turn]} {'right' if at < 1 / 3 else 'left' if at > 2 / 3 else 'center'}"
        for turn, at in zip(turns, places, strict=True)
    ]
