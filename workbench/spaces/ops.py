"""The one table of operations: how each is built, for the supernet and for derived networks.

Every convolution is pre-activated (ReLU, convolution, batch norm) and has no bias.  Facts from the
published code of DARTS (arXiv:1806.09055) and NAS-Bench-201 (arXiv:2001.00326).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.protocols import OpFactory
from workbench.spaces.genotype import GenotypeError
from workbench.spaces.morph_ops import Separable, separable

Activation = Callable[[], nn.Module]


class Zero(nn.Module):
    """`none`: zeros of the (sub-sampled) map."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Zeros `(batch, c, ceil(h/stride), ceil(w/stride))`."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(nn.Module):
    """`noise`: Gaussian noise of mean 0 and variance 1, whatever the input, at evaluation too.

    Its seed is drawn when it is built.  How often it was called is part of its state, and every
    call draws its own.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride, self.calls = stride, 0
        self.seed = int(torch.randint(2**31, (), device="cpu"))

    def forward(self, x: Tensor) -> Tensor:
        """Noise `(batch, c, ceil(h/stride), ceil(w/stride))`."""
        out = torch.empty_like(x[:, :, :: self.stride, :: self.stride])
        if out.is_meta:
            return out
        seed = int(np.random.SeedSequence((self.seed, self.calls)).generate_state(1)[0])
        generator = torch.Generator(out.device).manual_seed(seed)
        self.calls += 1
        return out.normal_(generator=generator)

    def get_extra_state(self) -> Tensor:
        """Seed and number of calls."""
        return torch.tensor([self.seed, self.calls])

    def set_extra_state(self, state: Tensor) -> None:
        """From `get_extra_state`."""
        self.seed, self.calls = state.tolist()


class FactorizedReduce(nn.Module):
    """Halve the map: two stride-2 1×1 convolutions, the second one pixel off, concatenated.

    Odd sizes are padded by one row and column of zeros for the second, as pooling rounds up too.
    """

    def __init__(self, c_in: int, c_out: int, affine: bool, activation: Activation) -> None:
        super().__init__()
        self.activation = activation()
        # Stride 2 is taken before the convolutions: with it and channels last, oneDNN 3.12 on AVX2
        # writes past the gradient of maps whose channels are no multiple of 8.
        self.even = nn.Conv2d(c_in, c_out // 2, 1, bias=False)
        self.odd = nn.Conv2d(c_in, c_out - c_out // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, c_out, ceil(h/2), ceil(w/2))` of `x` `(batch, c_in, h, w)`."""
        x = self.activation(x)
        shifted = x[:, :, 1:, 1:]
        odd_h, odd_w = x.shape[2] % 2, x.shape[3] % 2
        if odd_h or odd_w:
            shifted = functional.pad(shifted, (0, odd_w, 0, odd_h))
        even, odd = x[:, :, ::2, ::2], shifted[:, :, ::2, ::2]
        return self.norm(torch.cat([self.even(even), self.odd(odd)], dim=1))


def conv(
    c_in: int, c_out: int, kernel: int, stride: int, affine: bool, activation: Activation
) -> nn.Sequential:
    """ReLU, `kernel`×`kernel` convolution, batch norm."""
    return nn.Sequential(
        activation(),
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(c_out, affine=affine),
    )


def separable_stack(
    what: Separable, c: int, stride: int, affine: bool, activation: Activation
) -> nn.Sequential:
    """ReLU, depthwise and pointwise convolution and batch norm, `what.stacked` times."""
    padding = what.dilation * (what.kernel // 2)
    channels = [c, *(width * c for width in what.widths), c]
    modules: list[nn.Module] = []
    for index, (c_in, c_out) in enumerate(pairwise(channels)):
        step = stride if index == 0 else 1
        modules += [
            activation(),
            nn.Conv2d(
                c_in, c_in, what.kernel, step, padding, what.dilation, groups=c_in, bias=False
            ),
            nn.Conv2d(c_in, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out, affine=affine),
        ]
    return nn.Sequential(*modules)


def _factorised_7x7(c: int, stride: int, affine: bool, act: Activation) -> nn.Module:
    return nn.Sequential(
        act(),
        nn.Conv2d(c, c, (1, 7), (1, stride), (0, 3), bias=False),
        nn.Conv2d(c, c, (7, 1), (stride, 1), (3, 0), bias=False),
        nn.BatchNorm2d(c, affine=affine),
    )


def _skip(c: int, stride: int, affine: bool, act: Activation) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(c, c, affine, act)


_Builder = Callable[[int, int, bool, Activation], nn.Module]  # channels, stride, affine, activation

# Separable convolutions of any other shape are built from their names: workbench.spaces.morph_ops.
OPS: dict[str, _Builder] = {
    "none": lambda c, s, affine, act: Zero(s),
    "max_pool_3x3": lambda c, s, affine, act: nn.MaxPool2d(3, s, 1),
    "avg_pool_3x3": lambda c, s, affine, act: nn.AvgPool2d(3, s, 1, count_include_pad=False),
    "skip_connect": _skip,
    "noise": lambda c, s, affine, act: Noise(s),
    "sep_conv_3x3": partial(separable_stack, Separable(3, widths=(1,))),
    "sep_conv_5x5": partial(separable_stack, Separable(5, widths=(1,))),
    "sep_conv_7x7": partial(separable_stack, Separable(7, widths=(1,))),
    "dil_conv_3x3": partial(separable_stack, Separable(3, dilation=2)),
    "dil_conv_5x5": partial(separable_stack, Separable(5, dilation=2)),
    "conv_7x1_1x7": _factorised_7x7,
    "nor_conv_1x1": lambda c, s, affine, act: conv(c, c, 1, s, affine, act),
    "nor_conv_3x3": lambda c, s, affine, act: conv(c, c, 3, s, affine, act),
}


def op_factory(
    name: str, *, affine: bool, pool_norm: bool = False, activation: Activation = nn.ReLU
) -> OpFactory:
    """How to build operation `name` for given channels and stride.

    Args:
        affine: whether batch norms have scale and shift: no in a search, yes in a derived network.
        pool_norm: put a batch norm without scale behind pooling, as the DARTS supernet does.
        activation: ReLU; a smooth one lets second-order gradients be tested exactly.

    Raises:
        GenotypeError: if there is no such operation.
    """
    builder = OPS.get(name) or _builder(name)

    def build(channels: int, stride: int) -> nn.Module:
        module = builder(channels, stride, affine, activation)
        if pool_norm and "pool" in name:
            return nn.Sequential(module, nn.BatchNorm2d(channels, affine=False))
        return module

    return build


def _builder(name: str) -> _Builder:
    what = separable(name)
    if what is None:
        raise GenotypeError(f"there is no operation {name!r}; choose of {', '.join(OPS)}")
    return partial(separable_stack, what)
