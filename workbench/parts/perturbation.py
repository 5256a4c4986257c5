"""A pruner that decides by trying: what is missed most when it is left out stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from workbench.leaving import may_leave
from workbench.protocols import Mixtures, Trial, View
from workbench.spaces.space import CellShape, Space

Score = Callable[[Tensor], tuple[float, float]]  # of a kind's `(edges, ops)`: higher is worse


@dataclass(frozen=True)
class Perturbation:
    """Decide edge by edge, then node by node, by what a removal does to the held-out images.

    A decision about an edge tries every operation left on it: its weight is set to 0, the others
    keep theirs, not normalised again.  The one whose removal hurts most stays alone.  When all
    edges are decided, a decision about a node of more than two inputs drops the edge whose removal
    hurts least, again and again, until two are left (DARTS family only).  Every kind of cell makes
    one decision in a round, one after the other, in an order of its own drawn from the seed.

    What is decided is read off `alive`: an edge with one operation or none, a node with two inputs
    or fewer.  Ties in the criterion go to what the other one says, then to the lower column or
    edge, to stay and to be dropped alike.

    In the DARTS family `none` is no choice, as in the released code, whose full space lacks it; in
    NAS-Bench-201 it is one like any other.

    Args:
        tune_epochs: epochs between two rounds.  The first is at the end of the first epoch; where
            a stage is too short they come faster, and at its last epoch all is decided.
        criterion: of the held-out images; the other one of the two breaks ties.
        every: always after an epoch.

    Wang et al., Rethinking Architecture Selection in Differentiable NAS, ICLR 2021,
    arXiv:2108.04392.  Differs from the released code: a round is at the end of an epoch, not at its
    start, so the last one is not tuned after; and an edge that was dropped is gone when the next
    one of its node is tried, where there it is back until the node is decided.
    """

    tune_epochs: int = 5
    criterion: Literal["accuracy", "loss"] = "accuracy"
    every: Literal["epoch"] = field(default="epoch", init=False)

    def __post_init__(self) -> None:
        if self.tune_epochs < 1:
            raise ValueError(f"`Perturbation(tune_epochs={self.tune_epochs})` needs 1 or more")
        if self.criterion not in ("accuracy", "loss"):
            raise ValueError(
                f"`Perturbation(criterion={self.criterion!r})` must be 'accuracy' or 'loss'"
            )

    def __call__(self, view: View) -> dict[str, Tensor]:
        """The new `alive`, `{kind: bool (edges, ops)}`."""
        if view.trial is None:
            raise ValueError("`Perturbation` tries operations of a running search; there is none")
        alive = dict(view.alive)
        mixtures = {kind: replace(m, ops=m.ops.clone()) for kind, m in view.mix.items()}
        while True:
            late = [cell for cell in view.space.cells if self._behind(view, cell, alive)]
            for cell in late:
                score = self._score(view.trial, mixtures, cell.kind)
                rows = mixtures[cell.kind].ops
                left = _decide(view, cell, alive[cell.kind], rows, score)
                alive[cell.kind] = left
                alone = left & (left.sum(dim=1, keepdim=True) == 1)
                rows = torch.where(alone, 1.0, torch.where(left, rows, 0.0))
                mixtures[cell.kind] = replace(mixtures[cell.kind], ops=rows)
            if not late:
                return alive

    def _behind(self, view: View, cell: CellShape, alive: Mapping[str, Tensor]) -> bool:
        """Is a decision about this kind of cell due?"""
        everything = torch.tensor(cell.candidates)
        total = len(_open_edges(cell, everything)) + len(_open_nodes(view.space, cell, everything))
        mine = alive[cell.kind]
        left = len(_open_edges(cell, mine)) + len(_open_nodes(view.space, cell, mine))
        return total - left < min(self._due(view, total), total)

    def _due(self, view: View, total: int) -> int:
        """How many of `total` decisions the end of this epoch asks for."""
        epoch, last = view.clock.epoch, view.clock.epochs - 1
        if epoch >= last:
            return total
        if last >= self.tune_epochs * (total - 1):
            return epoch // self.tune_epochs + 1
        return epoch * (total - 1) // last + 1  # as evenly as the stage allows

    def _score(self, trial: Trial, mixtures: Mixtures, kind: str) -> Score:
        def score(rows: Tensor) -> tuple[float, float]:
            may_leave()
            found = trial.evaluate({**mixtures, kind: replace(mixtures[kind], ops=rows)})
            worse = {"accuracy": -found["accuracy"], "loss": found["loss"]}
            other = "loss" if self.criterion == "accuracy" else "accuracy"
            return worse[self.criterion], worse[other]

        return score


def _decide(view: View, cell: CellShape, alive: Tensor, rows: Tensor, score: Score) -> Tensor:
    """`alive` after the next decision about a kind of cell."""
    seed = (view.seed << 8) + view.space.kinds.index(cell.kind)
    generator = torch.Generator().manual_seed(seed)
    alive, edges = alive.clone(), _open_edges(cell, alive)
    order = torch.randperm(len(cell.edges), generator=generator).tolist()
    if edges:
        edge = next(edge for edge in order if edge in edges)
        stays = _most_missed(_choices(view.space, cell, alive[edge]), edge, rows, score)
        alive[edge] = False
        alive[edge, stays] = True
        return alive
    nodes = _open_nodes(view.space, cell, alive)
    order = torch.randperm(cell.inputs + cell.nodes, generator=generator).tolist()
    into = nodes[next(node for node in order if node in nodes)]
    while len(into) > 2:
        scores = [score(_without(rows, edge)) for edge in into]
        gone = into.pop(scores.index(min(scores)))
        rows, alive[gone] = _without(rows, gone), False
    return alive


def _most_missed(choices: Sequence[int], edge: int, rows: Tensor, score: Score) -> int:
    """The column without which the score is worst."""
    if len(choices) == 1:
        return choices[0]
    scores = [score(_without(rows, edge, column)) for column in choices]
    return choices[scores.index(max(scores))]


def _without(rows: Tensor, edge: int, column: int | None = None) -> Tensor:
    """`rows` without an operation, or without a whole edge."""
    rows = rows.clone()
    rows[edge, slice(None) if column is None else column] = 0.0
    return rows


def _choices(space: Space, cell: CellShape, alive: Tensor) -> list[int]:
    """Columns of an edge that may stay; `none` in the DARTS family only where it is alone."""
    left = alive.nonzero().flatten().tolist()
    useful = [column for column in left if cell.columns[column] != "none"]
    return useful if useful and space.family == "darts" else left


def _open_edges(cell: CellShape, alive: Tensor) -> list[int]:
    """Edges that are not decided."""
    return (alive.sum(dim=1) > 1).nonzero().flatten().tolist()


def _open_nodes(space: Space, cell: CellShape, alive: Tensor) -> dict[int, list[int]]:
    """The edges left into every node that has too many; none where a space keeps all."""
    if space.family != "darts":
        return {}
    some = alive.any(dim=1).tolist()
    into = {
        node: [edge for edge, (_, dst) in enumerate(cell.edges) if dst == node and some[edge]]
        for node in range(cell.inputs, cell.inputs + cell.nodes)
    }
    return {node: edges for node, edges in into.items() if len(edges) > 2}
