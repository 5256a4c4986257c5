"""A mixed edge that runs only the operations that weigh something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from workbench.protocols import EdgeForm, OpFactory


@dataclass(frozen=True)
class SingleOp:
    """Only operations whose mixing weight is not 0 are run: one, under a one-hot row.

    row_k * k(x)

    A sum over what is not 0 otherwise, as where a rule asks for the loss under `mix`.  Which they
    are has to be read, so a GPU is waited for: once per pass, once per edge inside another edge.

    Args:
        broadcast: add the weights that are 0 to every number of the output, as the first form of
            the released code does (its issue 119 led to the other).  The value is the same; the
            gradient of such a weight is then the sum of the gradient that comes in, which says
            nothing of its operation.

    Dong and Yang, GDAS, CVPR 2019, arXiv:1910.04465.
    """

    broadcast: bool = False

    def __call__(self, ops: Mapping[str, OpFactory], channels: int, stride: int) -> nn.Module:
        """The module of one edge."""
        return _SingleOp(ops, channels, stride, broadcast=self.broadcast)


class _SingleOp(nn.Module):
    plain_sum: ClassVar[bool] = False
    chooses: ClassVar[bool] = True

    def __init__(
        self, ops: Mapping[str, OpFactory], channels: int, stride: int, *, broadcast: bool
    ) -> None:
        super().__init__()
        self.names, self.stride, self.broadcast = tuple(ops), stride, broadcast
        self.ops = nn.ModuleDict({name: build(channels, stride) for name, build in ops.items()})

    @property
    def form(self) -> EdgeForm | None:
        """What it computes; of idle weights that are added the fast supernet knows nothing."""
        return None if self.broadcast else EdgeForm(chosen=True)

    def forward(
        self, x: Tensor, row: Tensor, t: float, runs: Sequence[bool] | None = None
    ) -> Tensor:
        """`(batch, c, h', w')` of `x` `(batch, c, h, w)` and `row` `(ops,)`.

        Args:
            runs: which of `row` are not 0, where the host knows it.
        """
        terms: list[Tensor] = []
        idle: list[Tensor] = []
        runs = (row != 0).tolist() if runs is None else runs
        for name, weight, run in zip(self.names, row.unbind(0), runs, strict=True):
            if run and name in self.ops:
                terms.append(weight * self.ops[name](x))
            else:
                idle.append(weight)
        total = terms[0] if terms else torch.zeros_like(x[:, :, :: self.stride, :: self.stride])
        for term in (*terms[1:], *(idle if self.broadcast else ())):
            total = total + term
        return total

    def drop(self, alive: Sequence[bool]) -> None:
        """Delete the modules of operations that are no longer alive."""
        for name, keep in zip(self.names, alive, strict=True):
            if not keep and name in self.ops:
                del self.ops[name]
