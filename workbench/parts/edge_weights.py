"""Edge weights: how the edges into a node share its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class SoftmaxEdges:
    """softmax over the edges into a node, of betas that move with the alphas.

    Args:
        scale: standard deviation of the first betas.

    Xu et al., PC-DARTS, ICLR 2020, arXiv:1907.05737, on edge normalisation.
    """

    steady: ClassVar[bool] = True

    scale: float = 1e-3

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise ValueError(f"`SoftmaxEdges(scale={self.scale})` needs a scale of 0 or more")

    def first(self, alive: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian betas `(nodes, sources)`, drawn on the CPU; 0 where there is no edge."""
        return self.scale * torch.randn(alive.shape, generator=generator) * alive

    def mix(self, beta: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(nodes, sources)`; every row sums to 1."""
        return torch.softmax(beta.masked_fill(~alive, -torch.inf), dim=-1)


@dataclass(frozen=True)
class SimplexEdges:
    """The betas are weights already: divided by the sum of those alive, and that is all.

    They start equal.  For `ExponentiatedGradient`, which keeps every row on the simplex.

    Li et al., GAEA, ICLR 2021, arXiv:2004.07802.
    """

    steady: ClassVar[bool] = True

    def first(self, alive: Tensor, generator: torch.Generator) -> Tensor:
        """One over the node's in-degree for each of its edges, 0 elsewhere; nothing is drawn."""
        return alive / alive.sum(dim=-1, keepdim=True)

    def mix(self, beta: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(nodes, sources)`; every row sums to 1."""
        rows = beta * alive
        return rows / rows.sum(dim=-1, keepdim=True)
