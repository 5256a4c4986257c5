"""How an operation looks in every figure: its colour, dash, pattern and marker, by its name alone.

Every colour has a contrast of 3:1 or more on white and on #111.  Within a published space colours
are told apart by the red-blind and the green-blind too: they differ by 15 or more in CIELAB as
Machado et al. (2009) simulate them.  The operations that PR-DARTS grows by published limits are 45
with pooling and skip; they differ by 15 or more to all cones, and what else tells them apart is the
second channel: dashes of lines, patterns of areas, markers.  Any other operation has all by its
name.
"""

from __future__ import annotations

import colorsys
import re
import zlib
from functools import cache
from typing import NamedTuple

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
# Chosen one after the other, each as far as can be from those that grow beside it: first those of
# `morphisms.DARTS_LIKE`, then those of `DEPTH_RESTRICTED`.
GROWN: dict[str, str] = {
    "sep_conv_3x3_x1": "#A23FAB", "sep_conv_5x5_x1": "#EA6C63", "sep_conv_7x7_x1": "#AB87AB",
    "sep_conv_3x3_d2": "#0999AB", "sep_conv_5x5_d2": "#3F8709", "sep_conv_7x7_d2": "#C60951",
    "dil_conv_7x7": "#905A3F",
    "sep_conv_1x1_x1": "#BD5A6C", "sep_conv_1x1": "#995A00", "sep_conv_1x1_w2": "#BD1B6C",
    "sep_conv_1x1_w3": "#C67E51", "sep_conv_1x1_w4": "#7E995A", "sep_conv_1x1_w5": "#5A6C3F",
    "sep_conv_3x3_w2": "#FC5175", "sep_conv_3x3_w3": "#1B7563", "sep_conv_3x3_w4": "#879909",
    "sep_conv_3x3_w5": "#A29075", "sep_conv_3x3_d2_w2": "#D86C36", "sep_conv_3x3_d2_w3": "#EA5ABD",
    "sep_conv_3x3_d2_w4": "#756324", "sep_conv_3x3_d2_w5": "#994875", "sep_conv_5x5_w2": "#C63636",
    "sep_conv_5x5_w3": "#097524", "sep_conv_5x5_w4": "#7E9090", "sep_conv_5x5_w5": "#00A248",
    "sep_conv_5x5_d2_w2": "#B41B87", "sep_conv_5x5_d2_w3": "#5A6C90",
    "sep_conv_5x5_d2_w4": "#006C7E", "sep_conv_5x5_d2_w5": "#A2757E", "sep_conv_7x7_w2": "#B475EA",
    "sep_conv_7x7_w3": "#00A287", "sep_conv_7x7_w4": "#3F63A2", "sep_conv_7x7_w5": "#7E5190",
    "sep_conv_7x7_d2_w2": "#BD75BD", "sep_conv_7x7_d2_w3": "#0090FC",
    "sep_conv_7x7_d2_w4": "#63906C", "sep_conv_7x7_d2_w5": "#516C12",
}  # fmt: skip
DASHES: dict[str, str] = {
    "none": "dot",
    "skip_connect": "5px,3px",
    "avg_pool_3x3": "9px,3px",
    "sep_conv_5x5": "9px,3px",
    "dil_conv_5x5": "dashdot",
}
SYMBOLS: dict[str, str] = {"none": "x", "skip_connect": "diamond", "avg_pool_3x3": "triangle-up"}


class _Cue(NamedTuple):
    """What tells an operation apart beside its colour."""

    dash: str
    pattern: str  # of an area, as plotly writes it
    symbol: str


# By the ending that says how an operation differs from the known one of its kernel.
CUES: dict[str, _Cue] = {
    "": _Cue("11px,4px", ".", "hexagon"),
    "_x1": _Cue("3px,2px", "/", "triangle-down"),
    "_d2": _Cue("9px,3px,2px,3px", "x", "star"),
    "_w2": _Cue("7px,2px,2px,2px,2px,2px", "-", "pentagon"),
    "_w3": _Cue("11px,3px,3px,3px", "|", "cross"),
    "_w4": _Cue("6px,2px,6px,5px", "\\", "hourglass"),
    "_w5": _Cue("2px,4px", "+", "bowtie"),
}
_CONVOLUTION = re.compile(r"(?:sep|dil)_conv_\d+x\d+(?:_d2(?=_))?")


@cache
def colour(op: str) -> str:
    """The operation's colour, the same in every figure."""
    return COLOURS.get(op) or GROWN.get(op) or _by_name(op)


def dash(op: str) -> str:
    """The operation's dash, the same in every figure."""
    cue = _cue(op)
    return cue.dash if cue else DASHES.get(op, "solid")


def pattern(op: str) -> str:
    """The pattern of the operation's areas: "" of most published ones, whose colours suffice."""
    cue = _cue(op)
    return cue.pattern if cue else ""


def symbol(op: str) -> str:
    """The operation's marker: angular for pooling, others for what is no layer."""
    cue = _cue(op)
    return cue.symbol if cue else SYMBOLS.get(op, "square" if "pool" in op else "circle")


@cache
def _cue(op: str) -> _Cue | None:
    """None where the colour is enough: of the published ones, but for a third blue of theirs."""
    if op in COLOURS and op != "sep_conv_7x7":
        return None
    ending = _CONVOLUTION.sub("", op, count=1)
    return CUES.get(ending) or list(CUES.values())[zlib.crc32(ending.encode()) % len(CUES)]


def _by_name(op: str) -> str:
    """A colour of some hue and strength, as bright as can be seen on both pages."""
    hue, rest = zlib.crc32(op.encode()) % 3600, zlib.crc32(op.encode()) // 3600
    strength, luminance = 0.45 + rest % 50 / 100, 0.14 + rest // 50 % 50 / 350
    light = [part**2.2 for part in colorsys.hls_to_rgb(hue / 3600, 0.5, strength)]
    now = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]
    mixed = (luminance - now) / (1 - now)  # less of its light, or white in it
    parts = [c * luminance / now if luminance < now else c + (1 - c) * mixed for c in light]
    return "#" + "".join(f"{round(255 * part ** (1 / 2.2)):02X}" for part in parts)
