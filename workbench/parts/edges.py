"""Mixed edges: how one edge combines its operations given its row of mixing weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.parts.schedules import Linear, Scalar, scalar_at, scalar_range
from workbench.protocols import Edge, EdgeForm, MixedEdge, OpFactory
from workbench.spaces.ops import op_factory


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


@dataclass(frozen=True)
class PartialChannels:
    """The first 1/k of the channels go through the operations, the others pass by them.

    shuffle(concat(edge(first c/k channels), the rest)),   the rest max-pooled 2×2 at stride 2

    The shuffle of k groups puts channel i c/k + j at place j k + i, so that the next edge has
    others in front.  Which channels are first is fixed, not drawn.

    Args:
        k: operations are built with c/k channels.
        edge: what is done with these.

    Raises:
        ValueError: when an edge is built whose channels k does not divide.

    Xu et al., PC-DARTS, ICLR 2020, arXiv:1907.05737.  Differs: the pooling rounds odd sizes up, as
    every operation of stride 2 does here.
    """

    k: int = 4
    edge: Edge = WeightedSum

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"`PartialChannels(k={self.k})` needs k of 1 or more")

    def __call__(self, ops: Mapping[str, OpFactory], channels: int, stride: int) -> nn.Module:
        """The module of one edge."""
        if channels % self.k:
            fit = ", ".join(str(k) for k in range(1, channels + 1) if channels % k == 0)
            raise ValueError(
                f"`PartialChannels(k={self.k})` needs channels divisible by k; this cell has "
                f"{channels}. Choose k in {fit}."
            )
        return _PartialChannels(
            self.edge(ops, channels // self.k, stride), channels // self.k, stride, self.k
        )


class _PartialChannels(nn.Module):
    plain_sum: ClassVar[bool] = False

    def __init__(self, edge: nn.Module, width: int, stride: int, k: int) -> None:
        super().__init__()
        self.edge, self.width, self.stride, self.k = edge, width, stride, k

    @property
    def form(self) -> EdgeForm | None:
        """What it computes, where all channels of `edge` go through operations."""
        inner = EdgeForm.of(self.edge)
        if inner is None or inner.k > 1:
            return None
        skip = f"edge.{inner.skip}" if inner.skip else ""
        return inner._replace(ops=f"edge.{inner.ops}", k=self.k, skip=skip)

    def forward(self, x: Tensor, row: Tensor, t: float) -> Tensor:
        if self.k == 1:  # nothing goes past
            return self.edge(x, row, t)
        rest = x[:, self.width :]
        if self.stride == 2:
            rest = functional.max_pool2d(rest, 2, ceil_mode=True)
        out = torch.cat([self.edge(x[:, : self.width], row, t), rest], dim=1)
        return out.unflatten(1, (-1, self.width)).transpose(1, 2).flatten(1, 2)

    def drop(self, alive: Sequence[bool]) -> None:
        cast("MixedEdge", self.edge).drop(alive)


@dataclass(frozen=True)
class AuxiliarySkip:
    """A skip connection beside the operations, whose weight beta goes to 0 over the search.

    beta(t) skip(x) + edge(x)

    It is no candidate: it has no logit and is in no genotype.  At stride 2 it is a factorised
    reduction, with weights of its own.

    Args:
        beta: `Linear(1, 0)`; the paper also has `Cosine(1.0)` and a slow cosine that falls late,
            cos(pi t / 2) = `Cosine(1.0, -1.0, share=0.5)`.
        edge: what combines the candidates.

    Chu et al., DARTS-, ICLR 2021, arXiv:2009.01027.  Differs: beta falls at every step, in the
    released code after every epoch, so that its last epoch still has beta = 1/50.
    """

    beta: Scalar = Linear(1.0, 0.0)  # noqa: RUF009 - frozen
    edge: Edge = WeightedSum

    def __call__(self, ops: Mapping[str, OpFactory], channels: int, stride: int) -> nn.Module:
        """The module of one edge."""
        skip = ops.get("skip_connect", op_factory("skip_connect", affine=False))
        return _AuxiliarySkip(self.edge(ops, channels, stride), skip(channels, stride), self.beta)


class _AuxiliarySkip(nn.Module):
    plain_sum: ClassVar[bool] = False

    def __init__(self, edge: nn.Module, skip: nn.Module, beta: Scalar) -> None:
        super().__init__()
        self.edge, self.skip, self.beta = edge, skip, beta

    @property
    def form(self) -> EdgeForm | None:
        """What it computes, where `edge` is a plain sum."""
        if EdgeForm.of(self.edge) != EdgeForm():
            return None
        return EdgeForm(ops="edge.ops", skip="skip", beside=self.beta)

    def forward(self, x: Tensor, row: Tensor, t: float) -> Tensor:
        return self.edge(x, row, t) + scalar_at(self.beta, t) * self.skip(x)

    def drop(self, alive: Sequence[bool]) -> None:
        cast("MixedEdge", self.edge).drop(alive)


@dataclass(frozen=True)
class SkipDropout:
    """Dropout on `skip_connect` where it is the identity, so that others have time to learn.

    Numbers of the map are dropped one by one at `rate`, the rest divided by 1 - rate.  The mask
    follows from the progress t and a seed that every edge draws when it is built: passes at one
    step, such as both ends of a central difference, see the same one.

    Args:
        rate: share of numbers dropped, in [0, 1).
        edge: what combines the candidates.

    Chen et al., P-DARTS, ICCV 2019, arXiv:1904.12760.
    """

    rate: Scalar = 0.0
    edge: Edge = WeightedSum

    def __post_init__(self) -> None:
        low, high = scalar_range(self.rate)
        if low < 0 or high >= 1:
            raise ValueError(f"`SkipDropout(rate={self.rate})` needs a rate in [0, 1)")

    def __call__(self, ops: Mapping[str, OpFactory], channels: int, stride: int) -> nn.Module:
        """The module of one edge."""
        seed = int(torch.randint(2**31, ()))
        dropped = _DroppedSkip(seed)
        if stride == 1 and "skip_connect" in ops:
            ops = {**ops, "skip_connect": lambda c, s: dropped}
        return _SkipDropout(self.edge(ops, channels, stride), dropped, self.rate)


class _SkipDropout(nn.Module):
    """Tells the dropped skip inside `edge` the step and its rate before every pass."""

    plain_sum: ClassVar[bool] = False

    def __init__(self, edge: nn.Module, skip: _DroppedSkip, rate: Scalar) -> None:
        super().__init__()
        self.edge, self.skip, self.rate = edge, skip, rate

    def forward(self, x: Tensor, row: Tensor, t: float) -> Tensor:
        self.skip.t, self.skip.rate = t, scalar_at(self.rate, t)
        return self.edge(x, row, t)

    def drop(self, alive: Sequence[bool]) -> None:
        cast("MixedEdge", self.edge).drop(alive)


class _DroppedSkip(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed, self.t, self.rate = seed, 0.0, 0.0

    def forward(self, x: Tensor) -> Tensor:
        if not self.rate or not self.training:
            return x
        seed = np.random.SeedSequence((self.seed, round(self.t * 2**32))).generate_state(1)
        own = torch.Generator(x.device).manual_seed(int(seed[0]))
        return x * torch.empty_like(x).bernoulli_(1 - self.rate, generator=own) / (1 - self.rate)
