"""A pruner by shares: what little each operation gives to its node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench.protocols import View
from workbench.spaces.space import CellShape


@dataclass(frozen=True)
class WeakestShares:
    """Takes out operations whose share of the mixing weights into their node is small.

    s = w / (sum of w over everything alive into the node)

    First all with s <= `low`; then, `count` times, the one with the smallest s of all cells if it
    is <= `high`.  Shares are counted anew after each, so the last operation into a node, whose
    share is 1, stays; the largest one stays too where all are below `low`.  `none` counts as an
    operation.

    For mixing weights that need not sum to 1 on an edge, such as sigmoids.

    Bi et al., GOLD-NAS, arXiv:2007.03331.  Differs from the unofficial code, which sums over a
    node at the first of its edges only and can prune none but those.
    """

    low: float = 0.01
    high: float = 0.05
    count: int = 4
    every: Literal["step", "epoch"] = "epoch"

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < 1:
            raise ValueError(
                f"`WeakestShares(low={self.low}, high={self.high})` needs 0 <= low <= high < 1; "
                "the paper's are 0.01 and 0.05"
            )
        if self.count < 0:
            raise ValueError(f"`WeakestShares(count={self.count})` needs 0 or more operations")

    def __call__(self, view: View) -> dict[str, Tensor]:
        """The new `alive`, `{kind: bool (edges, ops)}`."""
        new = {kind: mask.clone() for kind, mask in view.alive.items()}
        mix = {cell.kind: view.mix[cell.kind].ops.double() for cell in view.space.cells}
        for cell in view.space.cells:
            shares, best = _shares(cell, mix[cell.kind], new[cell.kind])
            new[cell.kind] &= ~(shares <= self.low) | best
        for _ in range(self.count):
            found = [_shares(cell, mix[cell.kind], new[cell.kind])[0] for cell in view.space.cells]
            least = [float(shares.min()) for shares in found]
            index = least.index(min(least))
            if not least[index] <= self.high:
                break
            new[view.space.kinds[index]].view(-1)[found[index].argmin()] = False
        return new


def _shares(cell: CellShape, mix: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Shares `(edges, ops)`, infinite where not alive; and whether each is its node's largest."""
    shares = torch.full_like(mix, torch.inf)
    best = torch.zeros_like(alive)
    for node in range(cell.inputs, cell.inputs + cell.nodes):
        into = [index for index, (_, dst) in enumerate(cell.edges) if dst == node]
        here, weights = alive[into], mix[into] * alive[into]
        share = weights / weights.sum()
        shares[into] = torch.where(here, share, torch.inf)
        best[into] = here & (share == share.max())
    return shares, best
