"""The gradient of a packed cell on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.engine.geometry import Placed
from workbench.engine.gpu.forward import Forward
from workbench.engine.gpu.mixing import mix_sums
from workbench.engine.gpu.norms import coefficients, gradient
from workbench.engine.gpu.pooling import pool_back
from workbench.engine.gpu.separable_back import through_matrix, through_taps


class Backward:
    """The gradients of one `Forward`: of `inputs`, `weights` and mixing weights (`gains`).

    States are gone through from the last to the first, as in `engine.backward`.

    Args:
        grad: of the cell's output.
        weights: whether theirs is asked for.
        inputs: whether that of each input is; what is not is None in `inputs`.
    """

    def __init__(
        self, done: Forward, grad: Tensor, *, weights: bool, inputs: Sequence[bool]
    ) -> None:
        self.done, self.geometry, self.c = done, done.geometry, done.c
        self.gains = torch.zeros(done.rows.shape, dtype=torch.float64, device=grad.device)
        self.weights = done.weights.new_zeros(len(done.weights) if weights else 0)
        self.inputs = [
            torch.zeros_like(x) if asked else None
            for x, asked in zip(done.inputs, inputs, strict=True)
        ]
        self.coef = done.weights.new_empty(max(1, self.geometry.units), 3, self.c)
        self.nodes = self._from_output(grad)

    def _from_output(self, grad: Tensor) -> Tensor:
        """The gradients of all nodes, one after the other, flat."""
        count, map_size = self.done.shape.nodes, self.geometry.node_map
        if self.done.shape.output == "concat":
            split = grad.reshape(-1, count, self.c).transpose(0, 1)
            return split.clone(memory_format=torch.contiguous_format).view(-1)
        nodes = grad.new_zeros(count * map_size)
        nodes[-map_size:] = grad.reshape(-1)
        return nodes

    def run(self) -> None:
        """Fill `inputs`, `weights` and `gains`."""
        shape = self.done.shape
        for state in reversed(range(shape.inputs + shape.nodes)):
            dx = self._into(state)
            if dx is not None or len(self.weights):
                for placed in self.geometry.by_source[state]:
                    self._bundle(placed, dx)
            if state >= shape.inputs:
                self._node(state - shape.inputs)

    def _node(self, number: int) -> None:
        """What a node's gradient, now whole, means for each of its terms."""
        done, node, map_size = self.done, self.done.tables.nodes[number], self.geometry.node_map
        if len(node):
            sums = mix_sums(done, node, self.nodes[number * map_size :])
            slots, pixels = (1, len(node), 0), self.geometry.pixels
            coefficients(done, sums, slots, node.terms, self.coef, self.gains, pixels)

    def _into(self, source: int) -> Tensor | None:
        """The gradient of a source, flat."""
        inputs, map_size = self.done.shape.inputs, self.geometry.node_map
        if source < inputs:
            mine = self.inputs[source]
            return None if mine is None else mine.view(-1)
        return self.nodes[(source - inputs) * map_size : (source - inputs + 1) * map_size]

    def _bundle(self, placed: Placed, dx: Tensor | None) -> None:
        does = placed.bundle.about.does
        if does in ("separable", "dilated"):
            self._separable(placed, dx)
        elif does == "convolution":
            self._convolution(placed, dx)
        elif does == "skip" and placed.bundle.stride == 2:
            self._halve(placed, dx)
        elif dx is not None:
            self._pool(placed, dx) if does in ("max", "mean") else self._skip(placed, dx)

    def _separable(self, placed: Placed, dx: Tensor | None) -> None:
        done, table = self.done, self.done.tables.of(placed)
        grad, go, coef, y = self.nodes, table.grad, self.coef[placed.units], placed.y
        if placed.bundle.about.does == "separable":
            half, pixels = done.half(placed, 1), self.geometry.pixels
            dd = through_matrix(done, half, done.outputs[y:], grad, go, coef, self.weights)
            grad, go = torch.empty_like(dd), table.own
            sums = through_taps(done, half, dd, grad)
            coef = torch.empty_like(coef)
            coefficients(done, sums, (2, 1, 2), table.middle, coef, None, pixels)
            y = placed.middle
        half = done.half(placed, 0)
        dd = through_matrix(done, half, done.outputs[y:], grad, go, coef, self.weights)
        if dx is not None:
            through_taps(done, half, dd, dx)

    def _gradient(self, placed: Placed) -> Tensor:
        """The gradients of a bundle's outputs, `(groups, pixels, c)`; pooling has one group."""
        done, shared = self.done, placed.bundle.about.does in ("max", "mean")
        y = done.output(placed)
        dy = torch.empty_like(y)
        gradient(
            done.tile, dy, self.nodes, done.tables.of(placed).grad, y, self.coef[placed.units],
            self.geometry.pixels, shared=shared, normed=bool(placed.bundle.norms),
        )  # fmt: skip
        return dy

    def _pool(self, placed: Placed, dx: Tensor) -> None:
        bundle = placed.bundle
        size, taken = self.geometry.sized(bundle.source), self.done.taken.get(placed.y)
        pool_back(self.done, self._gradient(placed), taken, dx, size, bundle.stride)

    def _skip(self, placed: Placed, dx: Tensor) -> None:
        gradient(
            self.done.tile, dx, self.nodes, self.done.tables.of(placed).grad, dx,
            self.coef[placed.units], self.geometry.pixels, shared=True, normed=False, more=True,
        )  # fmt: skip

    def _halve(self, placed: Placed, dx: Tensor | None) -> None:
        done, bundle, half, dy = self.done, placed.bundle, self.c // 2, self._gradient(placed)
        (h, w), (height, width) = self.geometry.inner, self.geometry.sized(bundle.source)
        for number, part in enumerate(done.halves(placed)):
            mine = dy[:, :, half:] if number else dy[:, :, :half]
            if len(self.weights):
                self._learn(placed, number, torch.matmul(part.t(), mine))
            if dx is None:
                continue
            into = torch.matmul(mine, done.role(placed, number).transpose(1, 2)).sum(0)
            through = into.masked_fill_(part <= 0, 0).view(-1, h, w, self.c)
            place = dx.view(-1, height, width, self.c)[:, number::2, number::2]
            place += through[:, : place.shape[1], : place.shape[2]]

    def _learn(self, placed: Placed, number: int, gradient: Tensor) -> None:
        """The gradient `(groups, …)` of a role's weights."""
        start = placed.bundle.at[number]
        self.weights[start : start + gradient.numel()].copy_(gradient.reshape(-1))

    def _convolution(self, placed: Placed, dx: Tensor | None) -> None:
        done, bundle, groups = self.done, placed.bundle, len(placed.bundle.edges)
        (h, w), border = self.geometry.inner, bundle.about.size // 2
        dy = self._gradient(placed).transpose(0, 1).reshape(-1, h, w, groups * self.c)
        x, kernel = done.relu(placed), done.role(placed, 0).flatten(0, 1)
        asked, steps = (dx is not None, len(self.weights) > 0, False), [bundle.stride] * 2
        through, learned, _ = torch.ops.aten.convolution_backward(
            dy.permute(0, 3, 1, 2), x, kernel, None, steps, [border] * 2, [1, 1], False, [0, 0], 1,
            asked,
        )  # fmt: skip
        if asked[1]:
            self._learn(placed, 0, learned)
        if dx is not None:
            dx += through.masked_fill(x <= 0, 0).permute(0, 2, 3, 1).reshape(-1)
