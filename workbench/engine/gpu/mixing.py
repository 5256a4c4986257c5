"""The sum of all terms into a node on a GPU, and the sums that its gradient needs.

A node is the sum over its terms of `weight (y - mean) / std`, which is never written down term by
term.  Terms lie in four arrays (see `engine.geometry`): operations' outputs, two inputs, nodes.
"""

# Kernels are no Python to a type checker.
# pyright: reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false
from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl
from torch import Tensor

from workbench.engine.gpu.tables import COUNTS, NodeTable, accumulator

if TYPE_CHECKING:
    from workbench.engine.gpu.forward import Forward


@triton.jit
def _centred(y, t, table, terms, mean, pixel, valid, channel, ACC: tl.constexpr, C: tl.constexpr):
    """`y - mean` of term t."""
    at, gap = tl.load(table + t), tl.load(table + terms + t)
    norm = tl.load(table + 2 * terms + t)
    where = y + at + pixel[:, None] * gap + channel[None, :]
    value = tl.load(where, mask=valid, other=0).to(ACC)
    m = tl.load(mean + norm * C + channel, mask=(channel < C) & (norm >= 0), other=0.0)
    return value - m.to(ACC)[None, :]


@triton.jit
def _added(acc, y, begin, end, table, terms, rows, mean, inverse, pixel, valid, channel,
           ACC: tl.constexpr, C: tl.constexpr):  # fmt: skip
    """`acc` with the terms from `begin` to `end`, which lie in `y`."""
    for t in range(begin, end):
        value = _centred(y, t, table, terms, mean, pixel, valid, channel, ACC, C)
        norm = tl.load(table + 2 * terms + t)
        real = (channel < C) & (norm >= 0)
        s = tl.load(inverse + norm * C + channel, mask=real, other=1.0)
        weight = tl.load(rows + tl.load(table + 3 * terms + t)).to(tl.float64)
        acc += value * (s * weight).to(ACC)[None, :]
    return acc


@triton.jit(do_not_specialize=COUNTS)
def _mix(
    out, stride, outputs, first, second, nodes, table, e0, e1, e2, e3, rows, mean, inverse, pixels,
    ACC: tl.constexpr, P: tl.constexpr, C: tl.constexpr, CB: tl.constexpr,
):  # fmt: skip
    pixel, channel = tl.program_id(0) * P + tl.arange(0, P), tl.arange(0, CB)
    valid = (pixel < pixels)[:, None] & (channel < C)[None, :]
    pixel = pixel.to(tl.int64)
    acc = tl.zeros((P, CB), ACC)
    acc = _added(acc, outputs, 0, e0, table, e3, rows, mean, inverse, pixel, valid, channel, ACC, C)
    acc = _added(acc, first, e0, e1, table, e3, rows, mean, inverse, pixel, valid, channel, ACC, C)
    acc = _added(acc, second, e1, e2, table, e3, rows, mean, inverse, pixel, valid, channel, ACC, C)
    acc = _added(acc, nodes, e2, e3, table, e3, rows, mean, inverse, pixel, valid, channel, ACC, C)
    into = out + pixel[:, None] * stride + channel[None, :]
    tl.store(into, acc.to(out.dtype.element_ty), mask=valid)


def mix(done: Forward, node: NodeTable, out: Tensor, stride: int) -> None:
    """Write a node to `out`, its pixels `stride` numbers apart."""
    pixels = done.geometry.pixels
    _mix[(done.tile.blocks(pixels),)](
        out, stride, done.outputs, done.inputs[0], done.inputs[-1], done.nodes, node.terms,
        *node.ends, done.rows, done.mean, done.inverse, pixels,
        ACC=accumulator(out.dtype), **done.tile.meta,
    )  # fmt: skip


@triton.jit
def _products(grad, y, begin, end, table, terms, mean, pixel, valid, channel, sums, blocks,
              ACC: tl.constexpr, C: tl.constexpr):  # fmt: skip
    for t in range(begin, end):
        value = _centred(y, t, table, terms, mean, pixel, valid, channel, ACC, C)
        into = (
            sums + tl.full((), blocks, tl.int64) * t * C + channel
        )  # `grad` is 0 where nothing is valid
        tl.store(into, tl.sum(value * grad, axis=0), mask=channel < C)


@triton.jit(do_not_specialize=COUNTS)
def _mix_sums(
    grad, outputs, first, second, nodes, table, e0, e1, e2, e3, mean, sums, pixels, blocks,
    ACC: tl.constexpr, P: tl.constexpr, C: tl.constexpr, CB: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    pixel, channel = block * P + tl.arange(0, P), tl.arange(0, CB)
    valid = (pixel < pixels)[:, None] & (channel < C)[None, :]
    pixel = pixel.to(tl.int64)
    g = tl.load(grad + pixel[:, None] * C + channel[None, :], mask=valid, other=0).to(ACC)
    sums += block * C
    _products(g, outputs, 0, e0, table, e3, mean, pixel, valid, channel, sums, blocks, ACC, C)
    _products(g, first, e0, e1, table, e3, mean, pixel, valid, channel, sums, blocks, ACC, C)
    _products(g, second, e1, e2, table, e3, mean, pixel, valid, channel, sums, blocks, ACC, C)
    _products(g, nodes, e2, e3, table, e3, mean, pixel, valid, channel, sums, blocks, ACC, C)
    into = sums + tl.full((), blocks, tl.int64) * e3 * C + channel
    tl.store(into, tl.sum(g, axis=0), mask=channel < C)


def mix_sums(done: Forward, node: NodeTable, grad: Tensor) -> Tensor:
    """Partial sums `(terms + 1, blocks, c)` of `g (y - mean)` for every term and, last, of `g`."""
    pixels = done.geometry.pixels
    blocks = done.tile.blocks(pixels)
    sums = done.weights.new_empty(len(node) + 1, blocks, done.tile.channels)
    _mix_sums[(blocks,)](
        grad, done.outputs, done.inputs[0], done.inputs[-1], done.nodes, node.terms, *node.ends,
        done.mean, sums, pixels, blocks, ACC=accumulator(grad.dtype), **done.tile.meta,
    )  # fmt: skip
    return sums
