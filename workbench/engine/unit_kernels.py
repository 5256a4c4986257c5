"""What brings a map to a cell's width, a few pictures at a time, on CPU kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from workbench.engine.forward import flat
from workbench.engine.kernels.halves import backward as halves_back
from workbench.engine.kernels.halves import forward as halves
from workbench.engine.kernels.mixing import (
    mix,
    mix_sums,
    norm_coefficients,
    normalise,
    scales,
)
from workbench.engine.kernels.pointwise import CHUNK
from workbench.engine.kernels.pointwise import backward as pointwise_back
from workbench.engine.kernels.pointwise import forward as pointwise
from workbench.engine.kernels.simd import Tile, tile_for
from workbench.engine.workers import added_up, in_parts, threads_for
from workbench.spaces.ops import FactorizedReduce

# What kernels of a cell's terms are told of the only one there is: its weight, that a batch norm
# stands behind it, and that it is the first wherever it is looked up.
WEIGHT, NORMED, FIRST = np.ones(1), np.ones(1, np.int64), np.zeros(1, np.int64)

Moments = tuple[np.ndarray, np.ndarray]  # mean and 1/std, each `(1, c)`

PIECES = 8  # chunks of the kernels: 512 KB of a float32 map


def convolutions(layer: nn.Module) -> list[nn.Conv2d]:
    """Those of a layer that `Unit` is of: one, or the two of a `FactorizedReduce`."""
    if isinstance(layer, FactorizedReduce):
        return [layer.even, layer.odd]
    return [cast("nn.Conv2d", cast("nn.Sequential", layer)[1])]


def norm_of(layer: nn.Module) -> nn.BatchNorm2d:
    """A layer's batch norm."""
    if isinstance(layer, FactorizedReduce):
        return layer.norm
    return cast("nn.BatchNorm2d", cast("nn.Sequential", layer)[2])


@dataclass(frozen=True)
class Unit:
    """ReLU and 1×1 convolution of maps `(batch, h, w, c)`.

    Args:
        matrices: weights `(out, c)`, flat.
    """

    step: ClassVar[int] = 1  # every pixel comes out
    only_adds: ClassVar[bool] = False  # to the gradient of its map, which it can write too

    tile: Tile
    matrices: np.ndarray
    images: int
    height: int
    width: int
    c: int
    out: int

    @property
    def sized(self) -> tuple[int, int]:
        """Height and width of what comes out."""
        return (self.height - 1) // self.step + 1, (self.width - 1) // self.step + 1

    @property
    def pixels(self) -> int:
        """Of what comes out, over all pictures."""
        return self.images * self.sized[0] * self.sized[1]

    @property
    def threads(self) -> int:
        """That its pictures are shared by."""
        return threads_for(self.images * self.height * self.width * max(self.c, self.out))

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Pictures that all units go through before the next, if they fit into a core's cache."""
        most = max(1, PIECES * CHUNK // (self.height * self.width * self.c))
        return ((first, min(first + most, stop)) for first in range(start, stop, most))

    def forward(
        self, part: tuple[int, int], x: np.ndarray, y: np.ndarray, sums: np.ndarray
    ) -> None:
        """Write some pictures of `y`; its moments are added to `sums` `(1, 2, out)`."""
        pointwise(*self._told(part), x, self.c, self.matrices, 0, y, 0, sums.ravel())

    def backward(
        self, part: tuple[int, int], x: np.ndarray, y: np.ndarray, grad: np.ndarray,
        coef: np.ndarray, dx: np.ndarray, dw: np.ndarray, *, more: bool,
    ) -> None:  # fmt: skip
        """Write some pictures of `dx`, or add to what is there if `more`.

        `dw`, which is like `matrices`, or empty where it is not asked for, is added to.
        """
        pointwise_back(
            *self._told(part), x, self.c, self.matrices, 0, y, 0, grad, FIRST, coef, dx, dw, more
        )

    def _told(self, part: tuple[int, int]) -> tuple[Tile, tuple[int, ...], tuple[int, int]]:
        each = self.height * self.width
        shape = (1, self.pixels, self.c, self.out)
        return self.tile, shape, (part[0] * each, part[1] * each)

    def as_weights(self, dw: np.ndarray, weights: Sequence[Tensor]) -> list[Tensor]:
        """What is like `matrices`, like the convolutions' weights."""
        return [torch.from_numpy(dw).view_as(weight) for weight in weights]


@dataclass(frozen=True)
class Halving(Unit):
    """The same of every second pixel, by two convolutions: a `FactorizedReduce`.

    Args:
        matrices: weights `(c, half of out)`, flat, those of even pixels first.
    """

    step: ClassVar[int] = 2
    only_adds: ClassVar[bool] = True

    @cached_property
    def _begin(self) -> np.ndarray:
        """Where the weights of each convolution do."""
        return np.array([0, self.c * (self.out // 2)])

    def forward(
        self, part: tuple[int, int], x: np.ndarray, y: np.ndarray, sums: np.ndarray
    ) -> None:
        """As a `Unit` does."""
        halves(*self._told(part), x, self.c, self.matrices, self._begin, y, 0, sums.ravel())

    def backward(
        self, part: tuple[int, int], x: np.ndarray, y: np.ndarray, grad: np.ndarray,
        coef: np.ndarray, dx: np.ndarray, dw: np.ndarray, *, more: bool,
    ) -> None:  # fmt: skip
        """Add some pictures of `dx` to what is there, and `dw` likewise."""
        halves_back(
            *self._told(part),
            x,
            self.c,
            self.matrices,
            self._begin,
            y,
            0,
            grad,
            FIRST,
            coef,
            dx,
            dw,
        )

    def _told(self, part: tuple[int, int]) -> tuple[Tile, tuple[int, ...], tuple[int, int]]:
        return self.tile, (1, self.images, self.height, self.width, self.c, self.out), part

    def as_weights(self, dw: np.ndarray, weights: Sequence[Tensor]) -> list[Tensor]:
        """As of a `Unit`."""
        parts = torch.from_numpy(dw).split([weight.numel() for weight in weights])
        return [
            part.view(self.c, -1).t().reshape(weight.shape)
            for part, weight in zip(parts, weights, strict=True)
        ]


def unit_of(layer: nn.Module, x: Tensor, weights: Sequence[Tensor]) -> Unit:
    """That of a layer and a map, with the weights of its convolutions."""
    images, height, width, c = x.shape
    parts = [weight.shape[0] for weight in weights]
    size = images, height, width, c, sum(parts)
    tile = tile_for(x, c, *parts)
    if not isinstance(layer, FactorizedReduce):
        return Unit(tile, flat(weights[0]), *size)
    turned = [weight.detach().flatten(1).t().reshape(-1) for weight in weights]
    return Halving(tile, flat(torch.cat(turned)), *size)


def statistics(norm: nn.BatchNorm2d, sums: np.ndarray, unit: Unit, dtype: np.dtype) -> Moments:
    """Of what comes out of a unit; running ones move along."""
    mean, inverse = np.empty((1, unit.out)), np.empty((1, unit.out))
    running = [np.empty((1, unit.out), dtype) for _ in range(2)]
    moving = norm.track_running_stats
    if moving:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        both = norm.running_mean, norm.running_var
        running = [cast("Tensor", r).view(1, -1).numpy() for r in both]
    momentum = (norm.momentum or 0.0) if moving else 0.0
    normalise(sums, unit.pixels, norm.eps, mean, inverse, 0, *running, momentum)
    return mean, inverse


def normed(unit: Unit, y: np.ndarray, moments: Moments, like: Tensor) -> Tensor:
    """`(y - mean) / std`, `(batch, h, w, c)`."""
    z, c = like.new_empty(unit.images, *unit.sized, unit.out), unit.out
    scale, shift, to = np.empty((1, c), y.dtype), np.empty(c, y.dtype), flat(z)
    scales(WEIGHT, NORMED, FIRST, *moments, scale, shift)

    def run(thread: int, start: int, stop: int) -> None:
        mix(
            unit.tile, y, y, y, y, FIRST, FIRST, FIRST + c, scale.ravel(), shift, to, 0, c, start,
            stop, c, False,
        )  # fmt: skip

    in_parts(run, unit.pixels, threads_for(len(y)))
    return z


def coefficients(unit: Unit, grad: np.ndarray, y: np.ndarray, moments: Moments) -> np.ndarray:
    """Of the batch norm's gradient, `(3, c)` flat: see `kernels.mixing`."""
    c, threads = unit.out, threads_for(len(y))
    coef, parts = np.empty((1, 3, c), y.dtype), np.zeros((threads, 2, c))

    def run(thread: int, start: int, stop: int) -> None:
        mix_sums(
            unit.tile, grad, 0, y, y, y, y, FIRST, FIRST, FIRST + c, parts[thread].ravel(), start,
            stop, c,
        )  # fmt: skip

    in_parts(run, unit.pixels, threads)
    sums = added_up(parts)
    norm_coefficients(WEIGHT, NORMED, FIRST, *moments, sums[:1], sums[1:], unit.pixels, FIRST, coef)
    return coef.ravel()
