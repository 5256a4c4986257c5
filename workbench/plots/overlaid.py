"""Curves of several runs over each other: one line per method with a band over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench import comparison
from workbench.plots import names as words
from workbench.plots import theme

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.trace.runs import Run

_COLOURS = tuple(dict.fromkeys(c for op, c in theme.COLOURS.items() if op != "none"))
_ACROSS = 3

# What is drawn: its title with the unit, and what its values are multiplied by.
PANELS: Mapping[str, tuple[str, float]] = {
    "loss_train": ("Training loss (nats)", 1),
    "accuracy_train": ("Training accuracy (%)", 100),
    "none_share": ("Edges led by none (%)", 100),
    "loss_val": ("Validation loss (nats)", 1),
    "accuracy_val": ("Validation accuracy (%)", 100),
    "skip_share": ("Edges led by skip_connect (%)", 100),
    "entropy": ("Entropy of an edge (nats)", 1),
    "margin": ("Leader ahead of the second (weight)", 1),
    "alive_share": ("Operations left (%)", 100),
}


def overlaid_frame(runs: Sequence[Run], *, what: Sequence[str] = tuple(PANELS)) -> pd.DataFrame:
    """Every curve of `overlaid`: what is measured, by method and progress.

    Returns:
        Columns `what`, then those of `comparison.curves_frame`.
    """
    parts = [comparison.curves_frame(runs, name).assign(what=name) for name in what]
    known = [part for part in parts if len(part)] or parts[:1]
    frame = pd.concat(known, ignore_index=True)
    return frame.loc[:, ["what", "method", "progress", "mean", "sd", "runs"]]


def overlaid(
    runs: Sequence[Run], *, what: Sequence[str] = tuple(PANELS), singles: bool = False
) -> go.Figure:
    """Curves of the search, a panel for each measure, one legend that switches a method in all.

    Args:
        runs: The runs.
        what: Scalars and measures, see `comparison.per_epoch`.
        singles: Also draw every run as a thin line.
    """
    names = list(dict.fromkeys(comparison.labels(runs)))
    down, across = -(-len(what) // _ACROSS), min(_ACROSS, len(what))
    titles = [_title(name) for name in what]
    spaces = {"horizontal_spacing": 0.08, "vertical_spacing": 0.3 / down**1.2}
    fig = make_subplots(down, across, subplot_titles=titles, **spaces)
    shown: set[str] = set()
    for index, name in enumerate(what):
        row, col = index // _ACROSS + 1, index % _ACROSS + 1
        lines = _panel(runs, name, names, singles=singles)
        for line in lines:
            named = line.name is not None and line.showlegend
            line.showlegend = named and line.legendgroup not in shown
            shown |= {str(line.legendgroup)} if named else set()
            fig.add_trace(line, row=row, col=col)
        if not lines:
            theme.note(fig, "not measured", row=row, col=col)
    fig.update_xaxes(title="Search done (%)", row=down)
    theme.styled(
        fig,
        title="Searches over each other",
        subtitle="line: mean over a method's seeds at the ends of epochs; band: ± sd over them",
        height=150 + 240 * down,
    )
    fig.update_annotations(font={"size": 12})
    place = {"orientation": "h", "x": 0, "y": -0.1 if down > 1 else -0.3, "yanchor": "top"}
    return fig.update_layout(legend=place, margin={"t": 104})


def _panel(
    runs: Sequence[Run], name: str, names: Sequence[str], *, singles: bool
) -> list[go.Scatter]:
    """Every method's line and band of one measure, and thin lines of single runs."""
    unit, lines = PANELS.get(name, (name, 1))[1], []
    for (method,), part in theme.groups(comparison.curves_frame(runs, name), "method"):
        x, mean, sd = (part[column].to_numpy(dtype=float) for column in ("progress", "mean", "sd"))
        lines += _band(method, 100 * x, unit * mean, unit * sd, names.index(method))
    if singles:
        frame = comparison.single_curves_frame(runs, name)
        for (method, run), part in theme.groups(frame, "method", "run"):
            line = {**_style(names.index(method)), "width": 0.8}
            lines.append(
                go.Scatter(
                    x=100 * part["progress"], y=unit * part["value"], name=words.as_text(run),
                    opacity=0.6, legendgroup=method, mode="lines", showlegend=False, line=line,
                    hovertemplate="%{y:.3~f}<extra>%{fullData.name}</extra>",
                )
            )  # fmt: skip
    return lines


def curves(runs: Sequence[Run], scalar: str = "loss_train") -> go.Figure:
    """A scalar or measure over the search, one line per method, a band of one sd over its seeds."""
    lines = _panel(runs, scalar, list(dict.fromkeys(comparison.labels(runs))), singles=False)
    fig, title = go.Figure(lines), _title(scalar)
    fig.update_xaxes(title="Epochs of the search done (%)")
    fig.update_yaxes(title=title)
    theme.styled(fig, title=f"{title} over the search", subtitle="band: ± sd over seeds")
    return fig if lines else theme.note(fig, f"No run has {words.as_text(scalar)}")


def retraining(runs: Sequence[Run]) -> go.Figure:
    """Training accuracy over the evaluation phase: the luck of searches, the luck of trainings.

    The band is the deviation over searches, each the mean over its retrainings; the dotted lines
    are the pooled deviation of retrainings of one network, where one was trained more than once.
    """
    frame = comparison.retraining_frame(runs)
    fig, columns = go.Figure(), ("epoch", "mean", "search_sd", "retraining_sd")
    names = list(dict.fromkeys(comparison.labels(runs)))  # a colour stays, whoever is evaluated
    for (name,), part in theme.groups(frame, "method"):
        index = names.index(name)
        epoch, mean, sd, within = (part[column].to_numpy(dtype=float) for column in columns)
        fig.add_traces(_band(name, epoch, 100 * mean, 100 * sd, index, per="epoch"))
        if np.isnan(within).all():
            continue
        for edge in (mean - within, mean + within):
            fig.add_scatter(
                x=epoch, y=100 * edge, legendgroup=name, showlegend=False, hoverinfo="skip",
                mode="lines", line={**_style(index), "width": 1.2, "dash": "dot"},
            )  # fmt: skip
    tick = theme.epoch_tick(len(set(frame["epoch"])))
    fig.update_xaxes(title="Epoch of training from scratch", dtick=tick)
    fig.update_yaxes(title="Training accuracy (%)")
    theme.styled(
        fig,
        title="Luck of the search and luck of the training",
        subtitle="band: ± sd over searches; dotted: ± sd of trainings of one network",
    )
    return fig if len(frame) else theme.note(fig, "No run is evaluated yet")


def _title(name: str) -> str:
    return PANELS[name][0] if name in PANELS else words.as_text(name)


def _style(index: int) -> dict[str, str]:
    """Colour and dash of the method of that number."""
    dash = theme.series_dash(index // len(_COLOURS))
    return {"color": _COLOURS[index % len(_COLOURS)], "dash": dash}


def _band(
    name: str, x: NDArray[np.floating], mean: NDArray[np.floating], sd: NDArray[np.floating],
    index: int, *, per: str = "%",
) -> list[go.Scatter]:  # fmt: skip
    """A line, and under it a band of one deviation; no band where no deviation is known."""
    style, sd = _style(index), np.nan_to_num(sd)
    shared = {"legendgroup": name, "x": x, "mode": "lines", "hoverinfo": "skip"}
    shared |= {"showlegend": False, "line": {"width": 0}}
    fill = theme.faded(style["color"], 0.15)
    edges = [
        go.Scatter(y=mean - sd, **shared),
        go.Scatter(y=mean + sd, fill="tonexty", fillcolor=fill, **shared),
    ]
    where = "epoch %{x}" if per == "epoch" else "%{x:.0f} %"
    line = go.Scatter(
        x=x, y=mean, name=words.as_text(name), legendgroup=name, showlegend=True, line=style,
        mode="lines+markers" if len(x) == 1 else "lines",
        hovertemplate=f"%{{y:.4~g}} at {where}<extra>%{{fullData.name}}</extra>",
    )  # fmt: skip
    return [*(edges if sd.any() else []), line]
