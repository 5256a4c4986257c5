"""Figures that play: a slider over their frames, and the one frame that is left on paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import plotly.graph_objects as go

from workbench.plots import theme

HINT = "▶ plays, or drag the slider"
ROOM = 100  # pixels below a figure that slider and buttons need


def playable(fig: go.Figure, labels: Sequence[str], *, prefix: str) -> go.Figure:
    """`fig` with a slider over its frames, the last one shown, and buttons that play and pause.

    Where there is but one frame, the subtitle says which it is.

    Args:
        labels: What the slider says of each frame, after `prefix`.
    """
    if len(labels) < 2:
        return _saying(fig, *(f"{prefix}{label}" for label in labels))

    def to(names: list[str] | list[None] | None, milliseconds: int) -> list[object]:
        frame = {"duration": milliseconds, "redraw": True}  # a heat map shows nothing without
        now = {"mode": "immediate", "fromcurrent": True, "transition": {"duration": 0}}
        return [names, {"frame": frame, **now}]

    names = [str(frame.name) for frame in cast("Sequence[go.Frame]", fig.frames)]
    steps = [
        {"label": label, "method": "animate", "args": to([name], 0)}
        for name, label in zip(names, labels, strict=True)
    ]
    ink = {"color": theme.INK["both"], "size": 12}  # plotly's button is near white when pointed at
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
              "bgcolor": "rgba(128,128,128,0.35)", "activebgcolor": theme.SERIES[0],
              "tickcolor": "rgba(128,128,128,0.55)", "font": {"size": 11},
              **line}  # fmt: skip
    return _higher(_saying(fig, HINT), ROOM).update_layout(updatemenus=[menu], sliders=[slider])


def still(fig: go.Figure) -> go.Figure:
    """`fig` without buttons and slider, which nobody can move: its subtitle says what it shows."""
    layout = cast("Any", fig.layout)
    sliders, layout.updatemenus, layout.sliders = layout.sliders, (), ()
    text = layout.title.subtitle.text or ""
    if not sliders or HINT not in text:  # somebody else's figure
        return fig
    shown = sliders[0].currentvalue.prefix + sliders[0].steps[sliders[0].active].label
    layout.title.subtitle.text = text.replace(HINT, shown)
    return _higher(fig, -ROOM)


def _saying(fig: go.Figure, *more: str) -> go.Figure:
    subtitle = cast("Any", fig.layout).title.subtitle
    subtitle.text = "; ".join([*filter(None, [subtitle.text]), *more])
    return fig


def _higher(fig: go.Figure, pixels: int) -> go.Figure:
    """`fig` with more or less room below the axes, which stay as high as they are."""
    layout = cast("Any", fig.layout)
    return fig.update_layout(
        height=layout.height + pixels, margin={"b": (layout.margin.b or 0) + pixels}
    )
