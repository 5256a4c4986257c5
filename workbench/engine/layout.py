"""Where the weights of a cell lie when they are packed: by source, operation, role and edge.

All edges that leave one source with the same operation are a `Bundle`, worked on in one go.  Its
weights stand one role after the other, in each role edge after edge, in one flat array for the
whole cell.  Roles carry the names of the readable supernet's modules, so that either state can be
written as the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Literal

import torch
from torch import Tensor

from workbench.protocols import EdgeForm
from workbench.spaces.space import CellShape

Form = Literal["taps", "matrix", "whole"]


@dataclass(frozen=True)
class Op:
    """What an operation does between its source and its batch norm.

    `does` names the kind; `size` is its kernel's side and `dilation` its dilation.
    """

    does: Literal["separable", "dilated", "max", "mean", "skip", "convolution", "none"]
    size: int = 1
    dilation: int = 1


BESIDE = "a skip beside them"  # no candidate: `EdgeForm.skip`
OPS: dict[str, Op] = {
    BESIDE: Op("skip"),
    "none": Op("none"),
    "max_pool_3x3": Op("max", 3),
    "avg_pool_3x3": Op("mean", 3),
    "skip_connect": Op("skip"),
    "sep_conv_3x3": Op("separable", 3),
    "sep_conv_5x5": Op("separable", 5),
    "sep_conv_7x7": Op("separable", 7),
    "dil_conv_3x3": Op("dilated", 3, 2),
    "dil_conv_5x5": Op("dilated", 5, 2),
    "nor_conv_1x1": Op("convolution", 1),
    "nor_conv_3x3": Op("convolution", 3),
}


@dataclass(frozen=True)
class Role:
    """One weight of an operation: its name there, how it is packed, and its packed shape."""

    name: str
    form: Form
    shape: tuple[int, ...]

    def pack(self, weight: Tensor) -> Tensor:
        """The packed numbers, flat, of a readable weight."""
        if self.form == "taps":  # (c, 1, k, k) -> (k k, c)
            weight = weight.flatten(1).t()
        elif self.form == "matrix":  # (out, in, 1, 1) -> (in, out)
            weight = weight.flatten(1).t()
        return weight.reshape(-1)

    def unpack(self, packed: Tensor) -> Tensor:
        """The readable weight of packed numbers."""
        if self.form == "whole":
            return packed.reshape(self.shape)
        rows = packed.reshape(self.shape).t()
        if self.form == "matrix":
            return rows[:, :, None, None].contiguous()
        side = int(rows.shape[1] ** 0.5)
        return rows.reshape(rows.shape[0], 1, side, side)


@dataclass(frozen=True)
class Bundle:
    """The alive edges that leave `source` with operation `op`.

    Args:
        edges: their indices; `column` is the operation's place in a row of mixing weights.
        roles: weights, `at` where each begins in the cell's flat array.
        norms: names of the batch norms, `norms_at` the number of the first edge's of each.
    """

    source: int
    op: str
    stride: int
    edges: tuple[int, ...]
    column: int
    roles: tuple[Role, ...]
    at: tuple[int, ...]
    norms: tuple[str, ...]
    norms_at: tuple[int, ...]

    @cached_property
    def about(self) -> Op:
        """What the operation does."""
        return OPS[self.op]


@dataclass(frozen=True)
class Layout:
    """All bundles of a cell, by source."""

    shape: CellShape
    channels: int
    reduction: bool
    family: str
    bundles: tuple[Bundle, ...]
    size: int
    norms: int
    form: EdgeForm = EdgeForm()  # noqa: RUF009 - frozen

    @property
    def width(self) -> int:
        """Channels of a map, of which `channels` go through operations."""
        return self.channels * self.form.k

    @property
    def columns(self) -> int:
        """Numbers in a row of mixing weights: of candidates and what stands behind them."""
        return len(self.shape.columns) + len(self.form.more(0.0))

    @cached_property
    def places(self) -> Mapping[str, tuple[int, Role]]:
        """Where each weight begins, by the readable supernet's name within the cell."""
        return {
            self._name(bundle, edge, role.name) + ".weight": (at + g * prod(role.shape), role)
            for bundle in self.bundles
            for role, at in zip(bundle.roles, bundle.at, strict=True)
            for g, edge in enumerate(bundle.edges)
        }

    @cached_property
    def norm_places(self) -> Mapping[str, int]:
        """The number of each batch norm, by the readable supernet's name within the cell."""
        return {
            self._name(bundle, edge, norm): at + g
            for bundle in self.bundles
            for norm, at in zip(bundle.norms, bundle.norms_at, strict=True)
            for g, edge in enumerate(bundle.edges)
        }

    @cached_property
    def norm_rows(self) -> tuple[int, ...]:
        """The place of each batch norm's operation in all rows of mixing weights, end to end."""
        found = {
            at + g: edge * self.columns + bundle.column
            for bundle in self.bundles
            for at in bundle.norms_at
            for g, edge in enumerate(bundle.edges)
        }
        return tuple(found[number] for number in range(self.norms))

    def _name(self, bundle: Bundle, edge: int, part: str) -> str:
        if bundle.op == BESIDE:
            return f"edges.{edge}.{self.form.skip}.{part}"
        return f"edges.{edge}.{self.form.ops}.{bundle.op}.{part}"

    def only(self, runs: Sequence[Sequence[bool]]) -> Layout:
        """This one where only operations are that run; their weights and norms stay in place.

        Args:
            runs: `(edges, ops)`.
        """
        left = [one for one in self.singles if one.op == BESIDE or runs[one.edges[0]][one.column]]
        return self if len(left) == len(self.singles) else replace(self, bundles=tuple(left))

    @cached_property
    def singles(self) -> tuple[Bundle, ...]:
        """Every edge of every bundle as a bundle of its own."""
        return tuple(_alone(b, g) for b in self.bundles for g in range(len(b.edges)))

    def kept(self, smaller: Layout) -> tuple[Tensor, Tensor]:
        """Which weights `(smaller.size,)` and which norms `(smaller.norms,)` are left."""
        weights = [
            torch.arange(start, start + prod(role.shape))
            for start, role in (self.places[name] for name in smaller.places)
        ]
        norms = [self.norm_places[name] for name in smaller.norm_places]
        none = torch.empty(0, dtype=torch.long)
        return torch.cat([none, *weights]), torch.tensor(norms, dtype=torch.long)


def _alone(bundle: Bundle, g: int) -> Bundle:
    """One edge of a bundle, whose weights lie where they did."""
    return replace(
        bundle,
        edges=bundle.edges[g : g + 1],
        at=tuple(at + g * prod(r.shape) for r, at in zip(bundle.roles, bundle.at, strict=True)),
        norms_at=tuple(at + g for at in bundle.norms_at),
    )


def layout(
    shape: CellShape,
    channels: int,
    reduction: bool,
    family: str,
    alive: Sequence[Sequence[str]],
    form: EdgeForm = EdgeForm(),  # noqa: B008 - frozen
) -> Layout:
    """The layout of a cell whose edges hold the operations `alive`.

    Args:
        channels: of a map that operations are given.
        form: of every edge.
    """
    alive = [(*ops, *([BESIDE] if form.skip else [])) for ops in alive]
    bundles: list[Bundle] = []
    size = norms = 0
    ends = shape.inputs + shape.nodes
    for source in range(ends):
        stride = 2 if reduction and source < shape.inputs else 1
        leaving = [e for e, (src, _) in enumerate(shape.edges) if src == source]
        for op in dict.fromkeys(op for edge in leaving for op in alive[edge]):
            if op == "none":
                continue
            edges = tuple(e for e in leaving if op in alive[e])
            roles, names = _parts(op, channels, stride, family)
            at, norms_at = [], []
            for role in roles:
                at.append(size)
                size += len(edges) * prod(role.shape)
            for _ in names:
                norms_at.append(norms)
                norms += len(edges)
            column, places = (*shape.columns, BESIDE).index(op), (tuple(at), names, tuple(norms_at))
            bundles.append(Bundle(source, op, stride, edges, column, roles, *places))
    return Layout(shape, channels, reduction, family, tuple(bundles), size, norms, form)


def _parts(op: str, c: int, stride: int, family: str) -> tuple[tuple[Role, ...], tuple[str, ...]]:
    """Weights and batch norms of an operation, named as in `spaces.ops`."""
    about = OPS[op]
    taps, matrix = (about.size * about.size, c), (c, c)
    if about.does == "separable":
        roles = (
            Role("1", "taps", taps), Role("2", "matrix", matrix),
            Role("5", "taps", taps), Role("6", "matrix", matrix),
        )  # fmt: skip
        return roles, ("3", "7")
    if about.does == "dilated":
        return (Role("1", "taps", taps), Role("2", "matrix", matrix)), ("3",)
    if about.does in ("max", "mean"):
        return (), ("1",) if family == "darts" else ()
    if about.does == "skip":
        half = c // 2
        roles = (Role("even", "matrix", (c, half)), Role("odd", "matrix", (c, c - half)))
        return (roles, ("norm",)) if stride == 2 else ((), ())
    return (Role("1", "whole", (c, c, about.size, about.size)),), ("2",)
