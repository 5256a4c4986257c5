"""A packed cell in torch operations: all edges of a source in one grouped convolution.

It runs on every device, in every number format, and can be differentiated any number of times.
Mixing weights enter as the scale of the last batch norm, so no normalised map is scaled again.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from workbench.engine.layout import Bundle
from workbench.engine.partial import passing, woven

if TYPE_CHECKING:
    from workbench.engine.packed import PackedCell


def batched_cell(
    cell: PackedCell, inputs: Sequence[Tensor], rows: Tensor, weights: Tensor
) -> Tensor:
    """Output `(batch, h, w, nodes c)` of channels-last `inputs` under mixing weights `rows`."""
    shape, k = cell.shape, cell.layout.form.k
    states = [x.permute(0, 3, 1, 2) for x in inputs]
    nodes: dict[int, Tensor] = {}
    rests: dict[int, Tensor] = {}
    for source in range(shape.inputs + shape.nodes):
        if source >= shape.inputs:
            node = nodes[source] if source in nodes else _no_input(cell, states)
            states.append(woven(node, rests[source], k) if k > 1 else node)
        mine = [bundle for bundle in cell.layout.bundles if bundle.source == source]
        x = states[source][:, : cell.layout.channels]
        relu = functional.relu(x) if any(bundle.roles for bundle in mine) else None
        for bundle in mine:
            terms = _Terms(cell, bundle, rows, weights)(x, relu)
            for edge, term in zip(bundle.edges, terms, strict=True):
                _add(nodes, shape.edges[edge][1], term)
        leaving = [e for e, (src, _) in enumerate(shape.edges) if src == source and k > 1]
        if leaving:
            past = passing(cell.layout, states[source], source)
            for edge in leaving:
                _add(rests, shape.edges[edge][1], rows[edge, -1] * past)
    out = states[-1] if shape.output == "last" else torch.cat(states[shape.inputs :], dim=1)
    return out.permute(0, 2, 3, 1).contiguous()


def _add(nodes: dict[int, Tensor], node: int, term: Tensor) -> None:
    nodes[node] = nodes[node] + term if node in nodes else term


def _no_input(cell: PackedCell, states: Sequence[Tensor]) -> Tensor:
    """Zeros: the node all of whose edges hold `none`."""
    n, _, h, w = states[-1].shape
    first = len(states) == cell.shape.inputs and cell.layout.reduction
    size = ((h + 1) // 2, (w + 1) // 2) if first else (h, w)
    return states[-1].new_zeros(n, cell.layout.channels, *size)


class _Terms:
    """The outputs of one bundle, batch-normed and mixed: `(batch, c, h, w)` for each edge."""

    def __init__(self, cell: PackedCell, bundle: Bundle, rows: Tensor, weights: Tensor) -> None:
        self.cell, self.bundle, self.weights = cell, bundle, weights
        self.groups, self.c = len(bundle.edges), cell.layout.channels
        self.mix = self._mix(rows)  # (groups,)

    def __call__(self, x: Tensor, relu: Tensor | None) -> Sequence[Tensor]:
        about, stride = self.bundle.about, self.bundle.stride
        if about.does == "skip" and stride == 1:
            return [weight * x for weight in self.mix]
        if about.does == "max":
            return self._shared(functional.max_pool2d(x, 3, stride, 1))
        if about.does == "mean":
            pooled = functional.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
            return self._shared(pooled)
        assert relu is not None
        if about.does == "skip":
            return self._normed(self._halve(relu), 0, self.mix)
        if about.does == "convolution":
            kernel = self._role(0).flatten(0, 1)
            y = functional.conv2d(relu, kernel, None, stride, about.size // 2)
            return self._normed(y, 0, self.mix)
        wide = relu.repeat(1, self.groups, 1, 1)
        y = self._depthwise_pointwise(wide, 0, stride)
        if about.does == "separable":
            y = functional.relu(self._norm(y, 0, None))
            y = self._depthwise_pointwise(y, 2, 1)
        return self._normed(y, len(self.bundle.norms) - 1, self.mix)

    def _mix(self, rows: Tensor) -> Tensor:
        """The mixing weights of the bundle's edges."""
        edges, column = self.bundle.edges, rows[:, self.bundle.column]
        if len(edges) == 1:  # no indices to copy: chosen ones are others each time
            return column[edges[0] : edges[0] + 1]
        return column[self.cell.indices(edges)]

    def _role(self, number: int) -> Tensor:
        """The packed weights of a role, `(groups, …)`."""
        role, at = self.bundle.roles[number], self.bundle.at[number]
        part = self.weights[at : at + self.groups * prod(role.shape)]
        return part.view(self.groups, *role.shape)

    def _depthwise_pointwise(self, x: Tensor, number: int, stride: int) -> Tensor:
        """`(batch, groups c, h, w)` of the same."""
        about, many = self.bundle.about, self.groups * self.c
        taps = self._role(number).transpose(1, 2).reshape(many, 1, about.size, about.size)
        padding = about.dilation * (about.size // 2)
        x = functional.conv2d(x, taps, None, stride, padding, about.dilation, many)
        matrix = self._role(number + 1).transpose(1, 2).reshape(many, self.c, 1, 1)
        return functional.conv2d(x, matrix, groups=self.groups)

    def _halve(self, relu: Tensor) -> Tensor:
        """`skip_connect` with stride 2 of every edge, as in `spaces.ops.FactorizedReduce`."""
        odd = relu[:, :, 1:, 1:]
        high, wide = relu.shape[2] % 2, relu.shape[3] % 2
        odd = functional.pad(odd, (0, wide, 0, high)) if high or wide else odd
        parts = []
        for number, part in enumerate((relu, odd)):
            matrix = self._role(number).transpose(1, 2).flatten(0, 1)[:, :, None, None]
            y = functional.conv2d(part[:, :, ::2, ::2], matrix)  # see FactorizedReduce
            parts.append(y.unflatten(1, (self.groups, -1)))
        return torch.cat(parts, dim=2).flatten(1, 2)

    def _normed(self, y: Tensor, number: int, mix: Tensor | None) -> Sequence[Tensor]:
        """Batch norm of every group of `y` `(batch, groups c, h, w)`, scaled by `mix`."""
        # In float32 also where y is bfloat16, as statistics are.
        scale = None if mix is None else mix.to(self.weights.dtype).repeat_interleave(self.c)
        return self._norm(y, number, scale).chunk(self.groups, dim=1)

    def _norm(self, y: Tensor, number: int, scale: Tensor | None) -> Tensor:
        norms, first = self.cell.norms, self.bundle.norms_at[number] * self.c
        part = slice(first, first + y.shape[1])
        assert norms.running_mean is not None
        assert norms.running_var is not None
        if not self.cell.training:
            mean, var = norms.running_mean[part], norms.running_var[part]
            return functional.batch_norm(y, mean, var, scale, None, False, 0.0, norms.eps)
        mean = norms.running_mean[part] if norms.track_running_stats else None
        var = norms.running_var[part] if norms.track_running_stats else None
        return functional.batch_norm(
            y, mean, var, scale, None, True, norms.momentum or 0.0, norms.eps
        )

    def _shared(self, pooled: Tensor) -> Sequence[Tensor]:
        """One pooled map for all edges: normed once, weighed by each."""
        if not self.bundle.norms:
            return [weight * pooled for weight in self.mix]
        if not self.cell.training:
            return self._normed(pooled.repeat(1, self.groups, 1, 1), 0, self.mix)
        first = self.bundle.norms_at[0]
        # `.data`: the graph keeps running statistics, and would take the write below for a change.
        mine = [running.data[first : first + self.groups] for running in self.cell.statistics()]
        old = [running.clone() for running in mine]
        normed = self._norm(pooled, 0, None)
        if self.cell.norms.track_running_stats:
            self._follow_first(mine, old)
        return [weight * normed for weight in self.mix]

    def _follow_first(self, running: Sequence[Tensor], old: Sequence[Tensor]) -> None:
        """The other edges' running statistics see the batch that the first one's saw."""
        keep = 1 - (self.cell.norms.momentum or 0.0)
        for new, before in zip(running, old, strict=True):
            new[1:] = keep * before[1:] + (new[0] - keep * before[0])
