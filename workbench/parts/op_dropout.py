"""Operation dropout: which operations a step leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from workbench.spaces.ops import op_factory
from workbench.spaces.space import CellShape

Groups = tuple[tuple[str, ...], ...]

_OF_DARTS: Groups = (
    ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
    ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "none"),
)


@dataclass(frozen=True)
class GroupedDropout:
    """Leaves each operation of a group out with one probability, and never the whole group.

    p = rate^(1 / n),   n operations of the group alive on the edge

    A group of which nothing is left is drawn again, which makes an operation's own frequency
    (p - rate) / (1 - rate).  All cells of a kind leave the same out.

    After a step the kept alphas of an edge all move by one constant, so that together they have
    the share they had before it: what was left out keeps its alpha and its probability.

    Args:
        rate: the probability that a whole group would go.
        groups: names of operations.  One that is in none of them belongs to the first group if it
            has weights (at stride 1), to the last one if it has none.

    Hong et al., DropNAS, IJCAI 2020, arXiv:2201.11679.  Differs: an edge with nothing left out is
    not adjusted; the paper's constant is 0 times infinity there.
    """

    rate: float = 3e-5
    groups: Groups = _OF_DARTS

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(
                f"`GroupedDropout(rate={self.rate})` needs a probability in [0, 1); "
                "the paper's is 3e-5"
            )
        names = [op for group in self.groups for op in group]
        if not self.groups or len(set(names)) < len(names):
            raise ValueError(
                f"`GroupedDropout(groups={self.groups})` needs one or more groups and every "
                "operation in one of them at most; take it out of the others"
            )

    def kept(self, cell: CellShape, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """What takes part: bool `(edges, ops)`, something of every group that has something.

        Drawn column by column, so that nothing has to be drawn twice: an operation before which
        all of its group went is left out as often as if the rest could not all go too.
        """
        draws = torch.rand(alive.shape, generator=generator, device=alive.device)
        kept = alive.clone()
        for group in _columns(cell.columns, self.groups):
            left = torch.stack([alive[:, column] for column in group]).sum(dim=0)
            p = self.rate ** (1 / left.clamp(min=1))
            none_yet = torch.ones_like(left, dtype=torch.bool)
            for column in group:
                here = alive[:, column]
                left = left - here.long()
                while_none = p * (1 - p**left) / (1 - p ** (left + 1))
                out = draws[:, column] < torch.where(none_yet, while_none, p)
                kept[:, column] = here & ~out
                none_yet = none_yet & ~kept[:, column]
        return kept

    def adjusted(self, before: Tensor, after: Tensor, alive: Tensor, kept: Tensor) -> Tensor:
        """The alphas `(edges, ops)` after a step in which only `kept` ones moved.

        The paper's constant is log(r / (1 - r) * sum_dropped e^alpha / sum_kept e^alpha), r being
        the kept ones' share before the step.  The dropped ones cancel.
        """
        shift = _log_total(before, kept) - _log_total(after, kept)
        some_dropped = (alive & ~kept).any(dim=-1, keepdim=True)
        return torch.where(kept & some_dropped, after + shift, after)


def _log_total(alpha: Tensor, kept: Tensor) -> Tensor:
    """The logarithm of the sum of e^alpha over what is kept `(edges, 1)`."""
    return alpha.masked_fill(~kept, -torch.inf).logsumexp(dim=-1, keepdim=True)


@cache
def _columns(columns: tuple[str, ...], groups: Groups) -> tuple[tuple[int, ...], ...]:
    """The columns of every group that has some."""
    out: list[list[int]] = [[] for _ in groups]
    for column, op in enumerate(columns):
        named = [number for number, group in enumerate(groups) if op in group]
        number = named[0] if named else 0 if _has_weights(op) else -1
        out[number].append(column)
    return tuple(tuple(group) for group in out if group)


def _has_weights(op: str) -> bool:
    with torch.device("meta"):
        module = op_factory(op, affine=False)(4, 1)
    return any(True for _ in module.parameters())
