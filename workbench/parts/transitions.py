"""Between stages: the space of the next one, and what its supernet takes over from the old one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from workbench.protocols import View
from workbench.spaces.resize import individual
from workbench.spaces.space import Space


def keep_weights(old: nn.Module, new: nn.Module) -> None:
    """Copy every weight; batch-norm statistics start anew, they belong to the old stage's inputs.

    Both supernets are of one space and have the same operations alive.
    """
    weights = dict(old.named_parameters())
    for name, weight in new.named_parameters():
        weight.data.copy_(weights[name].data)


@dataclass(frozen=True)
class IndividualCells:
    """Every cell of the stack has alphas and genes of its own.

    Args:
        ops: candidates that stay, those of them that the space has; none given keeps all.
        without: candidates that go, where the space has them.

    Raises:
        SpaceError: if no candidate of an edge stays.

    Bi et al., GOLD-NAS, arXiv:2007.03331; Heuillet et al., D-DARTS, arXiv:2108.09306.
    """

    ops: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def __call__(self, space: Space, view: View | None) -> Space:
        """The space with a kind per cell."""
        stays = self.ops or space.columns
        kept = tuple(op for op in stays if op in space.columns and op not in self.without)
        return individual(space.restricted(kept))
