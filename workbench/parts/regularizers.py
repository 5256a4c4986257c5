"""Regularizers: terms of the loss that an architecture step sees beside the data's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from workbench.protocols import Mixture, Mixtures, Trial, View
from workbench.spaces.op_costs import Cost, op_costs
from workbench.spaces.space import Space


@dataclass(frozen=True)
class ZeroOne:
    """Pushes every mixing weight away from a half, to 0 or 1.

    -weight * mean over what is alive of (w - 0.5)^2

    Ranges from 0, at a half, to -weight / 4, at 0 and 1.  Where sigmoids start at a half its
    gradient is 0 too: the first push is the loss's.

    Args:
        power: 2, or 1 for the absolute distance, the other form of the released code; then it
            reaches -weight / 2.
        each_kind: a mean for each kind of cell, added up, instead of one over all of them: the
            push on a cell does then not depend on how many kinds there are.

    Chu et al., Fair DARTS, ECCV 2020, arXiv:1911.12126.  Differs from the released code: the weight
    step does not see it, where it has no gradient anyway.
    """

    weight: float = 10.0
    power: Literal[1, 2] = 2
    each_kind: bool = False

    def __post_init__(self) -> None:
        _not_negative("ZeroOne", self.weight)
        if self.power not in (1, 2):
            raise ValueError(f"`ZeroOne(power={self.power})` needs 1 or 2")

    def __call__(self, view: View, mixtures: Mixtures) -> Tensor:
        """A scalar."""
        sums, counts = [], []
        for kind, mixture in mixtures.items():
            far = (mixture.ops - 0.5).abs() ** self.power
            sums.append((far * view.alive[kind]).sum())
            counts.append(view.alive[kind].sum().clamp(min=1))
        total, count = torch.stack(sums), torch.stack(counts)
        mean = (total / count).sum() if self.each_kind else total.sum() / count.sum()
        return -self.weight * mean


@dataclass(frozen=True)
class Ablation:
    """Every kind of cell should contribute more than the mean of them; one loss for each.

    -weight (c_i - c) / c,   c_i = L without cell i - L,   c = mean of the c_i

    A cell is taken out by mixing weights of 0.  Added up over the cells this is 0 whatever the
    weights are, so it is a loss only as the paper has it: the alphas of cell i follow the i-th term
    alone.  Their loss without cell i does not depend on them, which leaves, with L_j the loss
    without cell j,

        d/d alpha_i = weight (L' + c_i / c * (mean over j of L_j' - L')) / c

    For a cell that contributes nothing that is the loss's own gradient over c, for the one way to
    contribute more is to lower L; for one that contributes as much as the mean L' cancels out, and
    what is left makes the others contribute less.  Everything changes its sign where c is negative,
    that is, where cells do harm on average.  Costs a forward and backward pass for each cell and
    one more.  The value is always 0.

    Args:
        gradient: False leaves the gradient out, as the released code does: its term is a number
            that only shifts the loss it prints.

    Heuillet et al., D-DARTS, arXiv:2108.09306.
    """

    weight: float = 0.7
    gradient: bool = True

    def __post_init__(self) -> None:
        _not_negative("Ablation", self.weight)

    def __call__(self, view: View, mixtures: Mixtures) -> Tensor:
        """A scalar, which is 0; it is its gradient that counts.

        Raises:
            ValueError: outside a running search.
        """
        if not self.gradient:
            return 0 * torch.stack([mixture.ops.sum() for mixture in mixtures.values()]).sum()
        if view.trial is None:
            raise ValueError("`Ablation` tries losses and needs a running search")
        slopes = self._slopes(view.trial, mixtures)
        return (
            self.weight
            * torch.stack(
                [
                    (slopes[kind] * (mixture.ops - mixture.ops.detach())).sum()
                    for kind, mixture in mixtures.items()
                ]
            ).sum()
        )

    def _slopes(self, trial: Trial, mixtures: Mixtures) -> dict[str, Tensor]:
        """Of each kind's own term, in its mixing weights."""
        whole, slope = _loss_and_slopes(trial, mixtures)
        gains, mean_slope = {}, {kind: torch.zeros_like(rows) for kind, rows in slope.items()}
        for kind in mixtures:
            loss, slope_without = _loss_and_slopes(trial, _without(mixtures, kind))
            gains[kind] = loss - whole
            for other in slope.keys() - {kind}:  # its own alphas are not part of that loss
                mean_slope[other] += slope_without[other] / len(mixtures)
        mean = torch.stack(list(gains.values())).mean()
        per_mean = torch.where(mean == 0, 0.0, 1 / mean)
        return {
            kind: per_mean * (rows + gains[kind] * per_mean * (mean_slope[kind] - rows))
            for kind, rows in slope.items()
        }


def _without(mixtures: Mixtures, kind: str) -> dict[str, Mixture]:
    return {
        k: replace(m, ops=torch.zeros_like(m.ops)) if k == kind else m for k, m in mixtures.items()
    }


def _loss_and_slopes(trial: Trial, mixtures: Mixtures) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, and its gradient in the mixing weights of operations."""
    leaves = {
        kind: Mixture(m.ops.detach().clone().requires_grad_(), _stopped(m.edges))
        for kind, m in mixtures.items()
    }
    loss = trial.loss(leaves)
    rows = [leaf.ops for leaf in leaves.values()]
    grads = torch.autograd.grad(loss, rows, materialize_grads=True)
    return loss.detach(), dict(zip(leaves, grads, strict=True))


def _stopped(edges: Tensor | None) -> Tensor | None:
    return None if edges is None else edges.detach()


@dataclass(frozen=True)
class ExpectedCost:
    """What the network costs, operations taken as often as their mixing weights say.

    weight * sum over cells of the stack and their edges of f(sum_o w_o cost_o)

    f is the identity or, with `log`, log(max(x, 1)), whose gradient does not depend on the unit.
    Costs are those of an operation of the derived network where it would stand; cells' own
    preprocessing, stem and head are not choices and not counted.

    Args:
        weight: of a parameter, of a multiply-accumulate on one picture, or of a logarithm.
        of: "parameters", or "macs", for which the picture's size is the batch's.

    Xie et al., SNAS, ICLR 2019, arXiv:1812.09926.
    """

    weight: float
    of: Literal["parameters", "macs"] = "parameters"
    log: bool = False

    def __post_init__(self) -> None:
        _not_negative("ExpectedCost", self.weight)
        if self.of not in ("parameters", "macs"):
            raise ValueError(f"`ExpectedCost(of={self.of!r})` needs 'parameters' or 'macs'")

    def __call__(self, view: View, mixtures: Mixtures) -> Tensor:
        """A scalar.

        Raises:
            ValueError: if MACs are asked for outside a running search.
        """
        terms = []
        like = next(iter(mixtures.values())).ops
        for kind, costs in _costs(view.space, self._size(view), self.of, like.device, like.dtype):
            edges = (mixtures[kind].ops * costs).sum(dim=1)
            terms.append(edges.clamp(min=1).log().sum() if self.log else edges.sum())
        return self.weight * torch.stack(terms).sum()

    def _size(self, view: View) -> tuple[int, int]:
        if self.of == "parameters":
            return 8, 8  # any does
        batch = None if view.trial is None else view.trial.batch
        if batch is None:
            raise ValueError("`ExpectedCost(of='macs')` needs a running search with pictures")
        return batch.images.shape[2], batch.images.shape[3]


@cache
def _costs(
    space: Space, size: tuple[int, int], of: Cost, device: torch.device, dtype: torch.dtype
) -> Sequence[tuple[str, Tensor]]:
    """As `op_costs`; copied once, since a step on a GPU would wait for every copy."""
    return tuple((kind, rows.to(device, dtype)) for kind, rows in op_costs(space, size, of))


def _not_negative(part: str, weight: float) -> None:
    if weight < 0:
        raise ValueError(f"`{part}(weight={weight})` needs a weight of 0 or more")
