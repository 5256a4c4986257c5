"""First logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.protocols import SupernetLike
from workbench.spaces.space import Space


@dataclass(frozen=True)
class Normal:
    """Gaussian logits of standard deviation `scale`; DARTS: 1e-3 (arXiv:1806.09055).

    Args:
        mean: SNAS: 1 (arXiv:1812.09926); a softmax does not see it.
    """

    scale: float = 1e-3
    mean: float = 0.0

    def __call__(
        self, space: Space, net: SupernetLike, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """`{kind: (edges, ops)}`, drawn on the CPU so that every device starts the same."""
        return {
            cell.kind: self.mean
            + self.scale * torch.randn(len(cell.edges), len(cell.columns), generator=generator)
            for cell in space.cells
        }


@dataclass(frozen=True)
class Constant:
    """Equal logits: every relaxation starts uniform."""

    value: float = 0.0

    def __call__(
        self, space: Space, net: SupernetLike, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """`{kind: (edges, ops)}`."""
        return {
            cell.kind: torch.full((len(cell.edges), len(cell.columns)), self.value)
            for cell in space.cells
        }


@dataclass(frozen=True)
class Uniform:
    """The middle of the simplex: one over an edge's candidates for each, 0 for all others.

    Mixing weights, not logits: for `Simplex`.  Li et al., GAEA, ICLR 2021, arXiv:2004.07802.
    """

    def __call__(
        self, space: Space, net: SupernetLike, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """`{kind: (edges, ops)}`."""
        rows = {cell.kind: torch.tensor(cell.candidates).float() for cell in space.cells}
        return {kind: each / each.sum(dim=1, keepdim=True) for kind, each in rows.items()}
