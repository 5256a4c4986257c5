"""Which candidates a stage has."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.protocols import View
from workbench.spaces.space import Space


@dataclass(frozen=True)
class Without:
    """The search's space without `ops` on any edge; those it does not have are not missed.

    FairDARTS leaves out `none` (arXiv:1911.12126): a sigmoid can say no by itself.
    """

    ops: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.ops, str):
            raise ValueError(f"`Without(ops={self.ops!r})` needs a tuple: write ({self.ops!r},)")

    def __call__(self, space: Space, view: View | None) -> Space:
        """A space.

        Raises:
            SpaceError: if nothing is left on an edge.
        """
        return space.restricted(tuple(op for op in space.columns if op not in self.ops))
