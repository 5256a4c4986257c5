"""3×3 pooling with a border of one pixel on a GPU, channels-last, forward and backward."""

# Kernels are no Python to a type checker.
# pyright: reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false
from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl
from torch import Tensor

from workbench.engine.gpu.norms import store_moments
from workbench.engine.gpu.separable import place_of
from workbench.engine.gpu.tables import COUNTS, accumulator

if TYPE_CHECKING:
    from workbench.engine.gpu.forward import Forward


@triton.jit
def _inside(i, height):
    """How many of the three places around `i` lie within `height`."""
    return tl.minimum(i + 2, height) - tl.maximum(i - 1, 0)


@triton.jit(do_not_specialize=COUNTS)
def _pool(x, gap, y, taken, partials, height, width, h, wide, pixels, LARGEST: tl.constexpr,
          STEP: tl.constexpr, NORMED: tl.constexpr, ACC: tl.constexpr, P: tl.constexpr,
          C: tl.constexpr, CB: tl.constexpr):  # fmt: skip
    block, channel = tl.program_id(0), tl.arange(0, CB)
    pixel, real = block * P + tl.arange(0, P), channel < C
    valid = (pixel < pixels)[:, None] & real[None, :]
    n, i, j = place_of(pixel, h, wide)
    best, winner = tl.zeros((P, CB), ACC), tl.full((P, CB), -1, tl.int32)
    for row in range(3):
        for column in tl.static_range(3):
            down, right = i * STEP + row - 1, j * STEP + column - 1
            inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
            inside = inside[:, None] & valid
            at = ((n * height + down) * width + right)[:, None] * gap + channel[None, :]
            value = tl.load(x + at, mask=inside, other=0).to(ACC)
            if LARGEST:  # the first of the largest; of NaNs the last, as in torch
                more = inside & ((winner < 0) | (value > best) | (value != value))
                best = tl.where(more, value, best)
                winner = tl.where(more, row * 3 + column, winner)
            else:
                best += value
    at = pixel.to(tl.int64)[:, None] * C + channel[None, :]
    if LARGEST:
        tl.store(taken + at, winner.to(tl.int8), mask=valid)
    else:
        best = best / (_inside(i * STEP, height) * _inside(j * STEP, width)).to(ACC)[:, None]
    out = best.to(y.dtype.element_ty)
    tl.store(y + at, out, mask=valid)
    if NORMED:
        count = tl.minimum(pixels - block * P, P)
        into = partials + block.to(tl.int64) * (2 * C)
        store_moments(out.to(ACC), valid, count, into, channel, C)


@triton.jit(do_not_specialize=COUNTS)
def _pool_back(dy, taken, dx, height, width, h, wide, count, LARGEST: tl.constexpr,
               STEP: tl.constexpr, ACC: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
               CB: tl.constexpr):  # fmt: skip
    """Every pixel looks at the windows it lies in."""
    channel, pixel = tl.arange(0, CB), tl.program_id(0) * P + tl.arange(0, P)
    valid = (pixel < count)[:, None] & (channel < C)[None, :]
    n, i, j = place_of(pixel, height, width)
    into = dx + pixel.to(tl.int64)[:, None] * C + channel[None, :]
    acc = tl.load(into, mask=valid, other=0).to(ACC)
    for row in range(3):
        for column in tl.static_range(3):
            down, right = i + 1 - row, j + 1 - column
            inside = (down >= 0) & (right >= 0) & (down % STEP == 0) & (right % STEP == 0)
            down, right = down // STEP, right // STEP
            inside = (inside & (down < h) & (right < wide))[:, None] & valid
            at = ((n * h + down) * wide + right)[:, None] * C + channel[None, :]
            value = tl.load(dy + at, mask=inside, other=0).to(ACC)
            if LARGEST:
                mine = tl.load(taken + at, mask=inside, other=-1) == row * 3 + column
                acc += tl.where(mine, value, 0.0)
            else:
                places = _inside(down * STEP, height) * _inside(right * STEP, width)
                acc += value / tl.where(inside, places[:, None], 1).to(ACC)
    tl.store(into, acc.to(dx.dtype.element_ty), mask=valid)


def pool(
    done: Forward, x: Tensor, gap: int, size: tuple[int, int], step: int, y: Tensor,
    taken: Tensor | None, slot: int | None,
) -> None:  # fmt: skip
    """The largest value, or the mean, of what lies in the picture.

    Args:
        x: begins where the input does, its pixels `gap` numbers apart, of `size`.
        taken: gets the place in its window of every largest value; None for means.
        slot: of the moments; None where no batch norm follows.
    """
    geometry, normed, largest = done.geometry, slot is not None, taken is not None
    partials = done.partials[slot] if normed else done.partials
    _pool[(done.tile.blocks(geometry.pixels),)](
        x, gap, y, taken if largest else y, partials, *size, *geometry.inner, geometry.pixels,
        LARGEST=largest, STEP=step, NORMED=normed, ACC=accumulator(y.dtype), **done.tile.meta,
    )  # fmt: skip


def pool_back(
    done: Forward, dy: Tensor, taken: Tensor | None, dx: Tensor, size: tuple[int, int], step: int
) -> None:
    """Add the gradient of the input to `dx`, for `dy` of the output."""
    geometry, largest = done.geometry, taken is not None
    count = geometry.images * size[0] * size[1]
    _pool_back[(done.tile.blocks(count),)](
        dy, taken if largest else dy, dx, *size, *geometry.inner, count, LARGEST=largest, STEP=step,
        ACC=accumulator(dy.dtype), **done.tile.meta,
    )  # fmt: skip
