"""What operations cost: a penalty that grows until something is pruned, and where to stop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from workbench.protocols import Mixtures, View
from workbench.spaces.ends import same_end
from workbench.spaces.op_costs import op_costs
from workbench.spaces.space import CellShape, Space


@dataclass(frozen=True)
class FlopsPenalty:
    """Presses on every operation, the harder the longer too few of them were pruned.

    lambda * sum over operations of log(1 + n s) (1 + mu F)

    s is an operation's share of the mixing weights into its node, n how many are alive there, F its
    multiply-accumulates in millions.  Where all shares into a node are equal the gradient is 0 (at
    mu = 0); from there on it drives them apart.

    lambda starts at 0.  After an epoch in which fewer than `count` operations went, its increment
    is multiplied by `factor` and added; after one in which as many or more went, lambda is divided
    by `factor` and the increment is `first` again.

    Args:
        first: first increment, before it is multiplied.
        count: as many pruned operations in an epoch are enough.
        mu: what a million multiply-accumulates weigh beside the operation as such.
        size: side of the pictures that F is counted for.

    Bi et al., GOLD-NAS, arXiv:2007.03331, constants of the unofficial code.  Differs from that
    code: it gives reduced maps the full cost of 32×32, and leaves small shares out of the sum.
    """

    first: float = 1e-5
    factor: float = 2.0
    count: int = 4
    mu: float = 0.0
    size: int = 32

    def __post_init__(self) -> None:
        for name, rule, good in (
            ("first", "a positive number", self.first > 0),
            ("factor", "a number above 1", self.factor > 1),
            ("count", "at least 1 operation", self.count >= 1),
            ("mu", "0 or more", self.mu >= 0),
            ("size", "at least 1 pixel", self.size >= 1),
        ):
            if not good:
                raise ValueError(f"`FlopsPenalty({name}={getattr(self, name)})` needs {rule}")

    def strength(self, view: View) -> float:
        """Lambda after the stage's epochs so far, from how many operations each left alive."""
        strength, increment = 0.0, self.first
        for before, after in pairwise([_candidates(view.space), *_alive(view)]):
            if before - after >= self.count:
                strength, increment = strength / self.factor, self.first
            else:
                increment *= self.factor
                strength += increment
        return strength

    def __call__(self, view: View, mixtures: Mixtures) -> Tensor:
        """The penalty, a scalar."""
        terms = []
        for cell in view.space.cells:
            mix, alive = mixtures[cell.kind].ops, view.alive[cell.kind]
            into = same_end(cell, mix.device).to(mix.dtype)  # (edges, edges)
            total = into @ torch.stack([mix, alive.to(mix.dtype)]).sum(dim=-1).T  # (edges, 2)
            sums, counts = total.clamp_min(torch.finfo(mix.dtype).tiny).split(1, dim=1)
            weight = 1.0
            if self.mu:
                weight = 1 + self.mu * _macs(view.space, cell, self.size, mix.device)
            terms.append((torch.log1p(counts * mix / sums) * weight).sum())
        return self.strength(view) * torch.stack(terms).sum()


@dataclass(frozen=True)
class FlopsBelow:
    """Stops once the network that would be derived costs less than `macs` multiply-accumulates.

    Args:
        macs: of one picture, at the search's own width, depth and picture size.
        share: instead, a share of what it cost after the stage's first epoch.

    Bi et al., GOLD-NAS, arXiv:2007.03331: 240 million, counted so.
    """

    macs: float | None = 240e6
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.macs is None) == (self.share is None):
            raise ValueError(f"`{self}` needs one of `macs` and `share`; make the other None")
        if self.macs is not None and self.macs <= 0:
            raise ValueError(f"`FlopsBelow(macs={self.macs})` needs a positive number")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"`FlopsBelow(share={self.share})` needs a share in (0, 1]")

    def __call__(self, view: View) -> str | None:
        """The reason to stop, or None to go on."""
        costs = [event.macs for event in view.ended if event.macs is not None]
        if not costs:
            return None
        bound = self.macs if self.share is None else self.share * costs[0]
        assert bound is not None
        if costs[-1] >= bound:
            return None
        hint = "; it was so from the start: choose a smaller bound" if len(costs) == 1 else ""
        return f"{costs[-1] / 1e6:.4g} million multiply-accumulates, below {bound / 1e6:.4g}{hint}"


def _candidates(space: Space) -> int:
    return sum(len(ops) for cell in space.cells for ops in cell.ops)


def _alive(view: View) -> list[int]:
    return [event.alive for event in view.ended if event.alive is not None]


@cache
def _macs(space: Space, cell: CellShape, size: int, device: torch.device) -> Tensor:
    """`(edges, columns)`: millions of multiply-accumulates, over all cells of the kind."""
    total = torch.zeros(len(cell.edges), len(cell.columns))
    for kind, rows in op_costs(space, (size, size), "macs"):
        total += rows / 1e6 if kind == cell.kind else 0.0
    return total.to(device)
