"""Pooling against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from workbench.engine.kernels.pooling import pool, pool_back
from workbench.engine.kernels.simd import Tile

SIZES = [(1, 1), (1, 4), (2, 2), (3, 5), (6, 6), (7, 4)]


def pictures(size: tuple[int, int], channels: int, levels: int) -> torch.Tensor:
    """Whole numbers below `levels`, so that many are equal; channels-last."""
    draw = torch.Generator().manual_seed(0)
    return torch.randint(levels, (3, *size, channels), generator=draw).double()


def alone(dy: np.ndarray, channels: int) -> tuple[bool, np.ndarray, np.ndarray, np.ndarray]:
    """What a kernel is told where `dy` is the gradient of the pooled map."""
    return False, dy, np.zeros(1, np.int64), np.repeat([1.0, np.nan, np.nan], channels)


@pytest.mark.parametrize("largest", [True, False], ids=["max", "mean"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [3, 4])
def test_pooling_is_torchs_and_the_first_of_equal_values_takes_the_gradient(
    largest, stride, size, channels
):
    tile, x = Tile(4 if channels == 4 else 1), pictures(size, channels, 3)
    maps = x.permute(0, 3, 1, 2).contiguous().requires_grad_()
    if largest:
        want = functional.max_pool2d(maps, 3, stride, 1)
    else:
        want = functional.avg_pool2d(maps, 3, stride, 1, count_include_pad=False)
    draw = torch.Generator().manual_seed(1)
    dy = torch.randn(want.shape, generator=draw, dtype=torch.float64)
    (want_dx,) = torch.autograd.grad(want, maps, dy)

    at, shape = 2, (*x.shape[:3], channels)
    flat, y = x.reshape(-1).numpy(), np.full(at + want.numel(), np.nan)
    sums, dx = np.zeros(2 * channels), np.ones(x.numel())
    dy = dy.permute(0, 2, 3, 1).reshape(-1).numpy()
    for part in ((0, 1), (1, 3)):
        pool(tile, largest, stride, shape, part, flat, 0, channels, y, at, sums)
    for part in ((0, 1), (1, 3)):
        pool_back(
            tile, largest, stride, shape, part, flat, 0, channels, y, at, *alone(dy, channels), dx
        )
    np.testing.assert_allclose(y[at:], want.detach().permute(0, 2, 3, 1).reshape(-1), rtol=1e-14)
    # It is added to what is there.
    np.testing.assert_allclose(dx - 1, want_dx.permute(0, 2, 3, 1).reshape(-1), atol=1e-13)
    assert np.isnan(y[:at]).all()
    moments = [want.detach().sum((0, 2, 3)), want.detach().square().sum((0, 2, 3))]
    np.testing.assert_allclose(sums, torch.cat(moments), rtol=1e-12)


def test_a_source_among_other_nodes_is_read_where_it_lies():
    wide = torch.randn(2, 5, 5, 3 * 4, generator=torch.Generator().manual_seed(0)).double()
    alone = wide[..., 4:8].contiguous()
    found = np.empty((2, 2 * 5 * 5 * 4))
    for y, x, start, pixel in ((found[0], wide, 4, 12), (found[1], alone, 0, 4)):
        shape, flat = (2, 5, 5, 4), x.view(-1).numpy()
        pool(Tile(4), True, 1, shape, (0, 2), flat, start, pixel, y, 0, np.empty(0))
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_goes_to_what_is_no_finite_number(stride, bad):
    x = pictures((5, 6), 4, 9)
    x[0, 2, 3] = bad
    maps = x.permute(0, 3, 1, 2).contiguous().requires_grad_()
    y = functional.max_pool2d(maps, 3, stride, 1)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (want,) = torch.autograd.grad(y, maps, dy)
    flat, dx = x.reshape(-1).numpy(), np.zeros(x.numel())
    out = np.empty(y.numel())
    shape, part = tuple(x.shape), (0, len(x))
    pool(Tile(4), True, stride, shape, part, flat, 0, 4, out, 0, np.empty(0))
    back = dy.permute(0, 2, 3, 1).reshape(-1).numpy()
    pool_back(Tile(4), True, stride, shape, part, flat, 0, 4, out, 0, *alone(back, 4), dx)
    np.testing.assert_allclose(dx, want.permute(0, 2, 3, 1).reshape(-1), atol=1e-13)


@pytest.mark.parametrize("normed", [True, False])
def test_the_gradient_is_the_sum_of_what_edges_and_their_batch_norms_hand_back(normed):
    x, draw = pictures((4, 4), 4, 9), np.random.default_rng(0)
    flat, y, shape = x.view(-1).numpy(), np.empty(x.numel()), tuple(x.shape)
    given = Tile(4), True, 1, shape, (0, 3), flat, 0, 4
    pool(*given, y, 0, np.empty(0))
    grad, coef, go = draw.normal(size=(3, x.numel())), draw.normal(size=(2, 3, 4)), np.array([2, 0])
    a, b, shift = (np.tile(coef[:, i], x.numel() // 4) for i in range(3))
    dy = (a * grad[go]).sum(0)
    if normed:
        dy += (b * y + shift).sum(0)
    found, want = np.zeros(x.numel()), np.zeros(x.numel())
    starts = go * x.numel()
    pool_back(*given, y, 0, normed, grad.ravel(), starts, coef.ravel(), found)
    pool_back(*given, y, 0, *alone(dy, 4), want)
    np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-12)
