"""Mixed edges: how one edge combines its operations given its row of mixing weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from workbench.protocols import OpFactory


class WeightedSum(nn.Module):
    """The sum of every operation's output times its mixing weight.

    sum_o row_o * o(x)

    Liu et al., DARTS, ICLR 2019, arXiv:1806.09055, eq. 2.
    """

    plain_sum: ClassVar[bool] = True

    def __init__(self, ops: Mapping[str, OpFactory], channels: int, stride: int) -> None:
        super().__init__()
        self.names, self.stride = tuple(ops), stride
        self.ops = nn.ModuleDict({name: build(channels, stride) for name, build in ops.items()})

    def forward(self, x: Tensor, row: Tensor, t: float) -> Tensor:
        """`(batch, c, h', w')` of `x` `(batch, c, h, w)` and `row` `(ops,)`.

        Zeros where no operation is left.
        """
        total = None
        for name, weight in zip(self.names, row.unbind(0), strict=True):
            if name in self.ops:
                term = weight * self.ops[name](x)
                total = term if total is None else total + term
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride]) if total is None else total

    def drop(self, alive: Sequence[bool]) -> None:
        """Delete the modules of operations that are no longer alive."""
        for name, keep in zip(self.names, alive, strict=True):
            if not keep and name in self.ops:
                del self.ops[name]
