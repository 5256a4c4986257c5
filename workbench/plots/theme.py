"""How every figure looks: one colour and dash per operation, and text for light and dark pages.

Backgrounds are transparent and every colour has a contrast of 3:1 or more on white and on #111,
so a figure can stand in a light or a dark notebook.  Within a published space colours are told
apart by the red-blind and the green-blind too: they differ by 15 or more in CIELAB as Machado et
al. (2009) simulate them.  Dash and marker are the second channel.  An operation made of a known
one, such as `sep_conv_3x3_x2`, has that one's colour, lighter or darker; any other has one by its
name.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from tsdownsample import MinMaxLTTBDownsampler

from workbench.plots import buttons

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Spaces that share a colour share no operation: sep_conv_3x3 (DARTS), nor_conv_3x3 (NAS-Bench-201).
COLOURS: dict[str, str] = {
    "none": "#656565",
    "skip_connect": "#B92F05",
    "noise": "#8A6FB0",
    "max_pool_3x3": "#CA861B",
    "avg_pool_3x3": "#A68F44",
    "sep_conv_3x3": "#1663CF",
    "sep_conv_5x5": "#338CD0",
    "sep_conv_7x7": "#6F7FD8",
    "dil_conv_3x3": "#1A8952",
    "dil_conv_5x5": "#DF5C9B",
    "conv_7x1_1x7": "#9C6B4F",
    "nor_conv_1x1": "#1A8952",
    "nor_conv_3x3": "#1663CF",
}
DASHES: dict[str, str] = {
    "none": "dot",
    "skip_connect": "5px,3px",
    "avg_pool_3x3": "9px,3px",
    "sep_conv_5x5": "9px,3px",
    "dil_conv_5x5": "dashdot",
}
OTHERS = ("#0E7C86", "#A3338F", "#6B7A12", "#B5523B", "#5B5FC7", "#8A5A00")  # of unknown ones
BRIGHT = (0.2, 0.28, 0.14)  # luminances with 3:1 on both pages, of operations made of others
# Series that are no operation: first and second of a pair, as train and validation.
SERIES = ("#7A68D8", "#C2467F", "#7B8A00")
# Colour scales of heat maps, colour-blind-safe; both ends and the middle show on white and on #111.
SEQUENTIAL = ["#123570", "#3B496C", "#575D6D", "#707173", "#8A8678", "#A59C74", "#C3B369",
              "#E1CC55", "#FEE838"]  # fmt: skip
DIVERGING = ["#0A5A96", "#5E9BC4", "#BDBDBD", "#E09A5F", "#B84A00"]
INK = {"light": "#24292F", "dark": "#E6E6E6", "both": "#757575"}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
POINTS = 150  # per curve in figures of many curves; 300 in figures of few


@cache
def colour(op: str) -> str:
    """The operation's colour, the same in every figure."""
    if op in COLOURS:
        return COLOURS[op]
    base, number = _made_of(op)
    known = COLOURS[base] if base else OTHERS[number % len(OTHERS)]
    return _as_bright(known, BRIGHT[(number if base else number // len(OTHERS)) % len(BRIGHT)])


def dash(op: str) -> str:
    """The operation's dash, the same in every figure."""
    base, number = _made_of(op)
    if op in COLOURS or not base:
        return DASHES.get(op, "solid")
    return ("solid", "9px,3px", "dashdot")[number // len(BRIGHT) % 3]


def _made_of(op: str) -> tuple[str, int]:
    """The known operation that another one is made of, "" if none, and a number for what it is.

    `sep_conv_3x3_d2_x3`, of dilation 2 and three layers, is number 3 · (2 - 1) + (3 - 1).
    """
    base = max((name for name in COLOURS if op.startswith(f"{name}_")), key=len, default="")
    *_, layers = (1, *(int(n) for n in re.findall(r"_x(\d+)", op)))
    *_, dilation = (1, *(int(n) for n in re.findall(r"_d(\d+)", op)))
    named = len(BRIGHT) * (dilation - 1) + layers - 1
    return base, named if base else zlib.crc32(op.encode())


def _as_bright(colour: str, luminance: float) -> str:
    """The colour at another luminance (WCAG's), by less of its light or with white in it."""
    light = [(int(colour[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5)]
    now = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]
    mixed = (luminance - now) / (1 - now)
    parts = [c * luminance / now if luminance < now else c + (1 - c) * mixed for c in light]
    return "#" + "".join(f"{round(255 * part ** (1 / 2.2)):02X}" for part in parts)


def symbol(op: str) -> str:
    """The operation's marker: angular for pooling, others for what is no layer."""
    known = {"none": "x", "skip_connect": "diamond", "avg_pool_3x3": "triangle-up"}
    return known.get(op, "square" if "pool" in op else "circle")


def series(index: int) -> str:
    """The colour of the first, second, third curve that is no operation."""
    return SERIES[index % len(SERIES)]


def series_dash(index: int) -> str:
    """The dash that goes with `series`; colour and dash together tell nine series apart."""
    return ("solid", "6px,2px", "dot")[(index + index // 3) % 3]


def axis(panel: str) -> str:
    """The title of a panel's axis: a loss is a cross-entropy, in nats."""
    return "Loss (nats)" if panel == "Loss" else panel


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


def playable(fig: go.Figure, labels: Sequence[str], *, prefix: str) -> go.Figure:
    """`fig` with a slider over its frames, the last one shown, and buttons that play and pause.

    Args:
        labels: What the slider says of each frame, after `prefix`.
    """

    def to(names: list[str] | list[None] | None, milliseconds: int) -> list[object]:
        frame = {"duration": milliseconds, "redraw": True}  # a heat map shows nothing without
        now = {"mode": "immediate", "fromcurrent": True, "transition": {"duration": 0}}
        return [names, {"frame": frame, **now}]

    names = [str(frame.name) for frame in fig.frames]
    steps = [
        {"label": label, "method": "animate", "args": to([name], 0)}
        for name, label in zip(names, labels, strict=True)
    ]
    ink = {"color": INK["both"], "size": 12}  # plotly's button is near white under the pointer
    buttons = [
        {"label": "▶ Play", "method": "animate", "args": to(None, 250)},
        {"label": "❚❚ Pause", "method": "animate", "args": to([None], 0)},
    ]
    line = {"borderwidth": 1, "bordercolor": "rgba(128,128,128,0.55)"}
    menu = {"type": "buttons", "direction": "left", "buttons": buttons, "showactive": False,
            "bgcolor": "rgba(0,0,0,0)", "font": ink, "x": 0, "xanchor": "left", "y": 0,
            "yanchor": "top", "pad": {"t": 92, "r": 10}, **line}  # fmt: skip
    slider = {"active": len(steps) - 1, "steps": steps, "x": 0.3, "len": 0.7, "y": 0,
              "yanchor": "top", "pad": {"t": 74}, "currentvalue": {"prefix": prefix},
              "bgcolor": "rgba(128,128,128,0.35)", "activebgcolor": SERIES[0],
              "tickcolor": "rgba(128,128,128,0.55)", "font": {"size": 11},
              **line}  # fmt: skip
    return fig.update_layout(updatemenus=[menu], sliders=[slider])


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
