"""A strided `skip_connect` against the readable one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from workbench.engine.kernels import halves
from workbench.engine.kernels.pointwise import CHUNK
from workbench.engine.kernels.simd import Tile
from workbench.spaces.ops import FactorizedReduce


def check(size: tuple[int, int], c: int, out: int, groups: int, images: int, lanes: int) -> None:
    torch.manual_seed(0)
    layers = [FactorizedReduce(c, out, False, nn.ReLU).double() for _ in range(groups)]
    for layer in layers:
        layer.norm = nn.Identity()
    matrices = [[layer.even.weight, layer.odd.weight] for layer in layers]
    wide = torch.randn(images, *size, 2 * c, dtype=torch.float64)  # a source among others
    x = wide[..., :c].clone().requires_grad_()
    y = torch.stack([layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) for layer in layers])
    grad, coef = torch.randn_like(y), torch.randn(groups, 3, out, dtype=torch.float64)
    a, b, shift = (coef[:, i, None, None, None, :] for i in range(3))
    asked = [x, *(matrix for pair in matrices for matrix in pair)]
    dx, *dw = torch.autograd.grad(y, asked, a * grad + b * y.detach() + shift)

    even, odd = ([pair[side][:, :, 0, 0].t().reshape(-1) for pair in matrices] for side in (0, 1))
    weights = torch.cat([torch.full((3,), torch.nan), *even, *odd]).detach().numpy()
    wo = np.array([3, 3 + groups * c * (out // 2)])
    told = Tile(lanes), (groups, images, *size, c, out)
    flat, at = wide.view(-1).numpy(), 5
    found, sums = np.full(y.numel() + at, np.nan), np.zeros(groups * 2 * out)
    bounds = [(0, 1), (1, images)] if images > 1 else [(0, 1)]
    for part in bounds:
        halves.forward(*told, part, flat, 2 * c, weights, wo, found, at, sums)
    np.testing.assert_allclose(found[at:], y.detach().reshape(-1), rtol=1e-11, atol=1e-11)
    each = y.detach().flatten(1, 3)
    moments = torch.stack([each.sum(1), each.square().sum(1)], 1).reshape(-1)
    np.testing.assert_allclose(sums, moments, rtol=1e-11, atol=1e-11)

    go, flats = np.arange(groups) * grad[0].numel(), (grad.view(-1).numpy(), coef.view(-1).numpy())
    for learned in (True, False):
        to_x, to_w = np.ones(x.numel()), np.ones(len(weights) if learned else 0)
        for part in bounds:
            halves.backward(
                *told, part, flat, 2 * c, weights, wo, found, at, flats[0], go, flats[1], to_x, to_w
            )
        # Both are added to what is there.
        np.testing.assert_allclose(to_x - 1, dx.reshape(-1), rtol=1e-10, atol=1e-11)
        if learned:
            want = [gradient[:, :, 0, 0].t().reshape(-1) for gradient in (*dw[::2], *dw[1::2])]
            np.testing.assert_allclose(to_w[3:] - 1, torch.cat(want), rtol=1e-10, atol=1e-10)
            assert (to_w[:3] == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 5), (4, 3), (9, 8)])
@pytest.mark.parametrize(("c", "out", "lanes"), [(3, 3, 1), (4, 8, 4), (6, 4, 2)])
def test_both_passes_are_the_readable_ones(size, c, out, lanes):
    check(size, c, out, groups=2, images=2, lanes=lanes)


def test_more_than_fits_into_the_cache_is_worked_on_in_parts():
    images, pixels = 20, 12 * 11
    assert images - 1 > CHUNK // (pixels * 16)
    check((23, 21), 16, 32, groups=3, images=images, lanes=8)


def test_one_edge_alone_is_a_group():
    check((6, 6), 4, 4, groups=1, images=1, lanes=2)
