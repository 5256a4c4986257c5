"""Batch norms on a GPU: moments of a map, and the coefficients of their gradient.

Every program leaves the mean of its pixels and the sum of their squared distances from it; these
are put together in float64 (Chan et al. 1983), so that nothing is lost where a mean is large beside
its deviation.  No atomics: the same bits every time.

A term's gradient is `coef[0] g + coef[1] y + coef[2]` as in `kernels.mixing`.
"""

# Kernels are no Python to a type checker.
# pyright: reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false
from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl
from torch import Tensor

from workbench.engine.gpu.tables import COUNTS, Tile, accumulator

if TYPE_CHECKING:
    from workbench.engine.gpu.forward import Forward

# Partial results that a program adds up at once.  With 16 channels and 256 threads four numbers a
# thread and load, next to each other; 512 partial results, of 65,536 pixels, take eight turns.
ROWS = 64


@triton.jit
def store_moments(y, valid, count, into, channel, C: tl.constexpr):
    """Write the mean of the `count` valid rows of `y`, and their squared distances from it."""
    share = 1.0 / count.to(y.dtype)
    mean = tl.sum(tl.where(valid, y, 0.0), axis=0) * share
    gap = tl.where(valid, y - mean[None, :], 0.0)
    rest = tl.sum(gap, axis=0)  # what rounding left out of the mean
    spread = tl.sum(gap * gap, axis=0) - rest * rest * share
    exact = mean.to(tl.float64) + (rest * share).to(tl.float64)
    tl.store(into + channel, exact, mask=channel < C)
    tl.store(into + C + channel, spread.to(tl.float64), mask=channel < C)


@triton.jit(do_not_specialize=COUNTS)
def _norm_moments(y, partials, pixels, blocks, ACC: tl.constexpr, P: tl.constexpr,
                  C: tl.constexpr, CB: tl.constexpr):  # fmt: skip
    """Of maps `(groups, pixels, C)` that are already there."""
    block, g = tl.program_id(0), tl.program_id(1)
    pixel, channel = block * P + tl.arange(0, P), tl.arange(0, CB)
    valid = (pixel < pixels)[:, None] & (channel < C)[None, :]
    start = y + g.to(tl.int64) * pixels * C
    value = tl.load(start + pixel.to(tl.int64)[:, None] * C + channel[None, :], mask=valid, other=0)
    into = partials + (g.to(tl.int64) * blocks + block) * (2 * C)
    store_moments(value.to(ACC), valid, tl.minimum(pixels - block * P, P), into, channel, C)


def moments(tile: Tile, y: Tensor, partials: Tensor, groups: int, pixels: int) -> None:
    """Leave the moments of `y`, `groups` maps from its begin on, in `partials`."""
    blocks = tile.blocks(pixels)
    meta = {"ACC": accumulator(y.dtype), **tile.meta}
    _norm_moments[(blocks, groups)](y, partials, pixels, blocks, **meta)


@triton.jit(do_not_specialize=COUNTS)
def _norm_statistics(partials, pairs, mean, inverse, running_mean, running_var, pixels, blocks,
                     EPS: tl.constexpr, MOMENTUM: tl.constexpr, ROWS: tl.constexpr,
                     P: tl.constexpr, C: tl.constexpr, CB: tl.constexpr):  # fmt: skip
    """Mean and 1/std of a batch norm from its `blocks` partial moments."""
    slot, norm = tl.load(pairs + 2 * tl.program_id(0)), tl.load(pairs + 2 * tl.program_id(0) + 1)
    channel = tl.arange(0, CB)
    real, here = channel < C, partials + slot * blocks * (2 * C)
    origin = tl.load(here + channel, mask=real, other=0.0)
    first, second = tl.zeros((ROWS, CB), tl.float64), tl.zeros((ROWS, CB), tl.float64)
    for start in range(0, blocks, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < blocks)[:, None] & real[None, :]
        at = here + row.to(tl.int64)[:, None] * (2 * C) + channel[None, :]
        gap = tl.load(at, mask=inside, other=0.0) - origin[None, :]
        gap = tl.where(inside, gap, 0.0)
        count = tl.minimum(pixels - row * P, P).to(tl.float64)[:, None]
        first += gap * count
        second += tl.load(at + C, mask=inside, other=0.0) + gap * gap * count
    whole = tl.full((), pixels, tl.float64)
    total = tl.sum(first, axis=0)
    shift = total / whole
    variance = (tl.sum(second, axis=0) - total * shift) / whole
    variance = tl.where(variance < 0, 0.0, variance)
    into = norm * C + channel
    tl.store(mean + into, origin + shift, mask=real)
    tl.store(inverse + into, 1.0 / tl.sqrt(variance + EPS), mask=real)
    if MOMENTUM > 0:
        _follow(running_mean + into, origin + shift, real, MOMENTUM)
        _follow(running_var + into, variance * whole / (whole - 1), real, MOMENTUM)


@triton.jit
def _follow(running, value, real, MOMENTUM: tl.constexpr):
    old = tl.load(running, mask=real, other=0.0).to(tl.float64)
    new = old * (1 - MOMENTUM) + value * MOMENTUM
    tl.store(running, new.to(running.dtype.element_ty), mask=real)


def statistics(done: Forward, pairs: Tensor) -> None:
    """Mean and 1/std of the norms of `pairs` (see `Tables.closing`); running ones move along."""
    if len(pairs):
        pixels = done.geometry.pixels
        _norm_statistics[(len(pairs),)](
            done.partials, pairs, done.mean, done.inverse, *done.running, pixels,
            done.tile.blocks(pixels), EPS=done.cell.norms.eps, MOMENTUM=done.momentum, ROWS=ROWS,
            **done.tile.meta,
        )  # fmt: skip


# --- the gradient -------------------------------------------------------------------------------


@triton.jit
def _total(partials, blocks, channel, real, ROWS: tl.constexpr, C: tl.constexpr, CB: tl.constexpr):
    """The sum of `(blocks, C)` partial sums, float64."""
    total = tl.zeros((ROWS, CB), tl.float64)
    for start in range(0, blocks, ROWS):
        row = start + tl.arange(0, ROWS)
        at = partials + row.to(tl.int64)[:, None] * C + channel[None, :]
        value = tl.load(at, mask=(row < blocks)[:, None] & real[None, :], other=0.0)
        total += value.to(tl.float64)
    return tl.sum(total, axis=0)


@triton.jit(do_not_specialize=COUNTS)
def _norm_coefficients(partials, product_step, total_first, total_step, table, terms, rows, mean,
                       inverse, coef, gains, pixels, blocks, MIXED: tl.constexpr,
                       ROWS: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
                       CB: tl.constexpr):  # fmt: skip
    """A term's coefficients and, if it is `MIXED`, the gradient of its mixing weight."""
    t = tl.program_id(0)
    channel = tl.arange(0, CB)
    real, slot = channel < C, tl.full((), blocks, tl.int64) * C
    product = _total(partials + t * product_step * slot, blocks, channel, real, ROWS, C, CB)
    total = partials + (total_first + t * total_step) * slot
    total = _total(total, blocks, channel, real, ROWS, C, CB)
    norm, place = tl.load(table + 2 * terms + t), tl.load(table + 3 * terms + t)
    normed = norm >= 0
    m = tl.load(mean + norm * C + channel, mask=real & normed, other=0.0)
    s = tl.load(inverse + norm * C + channel, mask=real & normed, other=1.0)
    whole = tl.full((), pixels, tl.float64)
    weight = tl.full((), 1, tl.float64)
    spread = product * s
    if MIXED:
        weight = tl.load(rows + place).to(tl.float64)
        tl.store(gains + place, tl.sum(spread, axis=0))
    a = weight * s
    b = tl.where(normed, -a * s * spread / whole, 0.0)
    shift = tl.where(normed, -a * total / whole - b * m, 0.0)
    into = coef + tl.load(table + 4 * terms + t) * (3 * C) + channel
    tl.store(into, a.to(coef.dtype.element_ty), mask=real)
    tl.store(into + C, b.to(coef.dtype.element_ty), mask=real)
    tl.store(into + 2 * C, shift.to(coef.dtype.element_ty), mask=real)


def coefficients(
    done: Forward, partials: Tensor, slots: tuple[int, int, int], table: Tensor, coef: Tensor,
    gains: Tensor | None, pixels: int,
) -> None:  # fmt: skip
    """Coefficients `(units, 3, c)` of the terms of `table` (see `NodeTable.terms`).

    Args:
        partials: `(slots, blocks, c)`, sums of `g (y - mean)` and of `g`.
        slots: how far apart the former are, where the latter begin, how far apart they are.
        gains: gets the gradients of mixing weights; None where there is no mixing weight.
    """
    mixed = gains is not None
    _norm_coefficients[(table.shape[1],)](
        partials, *slots, table, table.shape[1], done.rows, done.mean, done.inverse, coef,
        gains if mixed else coef, pixels, partials.shape[1], MIXED=mixed, ROWS=ROWS,
        **done.tile.meta,
    )  # fmt: skip


@triton.jit(do_not_specialize=COUNTS)
def _mix_gradient(out, grad, go, y, coef, groups, pixels, SHARED: tl.constexpr,
                  NORMED: tl.constexpr, MORE: tl.constexpr, ACC: tl.constexpr, P: tl.constexpr,
                  C: tl.constexpr, CB: tl.constexpr):  # fmt: skip
    """`out (+)= coef[0] g + coef[1] y + coef[2]`, of every group or, if `SHARED`, of all."""
    pixel, channel = tl.program_id(0) * P + tl.arange(0, P), tl.arange(0, CB)
    real = channel < C
    valid = (pixel < pixels)[:, None] & real[None, :]
    at = pixel.to(tl.int64)[:, None] * C + channel[None, :]
    own = tl.program_id(1).to(tl.int64) * pixels * C  # 0 if shared
    acc, slope = tl.zeros((P, CB), ACC), tl.zeros((CB,), ACC)
    shift = tl.zeros((CB,), ACC)
    begin = tl.program_id(1)
    end = begin + 1
    if SHARED:
        end = groups
    for g in range(begin, end):
        here = coef + g * 3 * C + channel
        value = tl.load(grad + tl.load(go + g) + at, mask=valid, other=0).to(ACC)
        acc += value * tl.load(here, mask=real, other=0)[None, :]
        if NORMED:
            slope += tl.load(here + C, mask=real, other=0)
            shift += tl.load(here + 2 * C, mask=real, other=0)
    if NORMED:
        value = tl.load(y + own + at, mask=valid, other=0).to(ACC)
        acc += value * slope[None, :] + shift[None, :]
    if MORE:
        acc += tl.load(out + own + at, mask=valid, other=0).to(ACC)
    tl.store(out + own + at, acc.to(out.dtype.element_ty), mask=valid)


def gradient(
    tile: Tile, out: Tensor, grad: Tensor, go: Tensor, y: Tensor, coef: Tensor, pixels: int, *,
    shared: bool, normed: bool, more: bool = False,
) -> None:  # fmt: skip
    """The gradients of maps `y` `(groups, pixels, c)`, or of the one map that is `shared`.

    Args:
        out: is written, or added to if `more`.
        grad: of the nodes; that of group g begins at `go[g]`.
        coef: `(groups, 3, c)`.
    """
    grid = (tile.blocks(pixels), 1 if shared else len(go))
    _mix_gradient[grid](
        out, grad, go, y, coef, len(go), pixels, SHARED=shared, NORMED=normed, MORE=more,
        ACC=accumulator(out.dtype), **tile.meta,
    )  # fmt: skip
