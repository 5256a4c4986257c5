"""The readable supernet: every candidate operation on every edge, mixed by weights it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from workbench.protocols import Edge, MixedEdge, Mixture, Mixtures, said
from workbench.spaces.ops import Activation, op_factory
from workbench.spaces.skeleton import Head, Place, ResidualBlock, Stem, places, preprocess
from workbench.spaces.space import CellShape, Space

Runs = Sequence[Sequence[bool]]  # (edges, ops) of one kind of cell


class Supernet(nn.Module):
    """The supernet of `space`.  It owns weights only; alphas come in as `mixtures`.

    Batch norms inside cells have no scale and shift, pooling is followed by one in the DARTS
    family: both keep an operation from outweighing its mixing weight.

    Args:
        edge: builds one mixed edge.
        activation: ReLU; a smooth one for exact second-order tests.
    """

    def __init__(
        self,
        space: Space,
        *,
        edge: Edge,
        in_channels: int = 3,
        classes: int = 10,
        activation: Activation = nn.ReLU,
    ) -> None:
        super().__init__()
        self.space, self.activation = space, activation
        self.stem = Stem(in_channels, space.stem_channels, "small", activation)
        widths = (space.stem_channels, space.stem_channels)
        self.blocks = nn.ModuleList()
        channels = space.stem_channels
        for place in places(space.layers, widths, lambda kind: len(space.cell(kind).outputs)):
            kind, channels = place.layer.kind, place.layer.channels
            if kind is None:
                self.blocks.append(ResidualBlock(place.c_previous, channels, activation))
                continue
            shape = space.cell(kind)
            self.blocks.append(SearchCell(shape, place, edge, space.family, activation))
            channels *= len(shape.outputs)
        self.head = Head(
            channels, classes, norm=space.family == "nasbench201", activation=activation
        )

    def forward(self, images: Tensor, mixtures: Mixtures, t: float = 0.0) -> Tensor:
        """Logits `(batch, classes)` of `images` `(batch, channels, height, width)`.

        Args:
            mixtures: mixing weights per kind of cell.
            t: progress of the stage in [0, 1], for edges that change over it.
        """
        far, near = self.stem(images)
        rows = {kind: mixture.ops.unbind(0) for kind, mixture in mixtures.items()}
        cells = (block for block in self.blocks if isinstance(block, SearchCell))
        runs = read_choice(mixtures) if any(any(cell.choosing) for cell in cells) else {}
        for block in self.blocks:
            if isinstance(block, SearchCell):
                mixture = mixtures[block.kind]
                out = block((far, near), rows[block.kind], mixture.edges, t, runs.get(block.kind))
            else:
                out = block(near)
            far, near = near, out
        return self.head(near)

    def drop(self, alive: Mapping[str, Tensor]) -> dict[Tensor, Tensor]:
        """Delete the modules of operations that `alive` (`{kind: bool (edges, ops)}`) rules out.

        The outputs are those of the full supernet whose mixing weights are exactly 0 there.

        Returns:
            For every parameter that shrank, which of its numbers are left: for none, here.
        """
        rows = {kind: mask.tolist() for kind, mask in alive.items()}
        for block in self.blocks:
            if isinstance(block, SearchCell):
                block.drop(rows[block.kind])
        return {}

    def uniform_mixtures(self) -> dict[str, Mixture]:
        """Equal mixing weights for the candidates of every edge."""
        out = {}
        for cell in self.space.cells:
            mask = torch.tensor(cell.candidates, dtype=torch.get_default_dtype())
            out[cell.kind] = Mixture(mask / mask.sum(dim=1, keepdim=True))
        return out


class SearchCell(nn.Module):
    """A cell with every candidate on every edge."""

    def __init__(
        self, shape: CellShape, place: Place, edge: Edge, family: str, activation: Activation
    ) -> None:
        super().__init__()
        self.kind = shape.kind
        self.shape = shape
        self.preprocess = (
            preprocess(place, False, activation) if shape.inputs == 2 else nn.ModuleList()
        )
        self.columns = [
            tuple(shape.columns.index(op) for op in ops) if ops != shape.columns else None
            for ops in shape.ops
        ]
        self.edges = nn.ModuleList()
        for (src, _), ops in zip(shape.edges, shape.ops, strict=True):
            stride = 2 if place.layer.reduction and src < shape.inputs else 1
            factories = {
                op: op_factory(op, affine=False, pool_norm=family == "darts", activation=activation)
                for op in ops
            }
            self.edges.append(edge(factories, place.layer.channels, stride))
        # Which are to be told what of their row is not 0: asked once, not in every pass.
        self.choosing = [bool(said(edge, "chooses")) for edge in self.edges]

    def forward(
        self,
        inputs: Sequence[Tensor],
        rows: Sequence[Tensor],
        edge_weights: Tensor | None,
        t: float,
        runs: Runs | None = None,
    ) -> Tensor:
        """Output of the cell for the two maps before it and mixing weights `rows` per edge.

        Args:
            runs: which of `rows` are not 0, for edges that choose; they read their own without it.
        """
        inputs = inputs[-self.shape.inputs :]
        states = (
            [layer(x) for layer, x in zip(self.preprocess, inputs, strict=True)]
            if self.preprocess
            else list(inputs)
        )
        into: dict[int, list[Tensor]] = {}
        for index, (src, dst) in enumerate(self.shape.edges):
            if len(states) <= src:
                states.append(_total(into[len(states)]))
            row, columns = rows[index], self.columns[index]
            if columns is not None:
                row = torch.stack([row[column] for column in columns])
            told = (_at(runs[index], columns),) if runs and self.choosing[index] else ()
            out = self.edges[index](states[src], row, t, *told)
            into.setdefault(dst, []).append(
                out if edge_weights is None else edge_weights[index] * out
            )
        states.append(_total(into[len(states)]))
        if self.shape.output == "last":
            return states[-1]
        return torch.cat(states[self.shape.inputs :], dim=1)

    def drop(self, alive: Sequence[Sequence[bool]]) -> None:
        """Delete dead operations; `alive` is `(edges, columns)`."""
        for edge, row, columns in zip(self.edges, alive, self.columns, strict=True):
            cast("MixedEdge", edge).drop(_at(row, columns))  # nn.ModuleList does not know its items


def _at(row: Sequence[bool], columns: Sequence[int] | None) -> Sequence[bool]:
    return row if columns is None else [row[column] for column in columns]


def read_choice(mixtures: Mixtures) -> dict[str, Runs]:
    """Which mixing weights are not 0, of all kinds in one read: a GPU is waited for once."""
    masks = {kind: mixture.ops != 0 for kind, mixture in mixtures.items()}
    known = (
        torch.cat([mask.flatten() for mask in masks.values()])
        .cpu()
        .split([mask.numel() for mask in masks.values()])
    )
    return {
        kind: part.view_as(mask).tolist()
        for (kind, mask), part in zip(masks.items(), known, strict=True)
    }


def _total(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
