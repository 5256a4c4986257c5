"""The gradients of `separable.forward` on a GPU: of its weights, and of its input."""

# Kernels are no Python to a type checker.
# pyright: reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench.engine.gpu.separable import Half, norm_of, place_of, seen
from workbench.engine.gpu.tables import COUNTS

if TYPE_CHECKING:
    from workbench.engine.gpu.forward import Forward


@triton.jit(do_not_specialize=COUNTS)
def _separable_matrix(
    x, own, gap, mean, inverse, norm, w, taps, matrix, y, grad, go, coef, dd, dtaps, dmatrix,
    height, width, h, wide, pixels, blocks, LEARNED: tl.constexpr, K: tl.constexpr,
    STEP: tl.constexpr, FAR: tl.constexpr, NORMED: tl.constexpr, PRECISION: tl.constexpr,
    ACC: tl.constexpr, P: tl.constexpr, C: tl.constexpr, CB: tl.constexpr,
):  # fmt: skip
    block, g = tl.program_id(0), tl.program_id(1).to(tl.int64)
    pixel, channel = block * P + tl.arange(0, P), tl.arange(0, CB)
    real = channel < C
    valid = (pixel < pixels)[:, None] & real[None, :]
    at = pixel.to(tl.int64)[:, None] * C + channel[None, :]
    here = coef + g * (3 * C) + channel
    dy = tl.load(grad + tl.load(go + g) + at, mask=valid, other=0).to(ACC)
    dy *= tl.load(here, mask=real, other=0)[None, :]
    value = tl.load(y + g * pixels * C + at, mask=valid, other=0).to(ACC)
    dy += value * tl.load(here + C, mask=real, other=0)[None, :]
    dy += tl.load(here + 2 * C, mask=real, other=0)[None, :]
    KIND: tl.constexpr = y.dtype.element_ty
    factor = tl.where(valid, dy, 0.0).to(KIND)
    turned = w + matrix + g * (C * C) + channel[None, :] * C + channel[:, None]
    turned = tl.load(turned, mask=real[:, None] & real[None, :], other=0).to(KIND)
    back = tl.dot(factor, turned, input_precision=PRECISION, out_dtype=ACC)
    tl.store(dd + g * pixels * C + at, back.to(KIND), mask=valid)
    if LEARNED:
        n, i, j = place_of(pixel, h, wide)
        start, source = n * height * width, x + g * own
        m, s = norm_of(mean, inverse, norm + g, real & NORMED, channel, ACC, C)
        tap, part = w + taps + g * (K * K * C) + channel, g * blocks + block
        dtap = dtaps + part * (K * K * C) + channel
        d = tl.zeros((P, CB), ACC)
        for row in range(K):
            for column in tl.static_range(K):
                down, right = i * STEP + (row - K // 2) * FAR, j * STEP + (column - K // 2) * FAR
                value = seen(
                    source, start, gap, down, right, height, width, valid, channel, m, s, NORMED,
                    ACC,
                )  # fmt: skip
                number = (row * K + column) * C
                d += value * tl.load(tap + number, mask=real, other=0)[None, :]
                tl.store(dtap + number, tl.sum(value * back, axis=0), mask=real)
        outer = tl.dot(tl.trans(d.to(KIND)), factor, input_precision=PRECISION, out_dtype=ACC)
        into = dmatrix + part * (C * C) + channel[:, None] * C + channel[None, :]
        tl.store(into, outer, mask=real[:, None] & real[None, :])


def through_matrix(
    done: Forward, half: Half, y: Tensor, grad: Tensor, go: Tensor, coef: Tensor, weights: Tensor
) -> Tensor:
    """The gradient `(groups, pixels, c)` of the depthwise results.

    Args:
        grad: of the batch norms' outputs; group g's begins at `go[g]`.
        coef: `(groups, 3, c)`.
        weights: like the cell's; the gradients of this half's are written.  Of no length where
            they are not asked for.
    """
    pixels, c, learned = done.geometry.pixels, done.tile.channels, len(weights) > 0
    blocks, taps = done.tile.blocks(pixels), half.conv[0] ** 2
    dd = torch.empty((half.groups, pixels, c), dtype=y.dtype, device=y.device)
    parts = [
        done.weights.new_empty(half.groups if learned else 0, blocks, n) for n in (taps * c, c * c)
    ]
    # Without its weights' gradients a kernel of any size does for all.
    meta = half.meta | ({} if learned else {"K": 1, "STEP": 1, "FAR": 1, "NORMED": False})
    _separable_matrix[(blocks, half.groups)](
        half.x, half.own, half.gap, done.mean, done.inverse, half.norm or 0, done.weights, *half.at,
        y, grad, go, coef, dd, *parts, *half.size, *half.inner, pixels, blocks, LEARNED=learned,
        **meta, **done.tile.meta,
    )  # fmt: skip
    for part, at in zip(parts, half.at, strict=True):
        if learned:
            into = weights[at : at + half.groups * part.shape[2]].view(half.groups, -1)
            torch.sum(part, 1, out=into)
    return dd


@triton.jit(do_not_specialize=COUNTS)
def _separable_taps(
    x, own, gap, mean, inverse, norm, w, taps, dd, dx, sums, groups, height, width, h, wide, count,
    pixels, blocks, K: tl.constexpr, STEP: tl.constexpr, FAR: tl.constexpr, NORMED: tl.constexpr,
    ACC: tl.constexpr, P: tl.constexpr, C: tl.constexpr, CB: tl.constexpr,
):  # fmt: skip
    block, begin = tl.program_id(0), tl.program_id(1)
    pixel, channel = block * P + tl.arange(0, P), tl.arange(0, CB)
    real = channel < C
    valid = (pixel < count)[:, None] & real[None, :]
    n, i, j = place_of(pixel, height, width)
    acc = tl.zeros((P, CB), ACC)
    end = begin + 1
    if not NORMED:
        end = groups
    for g in range(begin, end):
        tap = w + taps + g * (K * K * C) + channel
        start = n * (h * wide) + tl.full((), g, tl.int64) * pixels
        for row in range(K):
            for column in tl.static_range(K):
                down, right = i - (row - K // 2) * FAR, j - (column - K // 2) * FAR
                inside = (down >= 0) & (right >= 0) & (down % STEP == 0) & (right % STEP == 0)
                down, right = down // STEP, right // STEP
                inside = (inside & (down < h) & (right < wide))[:, None] & valid
                place = dd + (start + (down * wide + right))[:, None] * C + channel[None, :]
                value = tl.load(place, mask=inside, other=0).to(ACC)
                acc += value * tl.load(tap + (row * K + column) * C, mask=real, other=0)[None, :]
    source = x + begin.to(tl.int64) * own + pixel.to(tl.int64)[:, None] * gap + channel[None, :]
    value = tl.load(source, mask=valid, other=0).to(ACC)
    into = dx + (begin.to(tl.int64) * count + pixel)[:, None] * C + channel[None, :]
    if NORMED:
        m, s = norm_of(mean, inverse, norm + begin, real, channel, ACC, C)
        value -= m[None, :]
        acc = tl.where(value * s[None, :] <= 0, 0.0, acc)
        part = sums + (begin.to(tl.int64) * 2 * blocks + block) * C + channel
        tl.store(part, tl.sum(acc * value, axis=0), mask=real)
        tl.store(part + blocks * C, tl.sum(acc, axis=0), mask=real)
    else:
        acc = tl.load(into, mask=valid, other=0).to(ACC) + tl.where(value <= 0, 0.0, acc)
    tl.store(into, acc.to(dx.dtype.element_ty), mask=valid)


def through_taps(done: Forward, half: Half, dd: Tensor, dx: Tensor) -> Tensor:
    """The gradient of the input; one of many groups is added to `dx`, own ones are written.

    Returns:
        Partial sums `(2 groups, blocks, c)` of `dx (x - mean)` and of `dx`, by turns, for own
        inputs.
    """
    geometry, (height, width) = done.geometry, half.size
    count, normed = geometry.images * height * width, half.norm is not None
    blocks = done.tile.blocks(count)
    sums = done.weights.new_empty(2 * half.groups if normed else 0, blocks, done.tile.channels)
    meta = {name: value for name, value in half.meta.items() if name != "PRECISION"}
    _separable_taps[(blocks, half.groups if normed else 1)](
        half.x, half.own, half.gap, done.mean, done.inverse, half.norm or 0, done.weights,
        half.at[0], dd, dx, sums, half.groups, height, width, *half.inner, count,
        geometry.pixels, blocks, **meta, **done.tile.meta,
    )  # fmt: skip
    return sums
