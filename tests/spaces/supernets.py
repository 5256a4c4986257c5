"""Tiny supernets and random mixing weights for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from workbench.parts.edges import WeightedSum
from workbench.protocols import Mixture
from workbench.spaces.darts import OPS, darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import CellShape, Space
from workbench.spaces.supernet import SearchCell, Supernet

TINY = {
    "darts": darts(channels=2, cells=3, nodes=2),
    "nasbench201": nasbench201(channels=2, cells_per_stage=1),
}


def weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def supernet(space: Space, seed: int = 0) -> Supernet:
    torch.manual_seed(seed)
    return Supernet(space, edge=WeightedSum, classes=3)


def images(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def rows_of(space: Space, seed: int = 0) -> dict[str, Tensor]:
    """Random mixing weights `(edges, ops)`, leaves of a graph."""
    draw = torch.Generator().manual_seed(seed)
    return {
        cell.kind: torch.rand(len(cell.edges), len(cell.columns), generator=draw).requires_grad_()
        for cell in space.cells
    }


def mixed(rows: Mapping[str, Tensor]) -> dict[str, Mixture]:
    return {kind: Mixture(row) for kind, row in rows.items()}


def search_cells(net: Supernet) -> Iterator[SearchCell]:
    return (block for block in net.blocks if isinstance(block, SearchCell))


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def unequal_space() -> Space:
    """Every edge has candidates of its own."""
    ops = (OPS[3:5], OPS[:2], OPS[4:], OPS, OPS[3:4])
    cells = tuple(CellShape(kind, 2, 2, ops) for kind in ("normal", "reduce"))
    return replace(TINY["darts"], cells=cells)
