"""Kernels where a whole cell does not look: large means, ties, numbers that are none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.engine.gpu.forms import DEVICE, cells, drawn, of
from tests.engine.nets import Case
from workbench.engine.batched import batched_cell
from workbench.engine.gpu.cell import triton_cell
from workbench.engine.gpu.norms import moments, statistics
from workbench.engine.gpu.tables import Tile
from workbench.spaces.nasbench201 import nasbench201


def test_moments_lose_nothing_beside_a_large_mean():
    pixels, c, draw = 1000, 3, torch.Generator().manual_seed(0)
    y = torch.randn(pixels, c, generator=draw) * 0.5 + 1000
    tile = Tile(c)
    exact = {"dtype": torch.float64, "device": DEVICE}
    done = SimpleNamespace(
        geometry=SimpleNamespace(pixels=pixels), tile=tile, momentum=0.1,
        cell=SimpleNamespace(norms=nn.BatchNorm1d(1)),
        partials=torch.empty((1, tile.blocks(pixels), 2, c), **exact),
        mean=torch.empty((1, c), **exact), inverse=torch.empty((1, c), **exact),
        running=[torch.zeros((1, c), device=DEVICE), torch.ones((1, c), device=DEVICE)],
    )  # fmt: skip
    moments(tile, y.to(DEVICE), done.partials, 1, pixels)
    statistics(done, torch.tensor([[0, 0]], device=DEVICE))
    mean, var = y.double().mean(0), y.double().var(0, correction=0)
    assert torch.allclose(done.mean[0].cpu(), mean, rtol=1e-10)
    assert torch.allclose(done.inverse[0].cpu(), (var + 1e-5).rsqrt(), rtol=1e-6)
    unbiased = y.double().var(0)
    assert torch.allclose(done.running[0][0].cpu(), (0.1 * mean).float(), rtol=1e-6)
    assert torch.allclose(done.running[1][0].cpu(), (0.9 + 0.1 * unbiased).float(), rtol=1e-6)


@pytest.mark.parametrize("hole", [False, True], ids=["ties", "nan"])
def test_where_values_tie_or_are_none_pooling_does_as_torch(hole: bool):
    case = Case(nasbench201(channels=2, cells_per_stage=1, nodes=1, ops=("max_pool_3x3",)))
    _, packed = next(cells(case))
    found = []
    for function in (triton_cell, batched_cell):
        inputs, row = drawn(packed, case, DEVICE)
        with torch.no_grad():
            inputs[0].copy_((inputs[0] * 1.5).round())
            if hole:
                inputs[0][0, 2, 3] = inputs[0][1, 2, 2:5, 0] = float("nan")
                inputs[0][2] = -float("inf")
        out = of(packed, function)(inputs, row)
        slope = torch.arange(out.numel(), device=DEVICE).to(out).view(out.shape)
        (grad,) = torch.autograd.grad((out * slope).sum(), inputs)
        found.append((out.detach(), grad))
    for mine, theirs in zip(*found, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-12, atol=0, equal_nan=True)
