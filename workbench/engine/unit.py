"""ReLU, 1×1 convolution and batch norm on CPU kernels: what brings inputs to a cell's width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.engine.again import asked
from workbench.engine.forward import cleared, flat, room
from workbench.engine.geometry import refuse_one
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
from workbench.engine.workers import in_parts, threads_for

# What kernels of a cell's terms are told of the only one there is: its weight, that a batch norm
# stands behind it, and that it is the first wherever it is looked up.
WEIGHT, NORMED, FIRST = np.ones(1), np.ones(1, np.int64), np.zeros(1, np.int64)

PIECES = 8  # chunks of the kernels: 512 KB of a float32 map


def units(layers: Sequence[nn.Sequential], x: Tensor) -> tuple[Tensor, ...]:
    """What each of `layers` makes of `x` `(batch, h, w, c)` in training, `(batch, h, w, c out)`.

    They go through `x` side by side, a piece of it at a time, and its gradient is added up there.

    Args:
        layers: of `spaces.ops.conv`, 1×1, batch norms without scale and shift; see `pays`.

    Raises:
        ValueError: if there is but one pixel.
    """
    weights = [cast("nn.Conv2d", layer[1]).weight for layer in layers]
    refuse_one(x.numel() // weights[0].shape[1])
    views = [weight.view(weight.shape) for weight in weights]
    return _Units.apply(layers, x.view(x.shape), *views)  # pyright: ignore[reportReturnType]


def pays(layer: nn.Module, x: Tensor) -> bool:
    """Whether `units` computes what `layer` does, and in less time.

    In vectors of one or two numbers it takes up to twice as long.
    """
    if not isinstance(layer, nn.Sequential) or len(layer) != 3:
        return False
    relu, conv, norm = layer
    if not (isinstance(relu, nn.ReLU) and isinstance(conv, nn.Conv2d)):
        return False
    plain = conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0)
    bare = isinstance(norm, nn.BatchNorm2d) and not norm.affine and norm.momentum is not None
    if not (plain and conv.groups == 1 and conv.bias is None and bare and norm.training):
        return False
    return tile_for(x, conv.in_channels, conv.out_channels).lanes >= 4


class _Units(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, layers: Sequence[nn.Sequential], x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        sizes = [_Size.of(x, weight) for weight in weights]
        threads, source = sizes[0].threads, flat(x)
        ys = [room(size.pixels * size.out, x) for size in sizes]
        parts = [np.zeros((threads, 1, 2, size.out)) for size in sizes]
        flats = [flat(weight) for weight in weights]

        def run(thread: int, start: int, stop: int) -> None:
            for part in sizes[0].pieces(start, stop):
                for size, w, y, sums in zip(sizes, flats, ys, parts, strict=True):
                    pointwise(
                        size.tile, size.shape, part, source, size.c, w, 0, y, 0,
                        sums[thread].ravel(),
                    )  # fmt: skip

        in_parts(run, sizes[0].pixels, threads)
        norms = [cast("nn.BatchNorm2d", layer[2]) for layer in layers]
        found = [
            _statistics(norm, sums.sum(axis=0), size, ys[0].dtype)
            for norm, sums, size in zip(norms, parts, sizes, strict=True)
        ]
        ctx.layers, ctx.statistics = layers, found
        ctx.nodes = [each.grad_fn for each in (x, *weights)]
        ctx.save_for_backward(x, *weights, *map(torch.from_numpy, ys))
        return tuple(
            _normed(size.tile, y, *statistics, x.new_empty(*x.shape[:3], size.out))
            for size, y, statistics in zip(sizes, ys, found, strict=True)
        )

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.layers)
        x, weights = ctx.saved_tensors[0], ctx.saved_tensors[1 : count + 1]
        if torch.is_grad_enabled():
            return (None, *_again(ctx.layers, x, weights, ctx.needs_input_grad[1:], grads))
        ys = [before.numpy() for before in ctx.saved_tensors[count + 1 :]]
        asks, sizes = asked(ctx.nodes), [_Size.of(x, weight) for weight in weights]
        flats = [flat(grad.contiguous()) for grad in grads]
        coefs = [
            _coefficients(size.tile, grad, y, statistics, size.pixels, size.out)
            for size, grad, y, statistics in zip(sizes, flats, ys, ctx.statistics, strict=True)
        ]
        dx, go = room(x.numel(), x), np.zeros(1, np.int64)
        threads, source = sizes[0].threads, flat(x)
        moved = [
            [cleared(weight.numel() * ask, x) for _ in range(threads)]
            for weight, ask in zip(weights, asks[1:], strict=True)
        ]
        each = list(zip(sizes, map(flat, weights), ys, flats, coefs, moved, strict=True))

        def run(thread: int, start: int, stop: int) -> None:
            for part in sizes[0].pieces(start, stop):
                for number, (size, w, y, grad, coef, dw) in enumerate(each):
                    pointwise_back(
                        size.tile, size.shape, part, source, size.c, w, 0, y, 0, grad, go, coef, dx,
                        dw[thread], number > 0,
                    )  # fmt: skip

        in_parts(run, sizes[0].pixels, threads)
        learned = [
            torch.from_numpy(sum(dw[1:], dw[0])).view_as(weight) if ask else None
            for dw, weight, ask in zip(moved, weights, asks[1:], strict=True)
        ]
        return None, torch.from_numpy(dx).view_as(x) if asks[0] else None, *learned


@dataclass(frozen=True)
class _Size:
    """What a layer's kernels are told: vectors, pixels, channels that come in and go out."""

    tile: Tile
    pixels: int
    c: int
    out: int

    @staticmethod
    def of(x: Tensor, weight: Tensor) -> _Size:
        out, c = weight.shape[:2]
        return _Size(tile_for(x, c, out), x.numel() // c, c, out)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """One group."""
        return 1, self.pixels, self.c, self.out

    @property
    def threads(self) -> int:
        """That its pixels are shared by."""
        return threads_for(self.pixels * max(self.c, self.out))

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Pixels that all layers go through before the next, few enough to stay in a core's cache.

        Whole chunks of the kernels, which thus do the same as for all pixels at once.
        """
        most = PIECES * max(1, CHUNK // self.c)
        return ((first, min(first + most, stop)) for first in range(start, stop, most))


def _statistics(
    norm: nn.BatchNorm2d, sums: np.ndarray, size: _Size, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1/std; running ones move along."""
    mean, inverse = np.empty((1, size.out)), np.empty((1, size.out))
    running = [np.empty((1, size.out), dtype) for _ in range(2)]
    moving = norm.track_running_stats
    if moving:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        both = norm.running_mean, norm.running_var
        running = [cast("Tensor", r).view(1, -1).numpy() for r in both]
    momentum = (norm.momentum or 0.0) if moving else 0.0
    normalise(sums, size.pixels, norm.eps, mean, inverse, 0, *running, momentum)
    return mean, inverse


def _normed(tile: Tile, y: np.ndarray, mean: np.ndarray, inverse: np.ndarray, z: Tensor) -> Tensor:
    """`z = (y - mean) inverse`."""
    c, to = mean.shape[1], flat(z)
    scale, shift = np.empty((1, c), y.dtype), np.empty(c, y.dtype)
    scales(WEIGHT, NORMED, FIRST, mean, inverse, scale, shift)

    def run(thread: int, start: int, stop: int) -> None:
        mix(
            tile, y, y, y, y, FIRST, FIRST, FIRST + c, scale.ravel(), shift, to, 0, c, start, stop,
            c, False,
        )  # fmt: skip

    in_parts(run, len(y) // c, threads_for(len(y)))
    return z


def _coefficients(
    tile: Tile, grad: np.ndarray, y: np.ndarray, statistics: tuple[np.ndarray, np.ndarray],
    pixels: int, c: int,
) -> np.ndarray:  # fmt: skip
    """Of the batch norm's gradient, `(3, c)`: see `kernels.mixing`."""
    coef, threads = np.empty((1, 3, c), y.dtype), threads_for(len(y))
    parts = np.zeros((threads, 2, c))

    def run(thread: int, start: int, stop: int) -> None:
        mix_sums(
            tile, grad, 0, y, y, y, y, FIRST, FIRST, FIRST + c, parts[thread].ravel(), start, stop,
            c,
        )  # fmt: skip

    in_parts(run, pixels, threads)
    sums = parts.sum(axis=0)
    norm_coefficients(WEIGHT, NORMED, FIRST, *statistics, sums[:1], sums[1:], pixels, FIRST, coef)
    return coef.ravel()


def _again(
    layers: Sequence[nn.Sequential], x: Tensor, weights: Sequence[Tensor], wanted: Sequence[bool],
    grads: Sequence[Tensor],
) -> list[Tensor | None]:  # fmt: skip
    """Gradients that have a graph of their own; running statistics do not move again."""
    with torch.enable_grad():
        here = [x.view_as(x), *(weight.view_as(weight) for weight in weights)]
        maps = functional.relu(here[0]).permute(0, 3, 1, 2)
        zs = [
            functional.batch_norm(
                functional.conv2d(maps, weight), None, None, training=True,
                eps=cast("nn.BatchNorm2d", layer[2]).eps,
            ).permute(0, 2, 3, 1)
            for weight, layer in zip(here[1:], layers, strict=True)
        ]  # fmt: skip
    chosen = [h for h, want in zip(here, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(zs, chosen, grads, create_graph=True))
    return [next(found) if want else None for want in wanted]
