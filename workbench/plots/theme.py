"""How every figure looks: colours of series, text for light and dark pages, curves and bands.

Backgrounds are transparent and every colour has a contrast of 3:1 or more on white and on #111,
so a figure can stand in a light or a dark notebook.  How operations look is in `op_looks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from tsdownsample import MinMaxLTTBDownsampler

from workbench.plots import buttons
from workbench.plots.op_looks import COLOURS as COLOURS
from workbench.plots.op_looks import colour as colour
from workbench.plots.op_looks import dash as dash
from workbench.plots.op_looks import pattern as pattern
from workbench.plots.op_looks import symbol as symbol

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Series that are no operation: first and second of a pair, as train and validation.
SERIES = ("#7A68D8", "#C2467F", "#7B8A00")
# Colour scales of heat maps, colour-blind-safe; both ends and the middle show on white and on #111.
SEQUENTIAL = ["#123570", "#3B496C", "#575D6D", "#707173", "#8A8678", "#A59C74", "#C3B369",
              "#E1CC55", "#FEE838"]  # fmt: skip
DIVERGING = ["#0A5A96", "#5E9BC4", "#BDBDBD", "#E09A5F", "#B84A00"]
INK = {"light": "#24292F", "dark": "#E6E6E6", "both": "#757575"}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
POINTS = 150  # per curve in figures of many curves; 300 in figures of few


def series(index: int) -> str:
    """The colour of the first, second, third curve that is no operation."""
    return SERIES[index % len(SERIES)]


def series_dash(index: int) -> str:
    """The dash that goes with `series`; colour and dash together tell nine series apart."""
    return ("solid", "6px,2px", "dot")[(index + index // 3) % 3]


def axis(panel: str) -> str:
    """The title of a panel's axis: a loss is a cross-entropy, in nats."""
    return "Loss (nats)" if panel == "Loss" else panel


def epoch_tick(epochs: int, *, room: int = 12) -> int | None:
    """How far ticks of an axis of epochs are apart: none stands between two; None is plotly's way.

    Args:
        epochs: How many there are.
        room: For so many ticks.  plotly's own are whole from seven epochs on.
    """
    return 1 if epochs <= room else None


def cell_name(kind: str) -> str:
    """`normal cell`; NAS-Bench-201 has one kind, which is called `cell`."""
    return kind if kind == "cell" else f"{kind} cell"


def faded(colour: str, opacity: float) -> str:
    """`#RRGGBB` as `rgba(…)`."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def template(page: str = "both") -> go.layout.Template:
    """The template for a page: "light", "dark", or "both" when it is not known."""
    ink = INK[page]
    axis = {
        "gridcolor": "rgba(128,128,128,0.18)",
        "linecolor": "rgba(128,128,128,0.55)",
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "rgba(128,128,128,0.55)",
        "zeroline": False,
        "automargin": True,
        "title": {"standoff": 8},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12, "color": ink},
            "title": {"x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 16}},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(SERIES),
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"bgcolor": "rgba(0,0,0,0)", "tracegroupgap": 2},
            "margin": {"l": 64, "r": 24, "t": 72, "b": 56},
            "hoverlabel": {"font": {"family": FONT}},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": ink},
        }
    )


def styled(fig: go.Figure, *, title: str, subtitle: str = "", height: int = 420) -> go.Figure:
    """`fig` with the house template, a title and a height; zoom survives an update."""
    buttons.in_notebooks()
    return fig.update_layout(
        template=template(),
        title={"text": title, "subtitle": {"text": subtitle, "font": {"size": 12}}},
        height=height,
        uirevision="keep",
    )


def note(fig: go.Figure, text: str, *, row: int = 1, col: int = 1) -> go.Figure:
    """`fig` saying in the middle of a panel why there is nothing to see; its axes are hidden."""
    panel = cast("Any", fig.get_subplot(row, col) if fig._has_subplots() else None)
    layout = cast("Any", fig.layout)
    axes = (panel.xaxis, panel.yaxis) if panel else (layout.xaxis, layout.yaxis)
    # on the paper: plotly.js places nothing by the axes of a panel without curves
    x, y = (sum(axis.domain or (0, 1)) / 2 for axis in axes)
    fig.add_annotation(
        text=text, x=x, y=y, xref="paper", yref="paper", showarrow=False, font={"size": 14}
    )
    return fig.update_layout({axis.plotly_name: {"visible": False} for axis in axes})


def add_all(fig: go.Figure, drawn: Sequence[tuple[Mapping[str, object], int, int]]) -> go.Figure:
    """`fig` with all traces `(properties, row, column)`.

    One by one, as objects, plotly checks and copies each of them several times: of 300 that is half
    of the figure's time.
    """
    traces, rows, cols = zip(*drawn, strict=True) if drawn else ((), (), ())
    return fig.add_traces(list(traces), rows=list(rows), cols=list(cols)) if traces else fig


def groups(frame: pd.DataFrame, *columns: str) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """The parts of `frame` with equal texts in `columns`, in order of appearance."""
    grouped = frame.groupby(list(columns), sort=False, observed=True)
    return [(tuple(map(str, cast("tuple[object, ...]", key))), part) for key, part in grouped]


def thin(x: NDArray[np.number], y: NDArray[np.floating], points: int | None) -> NDArray[np.intp]:
    """Indices of at most about `points` points that look like all of them.

    Ends, minimum and maximum are always kept.  `y` has no NaN.
    """
    if points is None or len(y) <= points:
        return np.arange(len(y))
    floats = np.ascontiguousarray(y, dtype=np.float64)
    picked = MinMaxLTTBDownsampler().downsample(
        np.ascontiguousarray(x, dtype=np.float64), floats, n_out=max(points - 2, 3)
    )
    extremes = [0, len(y) - 1, int(floats.argmin()), int(floats.argmax())]
    return np.union1d(picked.astype(np.intp), np.array(extremes, dtype=np.intp))


def band(
    part: pd.DataFrame, kind: str, index: int, *, legend: bool = True, points: int = 2 * POINTS
) -> list[go.Scatter]:
    """The mean over the edges of a kind of cell, in a band from the least to the largest.

    Args:
        part: Columns `step`, `mean`, `low`, `high`, without NaN.
        kind: Of the cells.
        index: Which of the kinds it is, for its colour and dash.
        legend: Whether the legend names it.
        points: About how many are drawn.
    """
    steps = part["step"].to_numpy()
    columns = [part[name].to_numpy(np.float32) for name in ("low", "high", "mean")]
    if not len(steps):
        return []
    kept = np.unique(np.concatenate([thin(steps, y, points) for y in columns]))
    low, high, mean = (y[kept] for y in columns)
    shared = {"x": steps[kept], "legendgroup": kind, "mode": "lines"}
    edge = {"line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    fill = {"fill": "tonexty", "fillcolor": faded(series(index), 0.16)}
    return [
        go.Scatter(y=low, name=f"{kind}, least", **edge, **shared),
        go.Scatter(y=high, name=f"{kind}, most", **fill, **edge, **shared),
        go.Scatter(
            y=mean,
            name=cell_name(kind),
            showlegend=legend,
            line={"color": series(index), "width": 2.2, "dash": series_dash(index)},
            customdata=np.stack([low, high], axis=-1),
            hovertemplate="mean %{y:.3g} (from %{customdata[0]:.3g} to %{customdata[1]:.3g}) at "
            "step %{x:,}<extra>%{fullData.name}</extra>",
            **shared,
        ),
    ]
