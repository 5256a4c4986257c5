"""A method of one's own in one file: copy it, change it, import it in `09_your_own.ipynb`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.methods import darts_small
from workbench.parts.relaxations import Entmax
from workbench.protocols import Bilevel, Mixtures, Rows, View


@dataclass(frozen=True)
class FewerOf:
    """Makes mixing weight on one operation cost something, in the architecture step.

    weight * sum over kinds of cells of the mean over its edges of m_op
    """

    op: str = "none"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"`FewerOf(weight={self.weight})` needs 0 or more")

    def __call__(self, view: View, mixtures: Mixtures) -> Tensor:
        """A scalar, differentiable in the alphas; 0 in a space without the operation."""
        total = torch.zeros(())
        for kind, mixture in mixtures.items():
            columns = view.space.cell(kind).columns
            if self.op in columns:
                total = total.to(mixture.ops) + mixture.ops[:, columns.index(self.op)].mean()
        return self.weight * total


def lead(view: View, bilevel: Bilevel) -> dict[str, Rows]:
    """A probe: how far the two largest alphas of every edge are apart, `{kind: (edges,)}`."""
    top = {kind: rows.topk(2, dim=1).values for kind, rows in view.alpha.items()}
    return {"lead": {kind: two[:, 0] - two[:, 1] for kind, two in top.items()}}


mine = darts_small.but(
    name="mine",
    paper="",
    summary="DARTS with entmax of order 1.5 and a price on none.",
    relaxation=Entmax(1.5),
    regularizers=(FewerOf("none", weight=1.0),),
)
