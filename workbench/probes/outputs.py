"""What every operation puts out, and how much of its edge's output it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.protocols import Bilevel, Rows, View
from workbench.spaces.space import Space
from workbench.spaces.watching import SeenEdge, watching

_NAMES = ("op_norm", "op_cosine", "op_share")


@dataclass(frozen=True)
class OpOutputs:
    """Size of every operation's output o(x), and its part in the edge's output y = sum m_o o(x).

    op_norm = rms(o(x)),   op_cosine = <o(x), y> / (|o(x)| |y|),   op_share = <m_o o(x), y> / <y, y>

    A copy of the supernet passes the last held-out batch once, in training mode (batch norms use
    the batch's statistics), in the weights' own number format, under the mixing weights as they are
    recorded: of a method that samples, not under a sample.  Shares of an edge sum to 1; one that is
    negative works against the others.  All are means over the cells of a kind.

    y is the weighted sum of the candidates.  In `PartialChannels` that is the output of the
    channels that go through them, in `AuxiliarySkip` what stands beside the auxiliary skip, in
    `SkipDropout` what is left after the dropout (`SeenEdge.mixed`).
    """

    def __call__(self, view: View, bilevel: Bilevel) -> dict[str, Rows]:
        """`op_norm`, `op_cosine`, `op_share`, each `{kind: (edges, ops)}`.

        NaN for an operation that is pruned or did not run; the cosine also of an output that is 0,
        as that of `none`, and all but the norm where y is 0.  Nothing of a stage without pictures.
        """
        batch = None if view.trial is None else view.trial.batch
        if view.trial is None or batch is None:
            return {}
        tables = _Tables(view.space)
        net = view.trial.net().train()
        with torch.no_grad(), watching(net, tables.see):
            net(batch.images, view.mix, view.clock.t)
        return tables.means()


class _Tables:
    """A table `(names, edges, ops)` per cell, filled edge by edge."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.cells: dict[tuple[str, int], Tensor] = {}

    def see(self, seen: SeenEdge) -> None:
        """Fill in an edge."""
        shape, y = self.space.cell(seen.kind), seen.mixed
        place = seen.kind, seen.layer
        if place not in self.cells:
            size = (len(_NAMES), len(shape.edges), len(shape.columns))
            self.cells[place] = y.new_full(size, torch.nan)
        power = y.square().sum()
        for op, out in seen.ops.items():
            along, own = (out * y).sum(), out.square().sum()
            values = (out.square().mean().sqrt(), along / (own * power).sqrt(),
                      seen.weights[op] * along / power)  # fmt: skip
            row = self.cells[place][:, seen.edge, shape.columns.index(op)]
            row.copy_(torch.stack(values))

    def means(self) -> dict[str, Rows]:
        """By name and kind `(edges, ops)`: the mean over cells, of those that have a value."""
        by_kind = {}
        for kind in self.space.kinds:
            cells = [table for (own, _), table in self.cells.items() if own == kind]
            if cells:
                by_kind[kind] = torch.stack(cells).nanmean(dim=0)
        return {
            name: {kind: table[index] for kind, table in by_kind.items()}
            for index, name in enumerate(_NAMES)
        }
