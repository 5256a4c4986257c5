"""Pruners: shrink what is alive during a search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from workbench.protocols import Holding, Rows, View
from workbench.spaces.ends import same_end
from workbench.spaces.space import CellShape


@dataclass(frozen=True)
class ExactZeros:
    """An operation whose mixing weight is exactly 0 is gone for good.

    Needs a relaxation with exact zeros.  The paper is silent on a node that would lose every
    operation but `none` on all its inputs; with `hold` its last operations are kept alive, without
    it the node may come to compute zeros.

    Args:
        every: look after every step that moved alphas, or after every epoch.
        grace_epochs: epochs without pruning; at order 3 the first operations go in the first
            epochs, when weights are still near random.
        hold: keep the last operations into a node.

    Bezirganyan and Akarmazyan, doi:10.54503/2579-2903-2022.1-203.
    """

    every: Literal["step", "epoch"] = "step"
    grace_epochs: int = 0
    hold: bool = True

    def __call__(self, view: View) -> dict[str, Tensor]:
        """The new `alive`, `{kind: bool (edges, ops)}`."""
        if view.clock.epoch < self.grace_epochs:
            return dict(view.alive)
        keep = {kind: alive & (view.mix[kind].ops > 0) for kind, alive in view.alive.items()}
        return _holding(view, keep) if self.hold else keep


@dataclass(frozen=True)
class BelowShare:
    """After every epoch, operations of less than a share of the mean weight of their edge go.

    weight < share / N,   N = operations left on the edge

    The best of an edge stays, so that in the end there may be one on each.  As with `ExactZeros`,
    the last operations other than `none` into a node are held; the paper is silent here.

    Args:
        share: at 0.4, five hundredths for eight operations and a fifth for two.
        grace_epochs: epochs without pruning.

    Noy et al., ASAP, arXiv:1904.04123.  Differs from the code of UniNAS, where N is the first
    number of operations and the threshold is divided by it again at every edge.
    """

    share: float = 0.4
    grace_epochs: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"`BelowShare(share={self.share})` needs a share in (0, 1]")

    @property
    def every(self) -> Literal["epoch"]:
        """Asked after epochs."""
        return "epoch"

    def __call__(self, view: View) -> dict[str, Tensor]:
        """The new `alive`, `{kind: bool (edges, ops)}`."""
        if view.clock.epoch < self.grace_epochs:
            return dict(view.alive)
        keep = {kind: self._keep(view.mix[kind].ops, alive) for kind, alive in view.alive.items()}
        return _holding(view, keep)

    def _keep(self, mix: Tensor, alive: Tensor) -> Tensor:
        left = alive.sum(dim=1, keepdim=True)
        best = mix.masked_fill(~alive, -1.0).argmax(dim=1, keepdim=True)
        return (mix * left >= self.share).scatter(1, best, True) & alive


def _holding(view: View, keep: Rows) -> Holding:
    """`keep`, and what is alive into a node that would have nothing left but `none`."""
    held = {c.kind: _last(c, keep[c.kind], view.alive[c.kind]) for c in view.space.cells}
    return Holding({kind: mask | held[kind] for kind, mask in keep.items()}, held)


def _last(cell: CellShape, keep: Tensor, alive: Tensor) -> Tensor:
    """What is `alive`, and not to `keep`, into a node that would be fed by nothing but `none`."""
    useful = _useful(cell.columns, alive.device)
    fed = same_end(cell, alive.device) & (keep & useful).any(dim=1)  # (edges, edges)
    return alive & ~keep & useful & ~fed.any(dim=1, keepdim=True)


@cache
def _useful(columns: tuple[str, ...], device: torch.device) -> Tensor:
    """`(ops,)`: which are not `none`; made once, since a step on a GPU would wait for the copy."""
    return torch.tensor([op != "none" for op in columns], device=device)
