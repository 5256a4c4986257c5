"""The forward pass of a packed cell on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from workbench.engine.geometry import Geometry, Placed, refuse_one
from workbench.engine.gpu.mixing import mix
from workbench.engine.gpu.norms import moments, statistics
from workbench.engine.gpu.pooling import pool
from workbench.engine.gpu.separable import Half, forward
from workbench.engine.gpu.tables import Tile, tables
from workbench.engine.halves import halves

if TYPE_CHECKING:
    from workbench.engine.packed import PackedCell


class Forward:
    """One pass through a cell, and what its gradient needs of it.

    Args:
        weights: the cell's flat array.
        rows: mixing weights `(edges, ops)`.
        inputs: channels-last maps `(batch, height, width, c)`, in the format of all maps.
    """

    def __init__(
        self,
        cell: PackedCell,
        geometry: Geometry,
        weights: Tensor,
        rows: Tensor,
        inputs: Sequence[Tensor],
    ) -> None:
        self.cell, self.geometry, self.layout = cell, geometry, cell.layout
        self.weights, self.shape = weights.detach(), cell.shape
        self.rows = rows.detach().contiguous()
        self.c, self.tile = cell.layout.channels, Tile(cell.layout.channels)
        self.inputs = [x.detach() for x in inputs]
        self.tables = tables(geometry, weights.device)
        self.outputs = self.room(geometry.size)
        norms = max(1, cell.layout.norms)
        exact = {"dtype": torch.float64, "device": weights.device}
        self.partials = torch.empty(
            (norms, self.tile.blocks(geometry.pixels), 2, self.c), **exact
        )  # of batch norms: see `gpu.norms`
        self.mean, self.inverse = (torch.empty((norms, self.c), **exact) for _ in range(2))
        self.taken: dict[int, Tensor] = {}  # by a pooling bundle's `y`
        statistics = cell.norms
        self.running = cell.statistics()
        self.momentum = (statistics.momentum or 0.0) if statistics.track_running_stats else 0.0

    def room(self, *size: int) -> Tensor:
        """Memory for maps."""
        like = self.inputs[0]
        return torch.empty(size, dtype=like.dtype, device=like.device)

    def run(self) -> Tensor:
        """The cell's output, `(batch, h, w, nodes c)` or the last node's `(batch, h, w, c)`."""
        if self.layout.norms:
            refuse_one(self.geometry.pixels)
        # Triton launches on the current device; a backward pass runs with its own one current.
        with torch.cuda.device_of(self.weights):
            return self._run()

    def _run(self) -> Tensor:
        h, w = self.geometry.inner
        images, nodes, inputs = self.geometry.images, self.shape.nodes, self.shape.inputs
        concat = self.shape.output == "concat"
        size = (images, h, w, nodes * self.c) if concat else (nodes, images, h, w, self.c)
        out = self.room(*size)
        # Detached: what is kept for the gradient must not keep the gradient's own node alive.
        self.nodes = out.detach().view(-1)
        for source, here in enumerate(self.geometry.by_source):
            for placed in here:
                self._bundle(placed)
            statistics(self, self.tables.closing[source])
            number = source + 1 - inputs
            if 0 <= number < nodes:
                at, gap = self.geometry.node(source + 1)
                mix(self, self.tables.nodes[number], self.nodes[at:], gap)
        del self.partials  # no gradient reads them
        return out if concat else out[-1]

    def source(self, number: int) -> tuple[Tensor, int]:
        """A flat tensor that begins where a source does, and how far apart its pixels are."""
        if number < self.shape.inputs:
            return self.inputs[number].view(-1), self.c
        at, gap = self.geometry.node(number)
        return self.nodes[at:], gap

    def maps(self, number: int) -> Tensor:
        """A source as a tensor `(batch, height, width, c)`."""
        flat, gap = self.source(number)
        h, w = self.geometry.sized(number)
        size, steps = (self.geometry.images, h, w, self.c), (h * w * gap, w * gap, gap, 1)
        return torch.as_strided(flat, size, steps, flat.storage_offset())

    def output(self, placed: Placed) -> Tensor:
        """A bundle's outputs `(groups, pixels, c)`; pooling has one group."""
        shared = placed.bundle.about.does in ("max", "mean")
        groups = 1 if shared else len(placed.bundle.edges)
        part = self.outputs[placed.y : placed.y + groups * self.geometry.node_map]
        return part.view(groups, -1, self.c)

    def role(self, placed: Placed, number: int) -> Tensor:
        """The weights of a role, `(groups, …)`, in the format of maps."""
        groups, role = len(placed.bundle.edges), placed.bundle.roles[number]
        start, size = placed.bundle.at[number], groups * torch.Size(role.shape).numel()
        part = self.weights[start : start + size].view(groups, *role.shape)
        return part.to(self.outputs.dtype)

    def half(self, placed: Placed, number: int) -> Half:
        """The first or the second convolution of a bundle."""
        bundle, about, inner = placed.bundle, placed.bundle.about, self.geometry.inner
        at, groups = bundle.at[2 * number : 2 * number + 2], len(bundle.edges)
        if number:
            x, own = self.outputs[placed.middle :], self.geometry.node_map
            conv = (about.size, 1, about.dilation)
            return Half(groups, x, own, self.c, inner, inner, conv, at, bundle.norms_at[0])
        x, gap = self.source(bundle.source)
        conv = (about.size, bundle.stride, about.dilation)
        size = self.geometry.sized(bundle.source)
        return Half(groups, x, 0, gap, size, inner, conv, at, None)

    def relu(self, placed: Placed) -> Tensor:
        """What an ordinary convolution sees, `(batch, c, height, width)` and channels-last."""
        maps = functional.relu(self.maps(placed.bundle.source)).permute(0, 3, 1, 2)
        return maps.contiguous(memory_format=torch.channels_last)

    def halves(self, placed: Placed) -> tuple[Tensor, Tensor]:
        """What the two products of a strided `skip_connect` see, each `(pixels, c)`."""
        even, odd = halves(self.maps(placed.bundle.source))
        return functional.relu(even).view(-1, self.c), functional.relu(odd).view(-1, self.c)

    def _bundle(self, placed: Placed) -> None:
        bundle, does = placed.bundle, placed.bundle.about.does
        if does in ("separable", "dilated"):
            self._separable(placed)
        elif does in ("max", "mean"):
            self._pool(placed)
        elif does == "convolution":
            self._convolution(placed)
        elif bundle.stride == 2:
            out = self.output(placed)
            for number, part in enumerate(self.halves(placed)):
                product = torch.matmul(part, self.role(placed, number))
                out[:, :, slice(self.c // 2, None) if number else slice(self.c // 2)] = product
            self._moments(placed)

    def _moments(self, placed: Placed) -> None:
        slot, groups = placed.bundle.norms_at[-1], len(placed.bundle.edges)
        moments(self.tile, self.output(placed), self.partials[slot:], groups, self.geometry.pixels)

    def _separable(self, placed: Placed) -> None:
        first, last = placed.bundle.norms_at[0], placed.bundle.norms_at[-1]
        if placed.bundle.about.does == "separable":
            forward(self, self.half(placed, 0), self.outputs[placed.middle :], first)
            statistics(self, self.tables.of(placed).opening)
            forward(self, self.half(placed, 1), self.outputs[placed.y :], last)
        else:
            forward(self, self.half(placed, 0), self.outputs[placed.y :], last)

    def _pool(self, placed: Placed) -> None:
        bundle = placed.bundle
        taken = None
        if bundle.about.does == "max":
            taken = torch.empty(
                self.geometry.node_map, dtype=torch.int8, device=self.weights.device
            )
            self.taken[placed.y] = taken
        x, gap = self.source(bundle.source)
        slot = bundle.norms_at[0] if bundle.norms else None
        pool(
            self, x, gap, self.geometry.sized(bundle.source), bundle.stride,
            self.outputs[placed.y :], taken, slot,
        )  # fmt: skip

    def _convolution(self, placed: Placed) -> None:
        bundle, out = placed.bundle, self.output(placed)
        kernel = self.role(placed, 0).flatten(0, 1)
        x = self.relu(placed)
        y = functional.conv2d(x, kernel, None, bundle.stride, bundle.about.size // 2)
        groups = y.permute(0, 2, 3, 1).reshape(-1, len(bundle.edges), self.c)
        out.copy_(groups.transpose(0, 1))
        self._moments(placed)
