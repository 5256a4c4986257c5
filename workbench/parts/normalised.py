"""A mixed edge whose input is normalised first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from torch import Tensor, nn
from torch.nn import functional

from workbench.protocols import Edge, MixedEdge, OpFactory

Mode = Literal["batch", "layer", "l2"]
_MODES = ("batch", "layer", "l2")


@dataclass(frozen=True)
class NodeNorm:
    """Every edge sees its node's output at one scale; nothing in it is learnt.

    A reading of a paper whose code is not public: it keeps the norms of nodes in balance, and is
    not explicit here about where and how.  The derived network has no such norms.

    Args:
        edge: how the normalised input is then mixed.
        mode: "batch" standardises every channel over the batch; "layer" every picture over all its
            channels and pixels; "l2" divides every picture by its root mean square.

    Wang et al., iDARTS: Node Normalization and Decorrelation Discretization, TNNLS 2023,
    arXiv:2108.11014.
    """

    edge: Edge
    mode: Mode = "batch"

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ValueError(f"`NodeNorm(mode={self.mode!r})` must be one of {', '.join(_MODES)}")

    def __call__(self, ops: Mapping[str, OpFactory], channels: int, stride: int) -> nn.Module:
        """The module of one edge whose candidates are `ops`."""
        return NormalisedEdge(self.edge(ops, channels, stride), self.mode, channels)


class NormalisedEdge(nn.Module):
    """`edge` behind a norm of its input."""

    plain_sum: ClassVar[bool] = False

    def __init__(self, edge: nn.Module, mode: Mode, channels: int) -> None:
        super().__init__()
        self.edge, self.mode = edge, mode
        self.norm = nn.BatchNorm2d(channels, affine=False) if mode == "batch" else None

    def forward(self, x: Tensor, row: Tensor, t: float) -> Tensor:
        """`(batch, c, h', w')` of `x` `(batch, c, h, w)` and `row` `(ops,)`."""
        if self.norm is not None:
            x = self.norm(x)
        elif self.mode == "layer":
            x = functional.layer_norm(x, x.shape[1:])
        else:
            x = x * (x.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-5).rsqrt()
        return self.edge(x, row, t)

    def drop(self, alive: Sequence[bool]) -> None:
        """Delete the modules of operations that are no longer alive."""
        cast("MixedEdge", self.edge).drop(alive)
