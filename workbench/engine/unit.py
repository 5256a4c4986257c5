"""ReLU, 1×1 convolution and batch norm on CPU kernels: what brings inputs to a cell's width."""

from __future__ import annotations

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
from workbench.engine.kernels.pointwise import backward as pointwise_back
from workbench.engine.kernels.pointwise import forward as pointwise
from workbench.engine.kernels.simd import Tile, tile_for
from workbench.engine.workers import in_parts, threads_for

# What kernels of a cell's terms are told of the only one there is: its weight, that a batch norm
# stands behind it, and that it is the first wherever it is looked up.
WEIGHT, NORMED, FIRST = np.ones(1), np.ones(1, np.int64), np.zeros(1, np.int64)


def unit(layer: nn.Sequential, x: Tensor) -> Tensor:
    """What `layer` makes of `x` `(batch, h, w, c)` in training, contiguous `(batch, h, w, c out)`.

    Args:
        layer: of `spaces.ops.conv`, 1×1, its batch norm without scale and shift; see `pays`.

    Raises:
        ValueError: if there is but one pixel.
    """
    weight = cast("nn.Conv2d", layer[1]).weight
    refuse_one(x.numel() // weight.shape[1])
    return _Unit.apply(layer, weight.view(weight.shape), x.view(x.shape))  # pyright: ignore[reportReturnType]


def pays(layer: nn.Module, x: Tensor) -> bool:
    """Whether `unit` computes what `layer` does, and in less time.

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


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, layer: nn.Sequential, weight: Tensor, x: Tensor) -> Tensor:
        norm, (out, c) = cast("nn.BatchNorm2d", layer[2]), weight.shape[:2]
        pixels, tile = x.numel() // c, tile_for(x, c, out)
        y, threads = room(pixels * out, x), threads_for(pixels * max(c, out))
        parts = np.zeros((threads, 1, 2, out))
        source, w = flat(x), flat(weight)

        def run(thread: int, start: int, stop: int) -> None:
            shape, part = (1, pixels, c, out), (start, stop)
            pointwise(tile, shape, part, source, c, w, 0, y, 0, parts[thread].ravel())

        in_parts(run, pixels, threads)
        mean, inverse = np.empty((1, out)), np.empty((1, out))
        moving = norm.track_running_stats
        running = [np.empty((1, out), y.dtype) for _ in range(2)]
        if moving:
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked += 1
            both = norm.running_mean, norm.running_var
            running = [cast("Tensor", r).view(1, -1).numpy() for r in both]
        momentum = (norm.momentum or 0.0) if moving else 0.0
        normalise(parts.sum(axis=0), pixels, norm.eps, mean, inverse, 0, *running, momentum)
        ctx.layer, ctx.statistics = layer, (mean, inverse)
        ctx.nodes = [weight.grad_fn, x.grad_fn]
        ctx.save_for_backward(weight, x, torch.from_numpy(y))
        return _normed(tile, y, mean, inverse, x.new_empty(*x.shape[:3], out))

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, x, before = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (None, *_again(ctx.layer, weight, x, ctx.needs_input_grad[1:], grads[0]))
        (out, c), asks = weight.shape[:2], asked(ctx.nodes)
        pixels, tile = x.numel() // c, tile_for(x, c, out)
        grad, y = flat(grads[0].contiguous()), before.numpy()
        threads = threads_for(pixels * max(c, out))
        coef = _coefficients(tile, grad, y, ctx.statistics, pixels, out)
        dx, go, size = room(x.numel(), x), np.zeros(1, np.int64), weight.numel() * asks[0]
        moved = [cleared(size, x) for _ in range(threads)]
        source, w = flat(x), flat(weight)

        def run(thread: int, start: int, stop: int) -> None:
            shape, part = (1, pixels, c, out), (start, stop)
            pointwise_back(
                tile, shape, part, source, c, w, 0, y, 0, grad, go, coef, dx, False, moved[thread]
            )

        in_parts(run, pixels, threads)
        of_weight = torch.from_numpy(sum(moved[1:], moved[0])).view_as(weight) if asks[0] else None
        return None, of_weight, torch.from_numpy(dx).view_as(x) if asks[1] else None


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
    layer: nn.Sequential, weight: Tensor, x: Tensor, wanted: tuple[bool, ...], grad: Tensor
) -> list[Tensor | None]:
    """Gradients that have a graph of their own; running statistics do not move again."""
    with torch.enable_grad():
        here = [weight.view_as(weight), x.view_as(x)]
        maps = functional.conv2d(functional.relu(here[1]).permute(0, 3, 1, 2), here[0])
        eps = cast("nn.BatchNorm2d", layer[2]).eps
        z = functional.batch_norm(maps, None, None, training=True, eps=eps).permute(0, 2, 3, 1)
    chosen = [h for h, want in zip(here, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(z, chosen, grad, create_graph=True))
    return [next(found) if want else None for want in wanted]
