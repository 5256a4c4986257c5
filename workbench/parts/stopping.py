"""Stop rules: end a stage early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.protocols import Rows, View


@dataclass(frozen=True)
class SkipCount:
    """Stop when a derived cell has more than `most` skip connections (DARTS+, criterion 1).

    Reduction cells are not looked at.  The rule sees the genotype of the epoch that has just ended,
    and that genotype, with its many skips, is what the search then derives.

    Args:
        most: how many a cell may have: 1, since two of them stop a search of four nodes.
        grace_epochs: epochs that do not stop the search; the paper has none.

    Liang et al., DARTS+, arXiv:1909.06035.
    """

    most: int = 1
    grace_epochs: int = 0

    def __post_init__(self) -> None:
        if self.most < 0:
            raise ValueError(f"`SkipCount(most={self.most})` needs 0 or more")

    def __call__(self, view: View) -> str | None:
        """The reason to stop, or None to go on."""
        genotype = view.ended[-1].genotype if view.ended else None
        if genotype is None or len(view.ended) <= self.grace_epochs:
            return None
        for cell in genotype.cells:
            skips = sum(gene.op == "skip_connect" for gene in cell.genes)
            if skips > self.most and not cell.kind.startswith("reduce"):
                return f"the derived {cell.kind} cell has {skips} skip connections"
        return None


@dataclass(frozen=True)
class StableRanking:
    """Stop when the ranking of learnable operations has stood still (DARTS+, criterion 1*).

    Learnable are convolutions, ranked on every edge of every kind of cell by their mixing weights
    at the ends of epochs.  Where no edge has two of them there is nothing to rank, and no stop.

    Args:
        patience_epochs: for how many epochs it has to be the same: 10 give 11 equal rankings.

    Liang et al., DARTS+, arXiv:1909.06035.
    """

    patience_epochs: int = 10

    def __post_init__(self) -> None:
        if self.patience_epochs < 1:
            raise ValueError(
                f"`StableRanking(patience_epochs={self.patience_epochs})` needs 1 or more"
            )

    def __call__(self, view: View) -> str | None:
        """The reason to stop, or None to go on."""
        last = view.history[-self.patience_epochs - 1 :]
        if len(last) <= self.patience_epochs:
            return None
        first, *others = ([*_rankings(view, rows)] for rows in last)
        if not first or any(
            not torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True)
        ):
            return None
        return f"learnable operations have ranked the same for {self.patience_epochs} epochs"


def _rankings(view: View, mix: Rows) -> Sequence[Tensor]:
    """Per kind of cell with two or more learnable columns, the order `(edges, learnable)`."""
    out = []
    for cell in view.space.cells:
        learnable = [column for column, op in enumerate(cell.columns) if "conv" in op]
        alive = view.alive[cell.kind][:, learnable].cpu()
        if (alive.sum(dim=1) > 1).any():
            weights = torch.where(alive, mix[cell.kind][:, learnable].cpu(), -1.0)
            out.append(weights.argsort(dim=1, descending=True, stable=True))
    return out


@dataclass(frozen=True)
class EigenvalueRise:
    """Stop when the dominant eigenvalue of the alphas' Hessian has risen fast (RobustDARTS).

    mean(e - delta) / mean(e) < 1 / factor

    where mean(e) is the mean of `measure` over the `window_epochs` epochs around e, and e is the
    latest epoch whose window is complete: half a window ago.  The paper then goes back to the
    architecture of epoch e - delta, or trains on with more weight decay from there.  A rule cannot
    turn a search back: what is derived is of the epoch that stops it, `window_epochs // 2 +
    delta_epochs` later (6 by default).  The reason names the paper's epoch, whose genotype is in
    its `EpochEnded`.

    Args:
        measure: name of the eigenvalue among what the stage measures after an epoch.
        start_epochs: e - delta is at least this epoch.
        factor: how much larger is too fast.

    Zela et al., Understanding and Robustifying DARTS, ICLR 2020, arXiv:1909.09656.
    The released code measures every second epoch unless told otherwise; this is its `every 1`.
    """

    window_epochs: int = 5
    start_epochs: int = 10
    delta_epochs: int = 4
    factor: float = 1.3
    measure: str = "hessian_eigenvalue"

    def __post_init__(self) -> None:
        if self.window_epochs < 1 or self.delta_epochs < 1:
            raise ValueError(
                f"`EigenvalueRise(window_epochs={self.window_epochs}, delta_epochs="
                f"{self.delta_epochs})` needs windows of 1 epoch or more, 1 or more apart"
            )
        if self.factor <= 0:
            raise ValueError(f"`EigenvalueRise(factor={self.factor})` needs a positive factor")

    def __call__(self, view: View) -> str | None:
        """The reason to stop, or None to go on."""
        if view.ended and self.measure not in view.ended[-1].scalars:
            raise ValueError(
                f"`EigenvalueRise(measure={self.measure!r})` needs that measured after every "
                "epoch; give the stage `measures=(HessianEigenvalue(),)`"
            )
        values = [ended.scalars[self.measure] for ended in view.ended]
        before = len(values) - 1 - self.window_epochs // 2 - self.delta_epochs  # e - delta
        if before < self.start_epochs or len(values) < self.window_epochs + self.delta_epochs:
            return None
        now = sum(values[-self.window_epochs :])
        then = sum(values[-self.window_epochs - self.delta_epochs : -self.delta_epochs])
        if not 0 < then * self.factor < now:
            return None
        return f"the eigenvalue rose {now / then:.2f} times since epoch {before}"


@dataclass(frozen=True)
class ModelSize:
    """Stop after the first epoch whose derived network has no more than so many parameters.

    Args:
        parameters: of the network with the search's own channels and cells; None never stops.

    Hou and Jin, arXiv:2012.11337.  The size at which they stop is not known here, so None is the
    default: a fixed number of epochs.
    """

    parameters: int | None = None

    def __post_init__(self) -> None:
        if self.parameters is not None and self.parameters < 1:
            raise ValueError(f"`ModelSize(parameters={self.parameters})` needs 1 or more, or None")

    def __call__(self, view: View) -> str | None:
        """The reason to stop, or None to go on."""
        size = view.ended[-1].parameters if view.ended else None
        if self.parameters is None or size is None or size > self.parameters:
            return None
        return f"the derived network has {size} parameters, and {self.parameters} will do"
