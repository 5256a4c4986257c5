"""Pruners: shrink what is alive during a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench.protocols import View
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
        return {
            cell.kind: self._keep(cell, view.mix[cell.kind].ops, view.alive[cell.kind])
            for cell in view.space.cells
        }

    def _keep(self, cell: CellShape, mix: Tensor, alive: Tensor) -> Tensor:
        keep = alive & (mix > 0)
        if not self.hold:
            return keep
        useful = torch.tensor([op != "none" for op in cell.columns], device=alive.device)
        for node in range(cell.inputs, cell.inputs + cell.nodes):
            into = [index for index, (_, dst) in enumerate(cell.edges) if dst == node]
            lost = ~(keep[into] & useful).any()
            keep[into] = keep[into] | (alive[into] & useful & lost)
        return keep
