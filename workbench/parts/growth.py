"""Between stages: a deeper stack with fewer operations on each edge."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.protocols import View
from workbench.spaces.resize import is_individual, resized
from workbench.spaces.space import CellShape, Space, SpaceError


@dataclass(frozen=True)
class Grow:
    """`deeper` cells more than the search's space; each edge keeps its `keep` best operations.

    Best are those that weigh most at the end of the stage before, ties to the lower index; edges
    that have no more than `keep` lose nothing.  Operations dropped by an earlier stage stay out.

    Args:
        deeper: cells more than the first space, in the whole stack: in the NAS-Bench-201 family a
            third of them, rounded up, in each of its three stages.
        keep: operations per edge; None, as in a first stage, keeps all.

    Chen et al., P-DARTS, ICCV 2019, arXiv:1904.12760.
    """

    deeper: int = 0
    keep: int | None = None

    def __post_init__(self) -> None:
        if self.deeper < 0:
            raise ValueError(f"`Grow(deeper={self.deeper})` needs 0 cells or more")
        if self.keep is not None and self.keep < 1:
            raise ValueError(f"`Grow(keep={self.keep})` needs an operation per edge, or None")

    def __call__(self, space: Space, view: View | None) -> Space:
        """The space of the stage.

        Raises:
            SpaceError: if cells have alphas of their own: at the first stage, before any step.
        """
        if is_individual(space):
            raise SpaceError(
                "`Grow` needs cells that share alphas, to stack more of them; choose a space such "
                f"as darts: this one has {', '.join(space.kinds)}"
            )
        here = space if view is None else replace(space, cells=self._cells(view))
        if not self.deeper:
            return here
        more = self.deeper if space.family == "darts" else -(-self.deeper // 3)
        return resized(here, cells=space.depth + more)

    def _cells(self, view: View) -> tuple[CellShape, ...]:
        if self.keep is None:
            return view.space.cells
        return tuple(
            replace(cell, ops=_best(cell, view.mix[cell.kind].ops.tolist(), self.keep))
            for cell in view.space.cells
        )


def _best(cell: CellShape, rows: list[list[float]], keep: int) -> tuple[tuple[str, ...], ...]:
    """The candidates of every edge that stay, in their old order."""
    out = []
    for ops, row in zip(cell.ops, rows, strict=True):
        weight = {op: row[cell.columns.index(op)] for op in ops}
        best = sorted(ops, key=lambda op, weight=weight: -weight[op])[:keep]
        out.append(tuple(op for op in ops if op in best))
    return tuple(out)
