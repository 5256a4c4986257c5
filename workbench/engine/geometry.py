"""Where the maps of a cell lie in memory, for pictures of one size."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from torch import Tensor

from workbench.engine.layout import Bundle, Layout

OUTPUTS, FIRST, SECOND, NODES = range(4)  # where a term lies; see `Geometry.nodes`


@dataclass(frozen=True)
class Terms:
    """What is summed into a node: one entry per alive operation of its edges.

    `edge` and `column` say which mixing weight, `base`, `at` and `gap` where the map is (see
    `kernels.mixing`), `normed` whether a batch norm `norm` stands behind it; `unit` is its place
    among all of the cell's.
    """

    edge: np.ndarray
    column: np.ndarray
    base: np.ndarray
    at: np.ndarray
    gap: np.ndarray
    normed: np.ndarray
    norm: np.ndarray
    unit: np.ndarray


class Past(NamedTuple):
    """What goes past the operations of a node's edges: as in `Terms`, one entry per edge."""

    edge: np.ndarray
    base: np.ndarray
    at: np.ndarray
    gap: np.ndarray


@dataclass(frozen=True)
class Placed:
    """A bundle and its maps: `y` is where its outputs begin, `middle` those of a first half.

    `units` are the places of its terms, `grad` where the gradients of their nodes begin.  `shape`
    is (groups, pictures, height, width, channels) of its input, `inner` that of its outputs, of
    which `starts` says where each begins in an array of them alone.
    """

    bundle: Bundle
    y: int
    middle: int
    units: slice
    grad: np.ndarray
    shape: tuple[int, ...]
    inner: tuple[int, ...]
    starts: np.ndarray

    @cached_property
    def at(self) -> np.ndarray:
        """Where each role's weights begin."""
        return np.array(self.bundle.at)

    @cached_property
    def only_adds(self) -> bool:
        """Whether its CPU kernel can only add to the gradient of its source, not write it."""
        about, strided = self.bundle.about, self.bundle.stride > 1
        if about.does == "convolution":
            return about.size > 1
        return about.does in ("max", "mean") or (about.does == "skip" and strided)


@dataclass(frozen=True)
class Geometry:
    """Offsets for inputs of `(images, height, width)`; operations' outputs fill `size` numbers.

    `on_device` holds what a device's kernels need of it in that device's memory.
    """

    layout: Layout
    images: int
    height: int
    width: int
    lanes: int
    on_device: dict[object, object] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def inner(self) -> tuple[int, int]:
        """Height and width of the nodes."""
        step = 2 if self.layout.reduction else 1
        return (self.height - 1) // step + 1, (self.width - 1) // step + 1

    @cached_property
    def pixels(self) -> int:
        """Pixels of a node, over all pictures: what a batch norm averages over."""
        return self.images * self.inner[0] * self.inner[1]

    @cached_property
    def node_map(self) -> int:
        """Numbers of a node, of channels that operations make."""
        return self.pixels * self.layout.channels

    def sized(self, source: int) -> tuple[int, int]:
        """Height and width of a source."""
        return (self.height, self.width) if source < self.layout.shape.inputs else self.inner

    def node(self, state: int) -> tuple[int, int]:
        """Where a node begins in the array of nodes, and how far apart its pixels are.

        Nodes that are concatenated lie side by side in the output; else one after the other.
        """
        shape, c = self.layout.shape, self.layout.width
        number = state - shape.inputs
        if shape.output == "concat":
            return number * c, shape.nodes * c
        return number * self.pixels * c, c

    @cached_property
    def placed(self) -> tuple[Placed, ...]:
        """Every bundle with its place."""
        out, y, unit = [], 0, 0
        shape = self.layout.shape
        for bundle in self.layout.bundles:
            groups, does = len(bundle.edges), bundle.about.does
            middle = y
            if does == "separable":
                y += groups * self.node_map
            grad = [(shape.edges[e][1] - shape.inputs) * self.node_map for e in bundle.edges]
            units, starts = slice(unit, unit + groups), np.arange(groups) * self.node_map
            whole, inner = (
                (groups, self.images, *size, self.layout.channels)
                for size in (self.sized(bundle.source), self.inner)
            )
            out.append(Placed(bundle, y, middle, units, np.array(grad), whole, inner, starts))
            unit += groups
            if does in ("max", "mean"):
                y += self.node_map
            elif not (does == "skip" and bundle.stride == 1):
                y += groups * self.node_map
        return tuple(out)

    @cached_property
    def by_source(self) -> tuple[tuple[Placed, ...], ...]:
        """The bundles of every state, inputs first."""
        states = range(self.layout.shape.inputs + self.layout.shape.nodes)
        return tuple(tuple(p for p in self.placed if p.bundle.source == s) for s in states)

    @cached_property
    def writers_first(self) -> tuple[tuple[Placed, ...], ...]:
        """The same; what can write its source's gradient goes before what only adds to it."""
        return tuple(tuple(sorted(here, key=attrgetter("only_adds"))) for here in self.by_source)

    @cached_property
    def units(self) -> int:
        """Alive operations of the cell, `none` not counted."""
        return self.placed[-1].units.stop if self.placed else 0

    @cached_property
    def size(self) -> int:
        """Numbers of all operations' outputs."""
        last = [self._end(placed) for placed in self.placed]
        return max(last, default=0)

    @property
    def room(self) -> int:
        """Numbers to ask for: of choices that differ from pass to pass often the same, to reuse."""
        step = 16 * self.node_map
        return -(-self.size // step) * step if self.layout.form.chosen else self.size

    def _end(self, placed: Placed) -> int:
        bundle = placed.bundle
        if bundle.about.does in ("max", "mean"):
            return placed.y + self.node_map
        plain = bundle.about.does == "skip" and bundle.stride == 1
        return placed.y + (0 if plain else len(bundle.edges) * self.node_map)

    @cached_property
    def nodes(self) -> tuple[Terms, ...]:
        """The terms of every node."""
        shape = self.layout.shape
        found: list[list[tuple[int, ...]]] = [[] for _ in range(shape.nodes)]
        for placed in self.placed:
            for g, edge in enumerate(placed.bundle.edges):
                node = shape.edges[edge][1] - shape.inputs
                found[node].append((edge, placed.bundle.column, *self._term(placed, g)))
        return tuple(_terms(rows) for rows in found)

    def _state(self, number: int) -> tuple[int, int, int]:
        """Base, at and gap of an input or a node."""
        if number < self.layout.shape.inputs:
            return FIRST + number, 0, self.layout.width
        return NODES, *self.node(number)

    @cached_property
    def past(self) -> tuple[Past, ...]:
        """What goes past operations into every node; see `engine.partial_pass`."""
        shape, c = self.layout.shape, self.layout.channels
        found: list[list[tuple[int, ...]]] = [[] for _ in range(shape.nodes)]
        for edge, (src, dst) in enumerate(shape.edges):
            base, at, gap = self._state(src)
            pooled = self.layout.reduction and src < shape.inputs
            place = (base, 0, self.layout.width - c) if pooled else (base, at + c, gap)
            found[dst - shape.inputs].append((edge, *place))
        return tuple(Past(*np.array(rows, dtype=np.int64).T.copy()) for rows in found)

    def _term(self, placed: Placed, g: int) -> tuple[int, ...]:
        """Base, at, gap, normed, norm, unit of a bundle's edge."""
        bundle, unit = placed.bundle, placed.units.start + g
        c = self.layout.channels
        if bundle.about.does == "skip" and bundle.stride == 1:
            return *self._state(bundle.source), 0, 0, unit
        shared = bundle.about.does in ("max", "mean")
        at = placed.y + (0 if shared else g * self.node_map)
        norm = bundle.norms_at[-1] + g if bundle.norms else 0
        return OUTPUTS, at, c, int(bool(bundle.norms)), norm, unit


def _terms(rows: list[tuple[int, ...]]) -> Terms:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 8).T
    return Terms(*(np.ascontiguousarray(column) for column in columns))


def refuse_one(pixels: int) -> None:
    """Refuse to normalise a single number.

    Raises:
        ValueError: if `pixels` is 1.
    """
    if pixels == 1:
        raise ValueError(
            "a batch norm needs more than one value per channel; give a larger batch or picture"
        )


def channels_last(x: Tensor) -> Tensor:
    """`(batch, c, height, width)` as contiguous `(batch, height, width, c)`."""
    return x.permute(0, 2, 3, 1).contiguous()
