"""ReLU, depthwise and pointwise convolution of many edges at once on a GPU.

As in `kernels.separable`: groups share the input, or, where a batch norm stands before them
(`NORMED`: the second half of a separable convolution), each has its own, `own` numbers after the
one before.  A program takes some pixels of one group; the depthwise result never leaves it.
"""

# Kernels are no Python to a type checker.
# pyright: reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import triton
import triton.language as tl
from torch import Tensor

from workbench.engine.gpu.norms import store_moments
from workbench.engine.gpu.tables import COUNTS, accumulator, precision

if TYPE_CHECKING:
    from workbench.engine.gpu.forward import Forward


@dataclass(frozen=True)
class Half:
    """One depthwise and pointwise convolution of a bundle.

    Args:
        x: begins where the input does; its pixels are `gap` numbers apart, groups `own` numbers.
        size: height and width of the input, `inner` those of the output.
        conv: side of the depthwise kernel, stride, dilation.
        at: where the weights of both roles begin.
        norm: number of the first group's batch norm before it; None where there is none.
    """

    groups: int
    x: Tensor
    own: int
    gap: int
    size: tuple[int, int]
    inner: tuple[int, int]
    conv: tuple[int, int, int]
    at: tuple[int, ...]
    norm: int | None

    @property
    def meta(self) -> dict[str, object]:
        """What its kernels are compiled for."""
        size, step, far = self.conv
        kind = self.x.dtype
        return {
            "K": size, "STEP": step, "FAR": far, "NORMED": self.norm is not None,
            "PRECISION": precision(kind), "ACC": accumulator(kind),
        }  # fmt: skip


@triton.jit
def norm_of(mean, inverse, norm, real, channel, ACC: tl.constexpr, C: tl.constexpr):
    """Mean and 1/std of a batch norm, in the format a tile is worked on in."""
    m = tl.load(mean + norm * C + channel, mask=real, other=0.0)
    s = tl.load(inverse + norm * C + channel, mask=real, other=1.0)
    return m.to(ACC), s.to(ACC)


@triton.jit
def place_of(pixel, height, width):
    """Picture, row and column of a pixel."""
    return (pixel // (height * width)).to(tl.int64), pixel // width % height, pixel % width


@triton.jit
def seen(x, at, gap, i, j, height, width, valid, channel, m, s, NORMED: tl.constexpr,
         ACC: tl.constexpr):  # fmt: skip
    """What a tap sees at `(i, j)` of the picture that begins at pixel `at`: outside of it 0."""
    inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
    inside = inside[:, None] & valid
    place = x + (at + (i * width + j))[:, None] * gap + channel[None, :]
    value = tl.load(place, mask=inside, other=0).to(ACC)
    if NORMED:
        value = tl.where(inside, (value - m[None, :]) * s[None, :], 0.0)
    return tl.where(value < 0, 0.0, value)


@triton.jit(do_not_specialize=COUNTS)
def _separable(x, own, gap, mean, inverse, norm, w, taps, matrix, y, partials, slot, height, width,
               h, wide, pixels, blocks, K: tl.constexpr, STEP: tl.constexpr, FAR: tl.constexpr,
               NORMED: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr, P: tl.constexpr,
               C: tl.constexpr, CB: tl.constexpr):  # fmt: skip
    block, g = tl.program_id(0), tl.program_id(1).to(tl.int64)
    pixel, channel = block * P + tl.arange(0, P), tl.arange(0, CB)
    real = channel < C
    valid = (pixel < pixels)[:, None] & real[None, :]
    n, i, j = place_of(pixel, h, wide)
    at, source = n * height * width, x + g * own
    m, s = norm_of(mean, inverse, norm + g, real & NORMED, channel, ACC, C)
    tap, square = w + taps + g * (K * K * C) + channel, w + matrix + g * (C * C)
    d = tl.zeros((P, CB), ACC)
    for row in range(K):
        for column in tl.static_range(K):
            down, right = i * STEP + (row - K // 2) * FAR, j * STEP + (column - K // 2) * FAR
            value = seen(
                source, at, gap, down, right, height, width, valid, channel, m, s, NORMED, ACC
            )
            d += value * tl.load(tap + (row * K + column) * C, mask=real, other=0)[None, :]
    cell = square + channel[:, None] * C + channel[None, :]
    factor = tl.load(cell, mask=real[:, None] & real[None, :], other=0)
    KIND: tl.constexpr = y.dtype.element_ty
    out = tl.dot(d.to(KIND), factor.to(KIND), input_precision=PRECISION, out_dtype=ACC).to(KIND)
    into = y + (g * pixels + pixel)[:, None] * C + channel[None, :]
    tl.store(into, out, mask=valid)
    part = partials + ((slot + g) * blocks + block) * (2 * C)
    store_moments(out.to(ACC), valid, tl.minimum(pixels - block * P, P), part, channel, C)


def forward(done: Forward, half: Half, y: Tensor, slot: int) -> None:
    """`y[g] = pointwise(depthwise(relu(x)))`; its moments go to the slots from `slot` on."""
    pixels = done.geometry.pixels
    blocks = done.tile.blocks(pixels)
    _separable[(blocks, half.groups)](
        half.x, half.own, half.gap, done.mean, done.inverse, half.norm or 0, done.weights, *half.at,
        y, done.partials, slot, *half.size, *half.inner, pixels, blocks, **half.meta,
        **done.tile.meta,
    )  # fmt: skip
