"""The forward pass of a packed cell on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from workbench.engine.geometry import Geometry, Placed, refuse_one
from workbench.engine.kernels.halves import forward as halves
from workbench.engine.kernels.mixing import (
    mix,
    norm_scales,
    normalise,
    scales,
)
from workbench.engine.kernels.pointwise import forward as pointwise
from workbench.engine.kernels.pooling import pool
from workbench.engine.kernels.separable import forward as separable
from workbench.engine.kernels.simd import Tile, tile_for, tile_of
from workbench.engine.kernels.winograd import forward as winograd
from workbench.engine.workers import added_up, in_parts, threads_for

if TYPE_CHECKING:
    from workbench.engine.packed import PackedCell

FORWARD = {"halves": halves, "pointwise": pointwise, "winograd": winograd}


class Product(NamedTuple):
    """What kernels that multiply by matrices are asked.

    `kernel` says which, `tile` and `shape` are as it says there, weights begin at `begin`, and
    `parts` is how many pictures or pixels can be shared out.
    """

    kernel: Literal["halves", "pointwise", "winograd"]
    tile: Tile
    shape: tuple[int, ...]
    begin: int | np.ndarray
    parts: int


def flat(x: Tensor) -> np.ndarray:
    """The numbers of a contiguous tensor, shared with it."""
    return x.detach().view(-1).numpy()


def room(count: int, like: Tensor) -> np.ndarray:
    """Memory for `count` numbers that begins at a cache line, as NumPy's need not."""
    return like.new_empty(count).numpy()


def cleared(count: int, like: Tensor) -> np.ndarray:
    """The same, of zeros."""
    return like.new_zeros(count).numpy()


class Forward:
    """One pass through a cell, and what its gradient needs of it.

    Args:
        weights: the cell's flat array.
        rows: mixing weights `(edges, ops)`, float64.
        inputs: channels-last maps `(batch, height, width, c)`.
    """

    def __init__(
        self,
        cell: PackedCell,
        geometry: Geometry,
        weights: np.ndarray,
        rows: np.ndarray,
        inputs: Sequence[Tensor],
    ) -> None:
        self.cell, self.geometry, self.layout = cell, geometry, cell.layout
        self.weights, self.rows, self.shape = weights, rows, cell.shape
        self.tile = partial(tile_of, geometry.lanes)
        self.c, self.dtype = cell.layout.channels, weights.dtype
        self.tensors = [x.detach() for x in inputs]
        self.inputs = [flat(x) for x in self.tensors]
        self.lease = cell.borrow(geometry.room)
        self.outputs = flat(self.lease.tensor)
        norms = max(1, cell.layout.norms)
        self.mean, self.inverse = np.empty((norms, self.c)), np.empty((norms, self.c))
        self.one = np.ones(self.c, self.dtype), np.zeros(self.c, self.dtype)
        self.middles: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # see `middle_norm`
        statistics = cell.norms
        self.eps = statistics.eps
        self.running = [x.numpy() for x in cell.statistics()]
        self.momentum = (statistics.momentum or 0.0) if statistics.track_running_stats else 0.0

    def run(self) -> Tensor:
        """The cell's output, `(batch, h, w, nodes c)` or the last node's `(batch, h, w, c)`."""
        if self.layout.norms:
            refuse_one(self.geometry.pixels)
        h, w = self.geometry.inner
        images, nodes = self.geometry.images, self.shape.nodes
        concat = self.shape.output == "concat"
        c = self.layout.width
        size = (images, h, w, nodes * c) if concat else (nodes, images, h, w, c)
        out = torch.empty(size, dtype=self.tensors[0].dtype)
        self.nodes = flat(out)
        for source, here in enumerate(self.geometry.by_source):
            for placed in here:
                self._bundle(placed)
            if self.shape.inputs <= source + 1 < self.shape.inputs + nodes:
                self._node(source + 1)
        return out if concat else out[-1]

    def source(self, number: int) -> tuple[np.ndarray, int, int]:
        """The array a source lies in, where it begins, and how far apart its pixels are."""
        if number < self.shape.inputs:
            return self.inputs[number], 0, self.layout.width
        at, gap = self.geometry.node(number)
        return self.nodes, at, gap

    def _bundle(self, placed: Placed) -> None:
        does = placed.bundle.about.does
        if does in ("separable", "dilated"):
            self._separable(placed)
        elif does in ("max", "mean"):
            self._pool(placed)
        elif does == "convolution" or placed.bundle.stride == 2:
            self._convolution(placed)

    def _separable(self, placed: Placed) -> None:
        bundle, about = placed.bundle, placed.bundle.about
        tile = self.tile(about.size)
        array, at, gap = self.source(bundle.source)
        scale, shift = self.one
        self._normalise(placed, 0, self._convolve(
            tile, (bundle.stride, about.dilation), placed.shape, array[at:], 0, gap, scale, shift,
            placed.at, placed.middle,
        ))  # fmt: skip
        if about.does == "dilated":
            return
        scale, shift = self.middle_norm(placed)
        self._normalise(placed, 1, self._convolve(
            tile, (1, about.dilation), placed.inner, self.outputs[placed.middle :],
            self.geometry.node_map, self.c, scale, shift, placed.at[2:], placed.y,
        ))  # fmt: skip

    def _convolve(
        self, tile: Tile, conv: tuple[int, int], shape: tuple[int, ...], x: np.ndarray, own: int,
        gap: int, scale: np.ndarray, shift: np.ndarray, at: np.ndarray, to: int,
    ) -> np.ndarray:  # fmt: skip
        """Run `kernels.separable.forward`; returns the moments `(groups, 2, c)` of its output."""
        threads = threads_for(shape[0] * self.geometry.node_map)
        sums = np.zeros((threads, shape[0], 2, self.c))

        def run(thread: int, start: int, stop: int) -> None:
            separable(
                tile, conv, shape, (start, stop), x, own, gap, scale, shift,
                self.weights, at, self.outputs, to, sums[thread].ravel(),
            )  # fmt: skip

        in_parts(run, shape[1], threads)
        return added_up(sums)

    def middle_norm(self, placed: Placed) -> tuple[np.ndarray, np.ndarray]:
        """The batch norm between two halves as scale and shift, each `(groups, c)` and flat."""
        if placed.y not in self.middles:
            size = (placed.shape[0], self.c)
            scale, shift = np.empty(size, self.dtype), np.empty(size, self.dtype)
            norm_scales(self.mean, self.inverse, placed.bundle.norms_at[0], scale, shift)
            self.middles[placed.y] = scale.ravel(), shift.ravel()
        return self.middles[placed.y]

    def _pool(self, placed: Placed) -> None:
        bundle, does = placed.bundle, placed.bundle.about.does
        array, at, gap = self.source(bundle.source)
        shape = placed.shape[1:]
        threads = threads_for(self.geometry.node_map)
        sums = np.zeros((threads, 1, 2, self.c if bundle.norms else 0))

        def run(thread: int, start: int, stop: int) -> None:
            pool(
                self.tile(), does == "max", bundle.stride, shape, (start, stop), array, at, gap,
                self.outputs, placed.y, sums[thread].ravel(),
            )  # fmt: skip

        in_parts(run, shape[0], threads)
        if bundle.norms:
            self._normalise(placed, 0, np.repeat(added_up(sums), placed.shape[0], axis=0))

    def product(self, placed: Placed) -> Product:
        """What is asked of the kernels of a bundle that `_convolution` is for."""
        shape, c, bundle = placed.shape, self.c, placed.bundle
        if bundle.about.does == "skip":
            tile = tile_for(self.tensors[0], c, c // 2, c - c // 2)
            return Product("halves", tile, (*shape, c), placed.at, shape[1])
        if bundle.about.size == 1:
            pixels = self.geometry.pixels
            return Product("pointwise", self.tile(), (shape[0], pixels, c, c), bundle.at[0], pixels)
        return Product("winograd", self.tile(), shape, bundle.at[0], shape[1])

    def _convolution(self, placed: Placed) -> None:
        """Ordinary convolutions, of 3×3 or 1×1, and a `skip_connect` with stride 2."""
        kernel, tile, shape, begin, parts = self.product(placed)
        array, at, gap = self.source(placed.bundle.source)
        threads = threads_for(shape[0] * self.geometry.node_map)
        sums = np.zeros((threads, shape[0], 2, self.c))

        def run(thread: int, start: int, stop: int) -> None:
            FORWARD[kernel](
                tile, shape, (start, stop), array[at:], gap, self.weights, begin, self.outputs,
                placed.y, sums[thread].ravel(),
            )  # fmt: skip

        in_parts(run, parts, threads)
        self._normalise(placed, 0, added_up(sums))

    def _normalise(self, placed: Placed, number: int, sums: np.ndarray) -> None:
        normalise(
            sums, self.geometry.pixels, self.eps, self.mean, self.inverse,
            placed.bundle.norms_at[number], self.running[0], self.running[1], self.momentum,
        )  # fmt: skip

    def _node(self, state: int) -> None:
        """The sum of a node's terms."""
        self._mix(state, self.nodes, *self.geometry.node(state))

    def _mix(self, state: int, out: np.ndarray, at: int, gap: int) -> None:
        """That of what operations made, written from `at` on, its pixels `gap` apart."""
        terms = self.geometry.nodes[state - self.shape.inputs]
        scale, shift = np.empty((len(terms.edge), self.c), self.dtype), np.empty(self.c, self.dtype)
        weight = self.rows[terms.edge, terms.column]
        scales(weight, terms.normed, terms.norm, self.mean, self.inverse, scale, shift)

        def run(thread: int, start: int, stop: int) -> None:
            mix(
                self.tile(), self.outputs, self.inputs[0], self.inputs[-1], self.nodes,
                terms.base, terms.at, terms.gap, scale.ravel(), shift, out, at, gap,
                start, stop, self.c, False,
            )  # fmt: skip

        threads = threads_for(len(terms.edge) * self.geometry.node_map)
        in_parts(run, self.geometry.pixels, threads)
