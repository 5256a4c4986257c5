"""ReLU, 1×1 convolution and batch norm on CPU kernels: what brings inputs to a cell's width."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.engine.again import asked
from workbench.engine.forward import cleared, flat, room
from workbench.engine.geometry import refuse_one
from workbench.engine.halves import halves
from workbench.engine.kernels.simd import tile_for
from workbench.engine.unit_kernels import (
    Unit,
    coefficients,
    convolutions,
    norm_of,
    normed,
    statistics,
    unit_of,
)
from workbench.engine.workers import added_up, in_parts
from workbench.spaces.ops import FactorizedReduce

T = TypeVar("T")


def units(layers: Sequence[nn.Module], x: Tensor) -> tuple[Tensor, ...]:
    """What each of `layers` makes of `x` `(batch, h, w, c)` in training, channels-last too.

    They go through `x` side by side, a piece of it at a time, and its gradient is added up there.

    Args:
        layers: of `spaces.ops.conv`, 1×1, or `FactorizedReduce`, batch norms without scale and
            shift; see `pays`.

    Raises:
        ValueError: if one has only one pixel to normalise.
    """
    weights = [conv.weight for layer in layers for conv in convolutions(layer)]
    views = [weight.view(weight.shape) for weight in weights]
    return _Units.apply(layers, x.view(x.shape), *views)  # pyright: ignore[reportReturnType]


def pays(layer: nn.Module, x: Tensor) -> bool:
    """Whether `units` computes what `layer` does, and in less time.

    In vectors of one or two numbers it takes up to twice as long.
    """
    if isinstance(layer, FactorizedReduce):
        relu = layer.activation
    elif isinstance(layer, nn.Sequential) and len(layer) == 3:
        relu = layer[0]
    else:
        return False
    convs, norm = convolutions(layer), norm_of(layer)
    bare = isinstance(norm, nn.BatchNorm2d) and not norm.affine and norm.momentum is not None
    if not (isinstance(relu, nn.ReLU) and bare and norm.training and all(map(_plain, convs))):
        return False
    channels = [x.shape[3], *(conv.out_channels for conv in convs)]
    return tile_for(x, *channels).lanes >= 4


def _plain(conv: nn.Module) -> bool:
    """Whether it is a 1×1 convolution and nothing else."""
    if not isinstance(conv, nn.Conv2d) or conv.groups != 1 or conv.bias is not None:
        return False
    return conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0)


class _Units(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, layers: Sequence[nn.Module], x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        every = _by_layer(layers, weights)
        jobs = [unit_of(layer, x, own) for layer, own in zip(layers, every, strict=True)]
        refuse_one(min(job.pixels for job in jobs))
        threads, source = jobs[0].threads, flat(x)
        ys = [room(job.pixels * job.out, x) for job in jobs]
        parts = [np.zeros((threads, 1, 2, job.out)) for job in jobs]

        def run(thread: int, start: int, stop: int) -> None:
            for part in jobs[0].pieces(start, stop):
                for job, y, sums in zip(jobs, ys, parts, strict=True):
                    job.forward(part, source, y, sums[thread])

        in_parts(run, len(x), threads)
        ctx.layers, ctx.jobs = layers, jobs
        ctx.moments = [
            statistics(norm_of(layer), added_up(sums), job, ys[0].dtype)
            for layer, sums, job in zip(layers, parts, jobs, strict=True)
        ]
        ctx.nodes = [each.grad_fn for each in (x, *weights)]
        ctx.save_for_backward(x, *weights, *map(torch.from_numpy, ys))
        return tuple(
            normed(job, y, moments, x)
            for job, y, moments in zip(jobs, ys, ctx.moments, strict=True)
        )

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        jobs: Sequence[Unit] = ctx.jobs
        x, *saved = ctx.saved_tensors
        weights, ys = saved[: -len(jobs)], [y.numpy() for y in saved[-len(jobs) :]]
        if torch.is_grad_enabled():
            return (None, *_again(ctx.layers, x, weights, ctx.needs_input_grad[1:], grads))
        asks = asked(ctx.nodes)
        flats = [flat(grad.contiguous()) for grad in grads]
        coefs = list(map(coefficients, jobs, flats, ys, ctx.moments))
        through = cleared if jobs[0].only_adds else room
        dx, threads, source = through(x.numel(), x), jobs[0].threads, flat(x)
        every, wanted = _by_layer(ctx.layers, weights), _by_layer(ctx.layers, asks[1:])
        moved = [
            [cleared(len(job.matrices) * any(wants), x) for _ in range(threads)]
            for job, wants in zip(jobs, wanted, strict=True)
        ]
        each = list(zip(jobs, ys, flats, coefs, moved, strict=True))

        def run(thread: int, start: int, stop: int) -> None:
            for part in jobs[0].pieces(start, stop):
                for number, (job, y, grad, coef, dw) in enumerate(each):
                    job.backward(part, source, y, grad, coef, dx, dw[thread], more=number > 0)

        in_parts(run, len(x), threads)
        learned: list[Tensor | None] = []
        for job, dw, own, wants in zip(jobs, moved, every, wanted, strict=True):
            like = job.as_weights(sum(dw[1:], dw[0]), own) if any(wants) else own
            learned += [one if want else None for one, want in zip(like, wants, strict=True)]
        return None, torch.from_numpy(dx).view_as(x) if asks[0] else None, *learned


def _by_layer(layers: Sequence[nn.Module], every: Sequence[T]) -> list[Sequence[T]]:
    """What there is one of per convolution, layer by layer."""
    rest = iter(every)
    counts = [2 if isinstance(layer, FactorizedReduce) else 1 for layer in layers]
    return [list(islice(rest, count)) for count in counts]


def _again(
    layers: Sequence[nn.Module], x: Tensor, weights: Sequence[Tensor], wanted: Sequence[bool],
    grads: Sequence[Tensor],
) -> list[Tensor | None]:  # fmt: skip
    """Gradients that have a graph of their own; running statistics do not move again."""
    with torch.enable_grad():
        here = [x.view_as(x), *(weight.view_as(weight) for weight in weights)]
        zs = [
            _in_torch(layer, here[0], own)
            for layer, own in zip(layers, _by_layer(layers, here[1:]), strict=True)
        ]
    chosen = [h for h, want in zip(here, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(zs, chosen, grads, create_graph=True))
    return [next(found) if want else None for want in wanted]


def _in_torch(layer: nn.Module, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    parts = halves(x) if isinstance(layer, FactorizedReduce) else [x]
    maps = [
        functional.conv2d(functional.relu(part).permute(0, 3, 1, 2), weight)
        for part, weight in zip(parts, weights, strict=True)
    ]
    y, eps = torch.cat(maps, dim=1), norm_of(layer).eps
    return functional.batch_norm(y, None, None, training=True, eps=eps).permute(0, 2, 3, 1)
