"""The gradient of a packed cell on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from torch import Tensor

from workbench.engine.forward import Forward, cleared, flat, room
from workbench.engine.geometry import Placed
from workbench.engine.kernels.halves import backward as halves_back
from workbench.engine.kernels.mixing import (
    apart,
    mix,
    mix_sums,
    norm_coefficients,
)
from workbench.engine.kernels.pointwise import backward as pointwise_back
from workbench.engine.kernels.pooling import pool_back
from workbench.engine.kernels.separable import backward as separable_back
from workbench.engine.kernels.winograd import backward as winograd_back
from workbench.engine.workers import added_up, in_parts, threads_for

BACKWARD = {"halves": halves_back, "pointwise": pointwise_back, "winograd": winograd_back}


class Backward:
    """The gradients of one `Forward`: of `inputs`, `weights` and mixing weights (`gains`).

    States are gone through from the last to the first: when a node's turn comes, everything that
    it goes into has handed back its gradient.

    Args:
        grad: of the cell's output.
        weights: whether theirs is asked for.
        inputs: whether that of each input is.
    """

    def __init__(
        self, done: Forward, grad: Tensor, *, weights: bool, inputs: Sequence[bool]
    ) -> None:
        self.wanted = inputs if not weights else [True] * len(inputs)
        self.done, self.geometry, self.c = done, done.geometry, done.c
        self.gains = np.zeros_like(done.rows)
        self.weights = cleared(len(done.weights) if weights else 0, done.tensors[0])
        # What is first to go into an input's gradient writes it, if it can.
        self.inputs = [room(x.numel(), x) for x in done.tensors]
        self.fresh = set(range(len(done.tensors)))
        self.coef = np.empty((max(1, self.geometry.units), 3, self.c), done.dtype)
        self.nodes = self._from_output(grad)

    def _from_output(self, grad: Tensor) -> np.ndarray:
        """The gradients of all nodes, one after the other, as the cell's output has them."""
        count, width = self.done.shape.nodes, self.done.layout.width
        map_size = self.geometry.pixels * width
        nodes = room(count * map_size, grad)
        if self.done.shape.output == "concat":
            apart(self.done.tile(), flat(grad), nodes, count, self.geometry.pixels, width)
        else:
            nodes[:-map_size] = 0
            nodes[-map_size:] = flat(grad)
        return nodes

    def run(self) -> None:
        """Fill `inputs`, `weights` and `gains`."""
        shape = self.done.shape
        for state in reversed(range(shape.inputs + shape.nodes)):
            if state >= shape.inputs or self.wanted[state]:
                for placed in self.geometry.writers_first[state]:
                    self._bundle(placed)
                self._gathered(state)
            if state >= shape.inputs:
                self._node(state)

    def _gathered(self, state: int) -> None:
        """All that a state goes into has handed back its gradient."""
        if state in self.fresh:
            self.inputs[state][:] = 0  # nothing is left

    def _node(self, state: int) -> None:
        """What a node's gradient, now whole, means for each of its terms."""
        done, number = self.done, state - self.done.shape.inputs
        terms, map_size = self.geometry.nodes[number], self.geometry.node_map
        if not len(terms.edge):
            return
        threads = threads_for(len(terms.edge) * map_size)
        parts = np.zeros((threads, len(terms.edge) + 1, self.c))

        def run(thread: int, start: int, stop: int) -> None:
            mix_sums(
                done.tile(), self.nodes, number * map_size, done.outputs, done.inputs[0],
                done.inputs[-1], done.nodes, terms.base, terms.at, terms.gap, parts[thread].ravel(),
                start, stop, self.c,
            )  # fmt: skip

        in_parts(run, self.geometry.pixels, threads)
        sums = added_up(parts)
        gain = norm_coefficients(
            done.rows[terms.edge, terms.column], terms.normed, terms.norm, done.mean, done.inverse,
            sums[:-1], sums[-1:], self.geometry.pixels, terms.unit, self.coef,
        )  # fmt: skip
        self.gains[terms.edge, terms.column] += gain

    def _into(self, placed: Placed) -> tuple[np.ndarray, bool]:
        """The gradient of a bundle's source, and whether to add to what is there."""
        source, map_size = placed.bundle.source, self.geometry.node_map
        number = source - self.done.shape.inputs
        if number >= 0:
            return self.nodes[number * map_size : (number + 1) * map_size], True
        return self._written(placed, self.inputs[source])

    def _written(self, placed: Placed, into: np.ndarray) -> tuple[np.ndarray, bool]:
        """The same where it is `into`, which whoever comes first writes, if it can."""
        more = placed.bundle.source not in self.fresh
        self.fresh.discard(placed.bundle.source)
        if placed.only_adds and not more:
            into[:], more = 0, True
        return into, more

    def _bundle(self, placed: Placed) -> None:
        does = placed.bundle.about.does
        if does in ("separable", "dilated"):
            self._separable(placed)
        elif does in ("max", "mean"):
            self._pool(placed)
        elif does == "convolution" or placed.bundle.stride == 2:
            self._convolution(placed)
        else:
            self._skip(placed)

    def _separable(self, placed: Placed) -> None:
        done, bundle, about = self.done, placed.bundle, placed.bundle.about
        map_size = self.geometry.node_map
        grad, go, coef, y = self.nodes, placed.grad, self.coef[placed.units], placed.y
        if about.does == "separable":
            scale, shift = done.middle_norm(placed)
            before = room(placed.shape[0] * map_size, done.tensors[0])
            sums = self._convolve(
                placed, 2, 1, placed.inner, done.outputs[placed.middle :], map_size, self.c, scale,
                shift, y, grad, go, coef, before, more=False,
            )  # fmt: skip
            grad, go = before, placed.starts
            coef, y = self._middle(placed, sums), placed.middle
        array, at, gap = done.source(bundle.source)
        into, more = self._into(placed)
        self._convolve(
            placed, 0, bundle.stride, placed.shape, array[at:], 0, gap, *done.one, y, grad, go,
            coef, into, more=more,
        )  # fmt: skip

    def _convolve(
        self, placed: Placed, role: int, stride: int, shape: tuple[int, ...], x: np.ndarray,
        own: int, gap: int, scale: np.ndarray, shift: np.ndarray, y: int, grad: np.ndarray,
        go: np.ndarray, coef: np.ndarray, dx: np.ndarray, *, more: bool,
    ) -> np.ndarray:  # fmt: skip
        """Run `kernels.separable.backward`; returns the sums `(groups, 2, c)` of own inputs."""
        done, about = self.done, placed.bundle.about
        tile, threads = done.tile(about.size), threads_for(shape[0] * self.geometry.node_map)
        sums = np.zeros((threads, shape[0], 2, self.c))
        weights, at, flat_coef = self._by_thread(threads), placed.at[role:], coef.ravel()

        def run(thread: int, start: int, stop: int) -> None:
            separable_back(
                tile, (stride, about.dilation), shape, (start, stop), x, own, gap, scale,
                shift, done.weights, at, done.outputs, y, grad, go, flat_coef, dx, more,
                sums[thread].ravel(), weights[thread],
            )  # fmt: skip

        in_parts(run, shape[1], threads)
        self._add_up(weights)
        return added_up(sums)

    def _middle(self, placed: Placed, sums: np.ndarray) -> np.ndarray:
        """Coefficients `(groups, 3, c)` of the batch norm between two halves."""
        coef = np.empty((len(sums), 3, self.c), self.done.dtype)
        weight, normed, each = _alone(len(sums))
        norm_coefficients(
            weight, normed, placed.bundle.norms_at[0] + each, self.done.mean, self.done.inverse,
            sums[:, 1].copy(), sums[:, 0].copy(), self.geometry.pixels, each, coef,
        )  # fmt: skip
        return coef

    def _pool(self, placed: Placed) -> None:
        done, bundle, does = self.done, placed.bundle, placed.bundle.about.does
        array, at, gap = done.source(bundle.source)
        shape, coef = placed.shape[1:], self.coef[placed.units].ravel()
        dx, _ = self._into(placed)

        def run(thread: int, start: int, stop: int) -> None:
            pool_back(
                done.tile(), does == "max", bundle.stride, shape, (start, stop), array, at, gap,
                done.outputs, placed.y, bool(bundle.norms), self.nodes, placed.grad, coef, dx,
            )  # fmt: skip

        in_parts(run, shape[0], threads_for(self.geometry.node_map))

    def _skip(self, placed: Placed) -> None:
        terms = len(placed.bundle.edges)
        scale = np.ascontiguousarray(self.coef[placed.units, 0])
        zeros, gap = np.zeros(terms, np.int64), np.full(terms, self.c)
        into, more = self._into(placed)
        mix(
            self.done.tile(), self.nodes, self.nodes, self.nodes, self.nodes, zeros,
            placed.grad, gap, scale.ravel(), self.done.one[1], into, 0, self.c, 0,
            self.geometry.pixels, self.c, more,
        )  # fmt: skip

    def _convolution(self, placed: Placed) -> None:
        done = self.done
        kernel, tile, shape, begin, parts = done.product(placed)
        array, at, gap = done.source(placed.bundle.source)
        threads = threads_for(shape[0] * self.geometry.node_map)
        weights, coef = self._by_thread(threads), self.coef[placed.units].ravel()
        dx, adds = self._into(placed)
        more = (adds,) if kernel == "pointwise" else ()

        def run(thread: int, start: int, stop: int) -> None:
            BACKWARD[kernel](
                tile, shape, (start, stop), array[at:], gap, done.weights, begin, done.outputs,
                placed.y, self.nodes, placed.grad, coef, dx, weights[thread], *more,
            )  # fmt: skip

        in_parts(run, parts, threads)
        self._add_up(weights)

    def _by_thread(self, threads: int) -> list[np.ndarray]:
        """Room for the weights' gradients of each; the first adds to the cell's own."""
        like, size = self.done.tensors[0], len(self.weights)
        return [self.weights, *(cleared(size, like) for _ in range(1, threads))]

    def _add_up(self, weights: Sequence[np.ndarray]) -> None:
        for more in weights[1:]:
            self.weights += more


@cache
def _alone(groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `norm_coefficients` is told of maps that go into nothing else: weight, norm, place."""
    return np.ones(groups), np.ones(groups, np.int64), np.arange(groups)
