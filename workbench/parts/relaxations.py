"""Relaxations: from logits to mixing weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from entmax import entmax15, entmax_bisect, sparsemax
from torch import Tensor

from workbench.parts.schedules import Scalar, scalar_at, scalar_range


@dataclass(frozen=True)
class Softmax:
    """softmax over the operations of an edge: DARTS, arXiv:1806.09055, eq. 2."""

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(edges, ops)`; every row sums to 1."""
        return torch.softmax(_masked(logits, alive), dim=-1)

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """The same: nothing is drawn."""
        return self.mix(logits, alive, t)


@dataclass(frozen=True)
class Entmax:
    """α-entmax over the operations of an edge: sparse, with exact zeros above order 1.

    p = argmax over the simplex of p·z + H_alpha(p),   p_i = [(alpha - 1) z_i - tau]_+^(1/(alpha-1))

    Computed in float64, so that a zero is a zero and not the solver's noise: closed forms at order
    1 (softmax), 1.5 and 2 (sparsemax), bisection otherwise.  Above order 2 the gradient of a small
    weight grows like p^(2 - alpha).  Order 4 and more prunes at the usual 1e-3 initial logits.

    Args:
        alpha: order, at least 1; a schedule goes from dense to sparse over the search (the future
            work of paper B).

    Raises:
        ValueError: if the order is, or comes, below 1.

    Peters et al., Sparse Sequence-to-Sequence Models, ACL 2019, arXiv:1905.05702; used for search
    by Bezirganyan and Akarmazyan, doi:10.54503/2579-2903-2022.1-203.
    """

    alpha: Scalar = 2.0

    def __post_init__(self) -> None:
        if scalar_range(self.alpha)[0] < 1:
            raise ValueError(
                f"`Entmax(alpha={self.alpha})` goes below order 1, where softmax is; "
                "choose 1 or more (paper B: 2 or 3)"
            )

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(edges, ops)` in float64; every row sums to 1."""
        z, order = _masked(logits.double(), alive), scalar_at(self.alpha, t)
        if order == 1:
            return torch.softmax(z, dim=-1)
        if order == 1.5:
            return entmax15(z, dim=-1)
        if order == 2:
            return sparsemax(z, dim=-1)
        return entmax_bisect(z, alpha=order, dim=-1, n_iter=60)

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """The same: nothing is drawn."""
        return self.mix(logits, alive, t)


@dataclass(frozen=True)
class Sigmoid:
    """An independent sigmoid per operation, so that they need not compete; rows need not sum to 1.

    Chu et al., Fair DARTS, ECCV 2020, arXiv:1911.12126.
    """

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(edges, ops)`, each in (0, 1), 0 where not alive."""
        return torch.sigmoid(logits) * alive

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """The same: nothing is drawn."""
        return self.mix(logits, alive, t)


def _masked(logits: Tensor, alive: Tensor) -> Tensor:
    """-inf where not alive, in the forward only: in the parameter it would turn L2 into NaN."""
    return logits.masked_fill(~alive, -torch.inf)
