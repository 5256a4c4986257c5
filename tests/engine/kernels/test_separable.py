"""ReLU, depthwise and pointwise convolution against torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench.engine.kernels.separable import backward, forward
from workbench.engine.kernels.simd import Tile

SIZES = [(1, 1), (2, 2), (1, 5), (4, 3), (9, 8)]


@dataclass
class Case:
    """Groups of convolutions of one input, or (`own`) of one each, with a norm before them."""

    side: int
    stride: int = 1
    dilation: int = 1
    size: tuple[int, int] = (5, 5)
    own: bool = False
    channels: int = 3
    images: int = 2
    groups: int = 2
    more: bool = False  # is the input's gradient added to what is there?

    def __post_init__(self) -> None:
        draw = torch.Generator().manual_seed(0)

        def some(*size: int) -> Tensor:
            return torch.randn(size, generator=draw, dtype=torch.float64)

        c, inputs = self.channels, self.groups if self.own else 1
        self.x = some(inputs, self.images, *self.size, c)
        self.scale, self.shift = some(inputs, c), some(inputs, c)
        if not self.own:  # as a cell calls it
            self.scale, self.shift = torch.ones(1, c).double(), torch.zeros(1, c).double()
        self.taps, self.matrix = some(self.groups, self.side**2, c), some(self.groups, c, c)
        h, w = ((n - 1) // self.stride + 1 for n in self.size)
        self.grad, self.coef = some(self.groups, self.images, h, w, c), some(self.groups, 3, c)

    @property
    def conv(self) -> tuple[int, int]:
        return self.stride, self.dilation

    @property
    def shape(self) -> tuple[int, ...]:
        return self.groups, self.images, *self.size, self.channels

    def by_torch(self) -> dict[str, Tensor]:
        """Outputs, and the gradients for `coef[0] grad + coef[1] y + coef[2]`."""
        leaves = [x.clone().requires_grad_() for x in (self.x, self.taps, self.matrix)]
        x, taps, matrix = leaves
        c, padding = self.channels, self.dilation * (self.side // 2)
        outs = []
        for g in range(self.groups):
            n = g if self.own else 0
            maps = functional.relu(self.scale[n] * x[n] + self.shift[n]).permute(0, 3, 1, 2)
            kernel = taps[g].t().reshape(c, 1, self.side, self.side)
            maps = functional.conv2d(maps, kernel, None, self.stride, padding, self.dilation, c)
            outs.append(maps.permute(0, 2, 3, 1) @ matrix[g])
        y = torch.stack(outs)
        a, b, shift = (self.coef[:, i, None, None, None, :] for i in range(3))
        dx, dtaps, dmatrix = torch.autograd.grad(y, leaves, a * self.grad + b * y + shift)
        # `scale x + shift` is a batch norm of which the kernel gives the gradient before it.
        dx = dx / self.scale[:, None, None, None, :]
        return {"y": y.detach(), "dx": dx, "taps": dtaps, "matrix": dmatrix}

    def by_kernels(self, *, weights: bool = True) -> dict[str, Tensor]:
        """The same, and the moments both passes add up."""
        tile, c = (
            Tile(next(n for n in (4, 2, 1) if self.channels % n == 0), self.side),
            self.channels,
        )
        w = torch.cat([self.taps.flatten(), self.matrix.flatten()]).numpy()
        wo, own = np.array([0, self.taps.numel()]), self.x[0].numel() if self.own else 0
        x, scale, shift = (t.reshape(-1).numpy() for t in (self.x, self.scale, self.shift))
        y, sums = np.full(self.grad.numel(), np.nan), np.zeros(self.groups * 2 * c)
        part = (0, self.shape[1])
        forward(tile, self.conv, self.shape, part, x, own, c, scale, shift, w, wo, y, 0, sums)
        moments = sums.copy()
        # Groups with inputs of their own write their gradients; a shared one is added to if asked.
        dx = np.full_like(x, 1 if self.more else np.nan)
        dw, sums = np.zeros(len(w) if weights else 0), 0 * sums
        go = np.arange(self.groups) * self.grad[0].numel()
        grad, coef = self.grad.reshape(-1).numpy(), self.coef.reshape(-1).numpy()
        backward(
            tile, self.conv, self.shape, part, x, own, c, scale, shift, w, wo, y, 0, grad, go, coef,
            dx, self.more, sums, dw,
        )  # fmt: skip
        found = {
            "y": y,
            "dx": dx - 1 if self.more else dx,
            "moments": moments,
            "sums": sums,
            "taps": dw[: wo[1]],
            "matrix": dw[wo[1] :],
        }
        return {name: torch.from_numpy(value) for name, value in found.items()}


WHOSE = pytest.mark.parametrize(
    "whose", [{}, {"more": True}, {"own": True}], ids=["shared", "added to", "own"]
)


def check(case: Case) -> None:
    want, found = case.by_torch(), case.by_kernels()
    for name, x in want.items():
        torch.testing.assert_close(found[name].view_as(x), x, rtol=1e-11, atol=1e-11)
    y = want["y"].flatten(1, 3)
    moments = torch.stack([y.sum(1), y.square().sum(1)], 1).flatten()
    torch.testing.assert_close(found["moments"], moments, rtol=1e-11, atol=1e-11)
    if case.own:
        dx = want["dx"].flatten(1, 3)
        sums = torch.stack([dx.sum(1), (dx * case.x.flatten(1, 3)).sum(1)], 1).flatten()
        torch.testing.assert_close(found["sums"], sums, rtol=1e-11, atol=1e-11)
    without = case.by_kernels(weights=False)
    assert torch.equal(without["dx"], found["dx"])


@WHOSE
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("side", [3, 5, 7])
def test_both_passes_are_torchs(side, stride, dilation, size, whose):
    check(Case(side, stride, dilation, size, **whose))


@WHOSE
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("side", [3, 5])
def test_more_pictures_than_fit_into_the_cache_are_worked_on_in_parts(
    side, stride, dilation, whose
):
    check(Case(side, stride, dilation, (23, 21), channels=12, images=8, **whose))
