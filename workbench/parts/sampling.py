"""Relaxations that draw: an operation, or nearly one, for every forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from workbench.parts.schedules import Scalar, scalar_at, scalar_range
from workbench.protocols import RowSum


@dataclass(frozen=True)
class Concrete:
    """A draw from the concrete distribution, differentiable in the logits.

    z = softmax((logits + g) / tau),   g = -log(-log u),   u uniform in (0, 1)

    The logits are SNAS's log alpha.  At a high temperature tau every draw is nearly uniform, at a
    low one nearly one-hot; at any tau the largest of a draw is operation i with the probability
    softmax(logits)_i, which is also what is recorded and derived from.  One draw is shared by all
    cells of a kind.

    Args:
        temperature: above 0; a schedule runs over the steps of a stage (the released code's is
            constant within an epoch).

    Raises:
        ValueError: if the temperature is, or comes, to 0 or below.

    Xie et al., SNAS, ICLR 2019, arXiv:1812.09926; Maddison et al., arXiv:1611.00712.
    """

    row_sum: ClassVar[RowSum] = "one"

    temperature: Scalar

    def __post_init__(self) -> None:
        _warm("Concrete", self.temperature)

    @property
    def steady(self) -> bool:
        """Whether it is the same at every `t`."""
        return not callable(self.temperature)

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(edges, ops)`: how probable each operation is."""
        return torch.softmax(_masked(logits, alive), dim=-1)

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """`(edges, ops)`; every row is drawn by itself and sums to 1."""
        return _draw(logits, alive, scalar_at(self.temperature, t), generator)


@dataclass(frozen=True)
class HardConcrete:
    """One operation per edge: a concrete draw made one-hot, with the gradient of the soft one.

    one_hot(argmax z) + z - stopped(z),   z = softmax((logits + g) / tau)

    The value is exactly one-hot, so that an edge may run the chosen operation alone; the chosen one
    is i with the probability softmax(logits)_i at any temperature tau, which only scales the
    gradient.  Nothing has to be drawn again: the noise is finite whatever the generator gives.

    Args:
        temperature: above 0; a schedule runs over the steps of a stage (the released code's is
            constant within an epoch).

    Raises:
        ValueError: if the temperature is, or comes, to 0 or below.

    Dong and Yang, GDAS, CVPR 2019, arXiv:1910.04465.
    """

    row_sum: ClassVar[RowSum] = "one"

    temperature: Scalar

    def __post_init__(self) -> None:
        _warm("HardConcrete", self.temperature)

    @property
    def steady(self) -> bool:
        """Whether it is the same at every `t`."""
        return not callable(self.temperature)

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(edges, ops)`: how probable each operation is."""
        return torch.softmax(_masked(logits, alive), dim=-1)

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """`(edges, ops)`: a single 1 in every row, 0 elsewhere."""
        soft = _draw(logits, alive, scalar_at(self.temperature, t), generator)
        chosen = soft.argmax(dim=-1, keepdim=True)
        one_hot = torch.zeros_like(soft).scatter_(-1, chosen, 1.0)
        return one_hot + (soft - soft.detach())  # in this order the value is exact


def _draw(logits: Tensor, alive: Tensor, tau: float, generator: torch.Generator) -> Tensor:
    """-log of an exponential number is a Gumbel number; 0, which could be drawn, has no log."""
    waits = torch.empty_like(logits).exponential_(generator=generator)
    noise = -waits.clamp_(min=torch.finfo(waits.dtype).tiny).log()
    return torch.softmax((_masked(logits, alive) + noise) / tau, dim=-1)


def _masked(logits: Tensor, alive: Tensor) -> Tensor:
    """-inf where not alive, in the forward only."""
    return logits.masked_fill(~alive, -torch.inf)


def _warm(name: str, temperature: Scalar) -> None:
    if scalar_range(temperature)[0] <= 0:
        raise ValueError(f"`{name}(temperature={temperature})` needs temperatures above 0")
