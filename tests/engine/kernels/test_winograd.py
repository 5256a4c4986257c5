"""ReLU and 3×3 convolution by tiles against torch; 1×1 convolution too, which is called alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from workbench.engine.kernels import pointwise, winograd
from workbench.engine.kernels.simd import Tile

SIZES = [(1, 1), (2, 2), (1, 5), (4, 3), (9, 8)]


def check(side: int, size: tuple[int, int], channels: int, groups: int, images: int) -> None:
    draw = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    c, pixels = channels, images * size[0] * size[1]
    wide = some(images, *size, 2 * c)  # a source that lies among others
    x, w = wide[..., :c].clone().requires_grad_(), some(groups, c, c, side, side).requires_grad_()
    maps = functional.conv2d(
        functional.relu(x).permute(0, 3, 1, 2), w.flatten(0, 1), padding=side // 2
    )
    y = maps.unflatten(1, (groups, c)).permute(1, 0, 3, 4, 2)
    grad, coef = some(groups, images, *size, c), some(groups, 3, c)
    a, b, shift = (coef[:, i, None, None, None, :] for i in range(3))
    dx, dw = torch.autograd.grad(y, (x, w), a * grad + b * y.detach() + shift)

    tile = Tile(next(n for n in (4, 2, 1) if c % n == 0))
    shape, part = (groups, images, *size, c), (0, images)
    kernels = winograd
    if side == 1:
        kernels, shape, part = pointwise, (groups, pixels, c, c), (0, pixels)
    flat, at = wide.view(-1).numpy(), 3
    weights = np.concatenate([np.full(at, np.nan), w.detach().reshape(-1)])
    found, sums = np.full(y.numel() + at, np.nan), np.zeros(groups * 2 * c)
    kernels.forward(tile, shape, part, flat, 2 * c, weights, at, found, at, sums)
    np.testing.assert_allclose(found[at:], y.detach().reshape(-1), rtol=1e-11, atol=1e-11)
    each = y.detach().flatten(1, 3)
    moments = torch.stack([each.sum(1), each.square().sum(1)], 1).reshape(-1)
    np.testing.assert_allclose(sums, moments, rtol=1e-11, atol=1e-11)

    go = np.arange(groups) * grad[0].numel()
    more = (True,) if side == 1 else ()
    for asked in (True, False):
        to_x, to_w = np.ones(x.numel()), np.ones(len(weights) if asked else 0)
        kernels.backward(
            tile, shape, part, flat, 2 * c, weights, at, found, at, grad.reshape(-1).numpy(), go,
            coef.reshape(-1).numpy(), to_x, to_w, *more,
        )  # fmt: skip
        # Both are added to what is there.
        np.testing.assert_allclose(to_x - 1, dx.reshape(-1), rtol=1e-10, atol=1e-11)
        if asked:
            np.testing.assert_allclose(to_w[at:] - 1, dw.reshape(-1), rtol=1e-10, atol=1e-10)
            assert (to_w[:at] == 1).all()


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [1, 3])
def test_both_passes_are_torchs(side, size, channels):
    check(side, size, channels, groups=2, images=2)


@pytest.mark.parametrize("side", [1, 3])
def test_more_than_fits_into_the_cache_is_worked_on_in_parts(side):
    check(side, (23, 21), 12, groups=3, images=5)


def test_one_edge_alone_is_a_group():
    check(3, (6, 6), 4, groups=1, images=1)
