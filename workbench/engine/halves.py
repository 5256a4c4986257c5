"""Every second pixel, as a strided `skip_connect` sees a map, at the cost of what is seen.

A slice's own gradient fills a whole map with zeros for each direction; on a channels-last map it
even comes back channels-first, on which a ReLU's gradient takes four times as long.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from workbench.engine.geometry import channels_last
from workbench.spaces.ops import FactorizedReduce


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Even pixels, and those one further, of `x` `(batch, h, w, c)`, each `(batch, h/2, w/2, c)`.

    Odd sizes are rounded up; what is one further is 0 there.
    """
    return _Halves.apply(x)  # pyright: ignore[reportReturnType]


def factorized_reduce(layer: FactorizedReduce, x: Tensor) -> Tensor:
    """What `layer` makes of `x` `(batch, h, w, c)`, contiguous too."""
    parts = [layer.activation(part).permute(0, 3, 1, 2) for part in halves(x)]
    convolutions: list[nn.Conv2d] = [layer.even, layer.odd]
    maps = [conv(part) for conv, part in zip(convolutions, parts, strict=True)]
    return channels_last(layer.norm(torch.cat(maps, dim=1)))


class _Halves(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.size = x.shape  # pyright: ignore[reportAttributeAccessIssue]
        odd = functional.pad(x[:, 1::2, 1::2], (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        return x[:, ::2, ::2].contiguous(), odd.contiguous()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        even, odd = grads
        return _Joined.apply(even, odd, ctx.size)  # pyright: ignore[reportReturnType]


class _Joined(torch.autograd.Function):
    """The transpose of `_Halves`, as that is of this."""

    @staticmethod
    def forward(ctx: FunctionCtx, even: Tensor, odd: Tensor, size: torch.Size) -> Tensor:
        x = even.new_zeros(size)
        x[:, ::2, ::2] = even
        x[:, 1::2, 1::2] = odd[:, : size[1] // 2, : size[2] // 2]
        return x

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        return (*_Halves.apply(grads[0]), None)  # pyright: ignore[reportReturnType]
