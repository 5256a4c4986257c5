"""Relaxations: from logits to mixing weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from entmax import entmax15, sparsemax
from torch import Tensor

from workbench.parts.schedules import Scalar, scalar_at, scalar_range
from workbench.protocols import RowSum

_NEWTON_STEPS = 7  # six reach 1e-13 on the worst rows of up to 64 operations that were found
_EPSILON = 2.0**-53
_TINY = 1e-300
_LARGEST_SLOPE = 1e150  # its square is finite


@dataclass(frozen=True)
class Softmax:
    """softmax over the operations of an edge: DARTS, arXiv:1806.09055, eq. 2.

    softmax(alpha / temperature)

    Args:
        temperature: above 0; a schedule that falls makes choices out of preferences (ASAP,
            arXiv:1904.04123).
    """

    row_sum: ClassVar[RowSum] = "one"

    temperature: Scalar = 1.0

    def __post_init__(self) -> None:
        if scalar_range(self.temperature)[0] <= 0:
            raise ValueError(
                f"`Softmax(temperature={self.temperature})` needs a temperature above 0"
            )

    @property
    def steady(self) -> bool:
        """Whether it is the same at every `t`."""
        return not callable(self.temperature)

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(edges, ops)`; every row sums to 1."""
        temperature = scalar_at(self.temperature, t)
        scaled = logits if temperature == 1 else logits / temperature
        return torch.softmax(_masked(scaled, alive), dim=-1)

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """The same: nothing is drawn."""
        return self.mix(logits, alive, t)


@dataclass(frozen=True)
class Entmax:
    """α-entmax over the operations of an edge: sparse, with exact zeros above order 1.

    p = argmax over the simplex of p·z + H_alpha(p),   p_i = [(alpha - 1) z_i - tau]_+^(1/(alpha-1))

    Computed in float64, so that a zero is a zero and not the solver's noise: closed forms at order
    1 (softmax), 1.5 and 2 (sparsemax), a few Newton steps otherwise.  Above order 2 the gradient
    of a small weight grows like p^(2 - alpha).  Order 4 and more prunes at the usual 1e-3 initial
    logits.

    Args:
        alpha: order, at least 1; a schedule goes from dense to sparse over the search (the future
            work of paper B).

    Raises:
        ValueError: if the order is, or comes, below 1.

    Peters et al., Sparse Sequence-to-Sequence Models, ACL 2019, arXiv:1905.05702; used for search
    by Bezirganyan and Akarmazyan, doi:10.54503/2579-2903-2022.1-203.
    """

    row_sum: ClassVar[RowSum] = "one"

    alpha: Scalar = 2.0

    def __post_init__(self) -> None:
        if scalar_range(self.alpha)[0] < 1:
            raise ValueError(
                f"`Entmax(alpha={self.alpha})` goes below order 1, where softmax is; "
                "choose 1 or more (paper B: 2 or 3)"
            )

    @property
    def steady(self) -> bool:
        """Whether it is the same at every `t`."""
        return not callable(self.alpha)

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(edges, ops)` in float64; every row sums to 1."""
        z, order = _masked(logits.double(), alive), scalar_at(self.alpha, t)
        if order == 1:
            return torch.softmax(z, dim=-1)
        if order == 1.5:
            return entmax15(z, dim=-1)
        if order == 2:
            return sparsemax(z, dim=-1)
        return _Entmax.apply(z, order)

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """The same: nothing is drawn."""
        return self.mix(logits, alive, t)


class _Entmax(torch.autograd.Function):
    """entmax of rows `z` `(rows, ops)`, and its gradient, at an order above 1 that is not 2.

    dp/dz = diag(s) - s s^T / sum(s),   s_i = p_i^(2 - order) where p_i > 0, else 0

    The backward pass is made of differentiable steps: a second derivative is exact too.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, order: float) -> Tensor:
        p = _entmax(z, order)
        ctx.save_for_backward(p)
        ctx.order = order
        return p

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,), (p,) = grads, ctx.saved_tensors
        positive = p > 0
        s = torch.where(positive, p, 1.0).pow(2 - ctx.order).clamp(max=_LARGEST_SLOPE)
        s = torch.where(positive, s, 0.0)
        # Rows of the Jacobian sum to 0, so the gradient may be counted from any operation's: from
        # that of the largest s, where s times a difference of nearly equal numbers would be noise.
        grad = grad - grad.gather(-1, s.argmax(dim=-1, keepdim=True))
        return s * (grad - _total(s * grad) / _total(s)), None


def _entmax(z: Tensor, order: float) -> Tensor:
    """The weights p of `_Entmax` `(rows, ops)`: the support first, then Newton on one weight.

    With n = order - 1, operation j is in the support where those above it leave it something:

        sum_i [n (z_i - z_j)]_+^(1/n) < 1

    There p_i = (w^n + n (z_i - z_pivot))^(1/n), w being the weight of the pivot, and sum(p) = 1 is
    one equation in w.  The pivot is the smallest of the support above order 2 and the largest
    below: that makes sum(p) convex in w with slopes from 1 to `ops`, so that the steps of Newton
    fall to the root without a bracket.  It also keeps small weights exact, which tau in

        p_i = [n z_i - tau]_+^(1/n)

    does not: at order 6 the last digit of tau is a weight of 1e-3.  Nothing waits for a value.
    """
    n = order - 1
    above = (n * (z.unsqueeze(-2) - z.unsqueeze(-1))).clamp_(min=0)  # (rows, j, i)
    taken = above.pow_(1 / n).sum(dim=-1)
    dead = ~(taken < 1)  # also where NaN: the distance between two -inf
    alive = (~dead).sum(dim=-1, keepdim=True, dtype=z.dtype)
    pivot = z.masked_fill(dead, torch.inf).amin(-1, True) if n > 1 else z.amax(-1, True)
    gap = n * (z - pivot)
    far = gap.masked_fill(dead, torch.inf if n > 1 else -torch.inf)  # where p^(1 - n) is 0
    gap = gap.masked_fill(dead, 0.0)
    if n > 1:
        w = (1 - taken.masked_fill(dead, 0.0).amax(-1, True)).minimum(1 / alive)
    else:
        w = ((1 - _total(gap)) / alive).clamp_(max=1)
    least = max(_EPSILON, _TINY ** (1 / n))  # rounding must not end at a weight, or power, of 0
    for _ in range(_NEWTON_STEPS):
        level, slope = _level(w.clamp_(min=least), far, n)
        w = (w * (1 - _total(gap * slope))).div_(level * _total(slope))
    level, slope = _level(w.clamp_(min=least), far, n)
    p = (level + gap) * slope
    return p / _total(p)


def _level(w: Tensor, far: Tensor, n: float) -> tuple[Tensor, Tensor]:
    """w^n `(rows, 1)`, and p^(1 - n) `(rows, ops)`: 0 outside the support."""
    level = w.pow(n)
    return level, (level + far).clamp_(min=0).pow_(1 / n - 1)


def _total(rows: Tensor) -> Tensor:
    """Sums of `(rows, ops)` as a column `(rows, 1)`."""
    return rows.sum(dim=-1, keepdim=True)


@dataclass(frozen=True)
class Sigmoid:
    """An independent sigmoid per operation, so that they need not compete; rows need not sum to 1.

    Chu et al., Fair DARTS, ECCV 2020, arXiv:1911.12126.
    """

    row_sum: ClassVar[RowSum] = "positive"
    steady: ClassVar[bool] = True

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(edges, ops)`, each in (0, 1), 0 where not alive."""
        return torch.sigmoid(logits) * alive

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """The same: nothing is drawn."""
        return self.mix(logits, alive, t)


@dataclass(frozen=True)
class Simplex:
    """The alphas are mixing weights already: divided by the sum of those alive, and that is all.

    For alphas that start on the simplex and stay there: `Uniform` and `ExponentiatedGradient`.

    Li et al., GAEA, ICLR 2021, arXiv:2004.07802.
    """

    row_sum: ClassVar[RowSum] = "one"
    steady: ClassVar[bool] = True

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        """`(edges, ops)`; every row sums to 1."""
        rows = logits * alive
        return rows / _total(rows)

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """The same: nothing is drawn."""
        return self.mix(logits, alive, t)


def _masked(logits: Tensor, alive: Tensor) -> Tensor:
    """-inf where not alive, in the forward only: in the parameter it would turn L2 into NaN."""
    return logits.masked_fill(~alive, -torch.inf)
