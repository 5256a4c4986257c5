"""What GPU kernels read of a cell's geometry, in the GPU's memory, and how its work is cut up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench.engine.geometry import NODES, Geometry, Placed

# Numbers of a tile, pixels times channels.  With 256 threads a tile is 8 registers of a thread, and
# a row of seven taps, whose loads are all under way at once, 56: ptxas counts 60 to 110 for sm_90
# in float32, so that two to four such programs share the 65,536 registers of a multiprocessor and
# hide each other's latencies.  With 128 threads it counted 90 to 230.
NUMBERS = 2_048
WARPS = 8

# Arguments that differ from cell to cell and from batch to batch: no kernel is compiled anew for
# one that is 1 or that 16 divides.  Those that vectors are loaded by are not among them.
COUNTS = (
    "norm", "taps", "matrix", "slot", "groups", "height", "width", "h", "wide", "count", "pixels",
    "blocks", "terms", "product_step", "total_first", "total_step", "e0", "e1", "e2", "e3",
)  # fmt: skip


@dataclass(frozen=True)
class Tile:
    """The pixels that one program works on, for maps of `channels`.

    A matrix product needs 16 of either at least, and powers of two.
    """

    channels: int

    @cached_property
    def padded(self) -> int:
        """Channels of a tile; what is above the map's own is masked out."""
        return max(16, triton.next_power_of_2(self.channels))

    @cached_property
    def pixels(self) -> int:
        """Pixels of a tile."""
        return max(16, NUMBERS // self.padded)

    def blocks(self, pixels: int) -> int:
        """How many programs `pixels` take."""
        return triton.cdiv(pixels, self.pixels)

    @cached_property
    def meta(self) -> dict[str, int]:
        """What every kernel is compiled for."""
        sizes = {"P": self.pixels, "C": self.channels, "CB": self.padded}
        return {**sizes, "num_warps": WARPS}


def accumulator(dtype: torch.dtype) -> tl.dtype:
    """What maps of `dtype` are added up in."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def precision(dtype: torch.dtype) -> str:
    """How a matrix product rounds the factors it is given."""
    exact = dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest"
    return "ieee" if exact else "tf32"


@dataclass(frozen=True)
class NodeTable:
    """The terms of a node, sorted by the array they lie in.

    `terms` int64 `(5, terms)` says where each begins, how far apart its pixels are, its batch norm
    (-1: none), the place of its mixing weight in the flattened rows, and its unit (see
    `geometry.Terms`).  Those of array b end before `ends[b]`.
    """

    terms: Tensor
    ends: tuple[int, int, int, int]

    def __len__(self) -> int:
        return self.ends[-1]


@dataclass(frozen=True)
class BundleTable:
    """Of a bundle's groups, int64.

    `grad` `(groups,)` is where the gradients of their nodes begin, `own` where maps of their own
    do.  Of the batch norms between two halves `middle` is a `NodeTable.terms`, and `opening` is as
    `Tables.closing`.
    """

    grad: Tensor
    own: Tensor
    middle: Tensor
    opening: Tensor


class Tables:
    """Index tensors of one geometry; made once, since making them copies to the device.

    `closing[s]` int64 `(norms, 2)` holds the last batch norms of what leaves source s: the slot
    that the moments lie in, and the norm's number.
    """

    def __init__(self, geometry: Geometry, device: torch.device) -> None:
        self._geometry, self._device = geometry, device
        self.nodes = tuple(self._node(number) for number in range(len(geometry.nodes)))
        # By unit: a plain skip, which writes nothing, lies where the bundle after it does.
        self._bundles = {placed.units.start: self._bundle(placed) for placed in geometry.placed}
        self.closing = tuple(
            self._tensor([pair for placed in here for pair in self._norms(placed, -1)])
            for here in geometry.by_source
        )

    def of(self, placed: Placed) -> BundleTable:
        """The table of a bundle."""
        return self._bundles[placed.units.start]

    def _tensor(self, numbers: object) -> Tensor:
        return torch.tensor(np.array(numbers, dtype=np.int64), device=self._device)

    @staticmethod
    def _norms(placed: Placed, which: int) -> Sequence[tuple[int, int]]:
        """Slot and number of the first or the last batch norms of a bundle."""
        bundle = placed.bundle
        if not bundle.norms:
            return []
        first = bundle.norms_at[which]
        shared = bundle.about.does in ("max", "mean")
        return [(first + (0 if shared else g), first + g) for g in range(len(bundle.edges))]

    def _node(self, number: int) -> NodeTable:
        terms = self._geometry.nodes[number]
        order = np.argsort(terms.base, kind="stable")
        place = terms.edge * self._geometry.layout.columns + terms.column
        norm = np.where(terms.normed > 0, terms.norm, -1)
        columns = [x[order] for x in (terms.at, terms.gap, norm, place, terms.unit)]
        ends = [int((terms.base <= base).sum()) for base in range(NODES + 1)]
        return NodeTable(self._tensor(columns), (ends[0], ends[1], ends[2], ends[3]))

    def _bundle(self, placed: Placed) -> BundleTable:
        bundle, each = placed.bundle, np.arange(len(placed.bundle.edges))
        own = each * self._geometry.node_map
        norm = (bundle.norms_at[0] if bundle.norms else 0) + each
        middle = [own, np.full_like(own, self._geometry.layout.channels), norm, each, each]
        numbers = placed.grad, own, middle, self._norms(placed, 0)
        return BundleTable(*(self._tensor(part) for part in numbers))


def tables(geometry: Geometry, device: torch.device) -> Tables:
    """The tables of a geometry on a device, which keeps them."""
    held = geometry.on_device.get(device)
    if not isinstance(held, Tables):
        held = geometry.on_device[device] = Tables(geometry, device)
    return held
