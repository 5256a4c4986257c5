"""What brings inputs to a cell's width: kernels, and halves, against the modules they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn

from tests.spaces.supernets import images, mixed, rows_of, supernet
from workbench.engine import FastSupernet, workers
from workbench.engine.halves import factorized_reduce, halves
from workbench.engine.kernels.pointwise import CHUNK
from workbench.engine.unit import pays, units
from workbench.engine.unit_kernels import PIECES, convolutions
from workbench.spaces.darts import darts
from workbench.spaces.ops import FactorizedReduce, conv

SIZES = [(2, 3), (1, 5), (4, 4), (7, 6)]


def maps(*size: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=draw, dtype=torch.float64).requires_grad_()


def layer(c_in: int = 8, c_out: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return conv(c_in, c_out, 1, 1, False, nn.ReLU).double()


def reduce(c_in: int = 8, c_out: int = 8) -> FactorizedReduce:
    torch.manual_seed(0)
    return FactorizedReduce(c_in, c_out, False, nn.ReLU).double()


def weights_of(own: nn.Module) -> list[torch.Tensor]:
    return [conv.weight for conv in convolutions(own)]


def unit(own: nn.Module, x: torch.Tensor) -> torch.Tensor:
    (made,) = units([own], x)
    return made


def by_module(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def gradients(y: torch.Tensor, *asked: torch.Tensor) -> list[torch.Tensor]:
    """First ones, and those of their sum of squares."""
    weights = maps(*y.shape, seed=1).detach()
    first = torch.autograd.grad((y * weights).sum(), asked, create_graph=True)
    second = torch.autograd.grad(torch.stack([(g**2).sum() for g in first]).sum(), asked)
    return [*first, *second]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", [layer, reduce])
def test_a_unit_is_its_layer_statistics_and_second_derivatives_included(
    kind: Callable[[], nn.Module],
    size: tuple[int, int],
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "LEAST", 1)
    monkeypatch.setattr(workers, "_threads", threads)
    own = kind()
    other, x = deepcopy(own), maps(3, *size, 8)
    assert pays(own, x)
    want, found = by_module(other, x), unit(own, x)
    torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-12)
    assert found.is_contiguous()
    for mine, theirs in zip(own.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    mine, theirs = weights_of(own), weights_of(other)
    pairs = zip(gradients(found, x, *mine), gradients(want, x, *theirs), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    # Without a graph of its own the gradient is the kernels'; any is that of its layer alone.
    leaves = [(x, x), *zip(mine, theirs, strict=True)]
    for asked in (leaves, leaves[:1], leaves[1:], leaves[-1:]):
        first = torch.autograd.grad(unit(own, x).square().sum(), [one for one, _ in asked])
        then = torch.autograd.grad(by_module(other, x).square().sum(), [two for _, two in asked])
        for a, b in zip(first, then, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", [4, 41])  # the second in pieces of few pictures
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("second", [partial(layer, 8, 12), partial(reduce, 8, 8)])
def test_layers_side_by_side_are_each_what_they_are_alone(
    second: Callable[[], nn.Module], side: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_threads", threads)
    pair, x = [layer(8, 4), second()], maps(15, side, side, 8)
    assert side == 4 or x.numel() > PIECES * CHUNK
    alone = deepcopy(pair)
    together, apart = units(pair, x), [unit(own, x) for own in alone]
    drawn = [maps(*z.shape, seed=1).detach() for z in apart]
    for mine, theirs, own in zip(together, apart, alone, strict=True):
        assert torch.equal(mine, theirs)
        torch.testing.assert_close(mine, by_module(own, x), rtol=1e-12, atol=1e-12)
    for asked in ([0, 1, 2], [0], [2]):  # of x and weights
        found = []
        for layers, zs in ((pair, together), (alone, apart)):
            leaves = [x, *(weight for own in layers for weight in weights_of(own))]
            total = torch.stack([(z * d).sum() for z, d in zip(zs, drawn, strict=True)]).sum()
            wanted = [leaves[number] for number in asked]
            found.append(torch.autograd.grad(total, wanted, retain_graph=True))
        for mine, theirs in zip(*found, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_unit_of_frozen_statistics_leaves_them() -> None:
    own = layer()
    own[2].track_running_stats = False
    before = [x.clone() for x in own.buffers()]
    unit(own, maps(2, 3, 3, 8))
    assert all(torch.equal(x, y) for x, y in zip(own.buffers(), before, strict=True))


def test_one_number_is_not_normalised() -> None:
    with pytest.raises(ValueError, match="more than one value per channel"):
        unit(layer(), maps(1, 1, 1, 8))
    with pytest.raises(ValueError, match="more than one value per channel"):
        unit(reduce(), maps(1, 2, 2, 8))


def test_cells_take_what_the_one_before_them_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(layers: Sequence[nn.Module], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made.append(len(layers))
        return units(layers, x)

    monkeypatch.setattr("workbench.engine.unit.units", counted)
    net = FastSupernet(supernet(darts(channels=4, cells=5, nodes=1)))
    net(images(), mixed(rows_of(net.space)))
    # Cells 1 and 3 are reductions: cell 2 asks 1, and 4 asks 3, to halve what both read.
    assert made == [1, 2, 2, 2, 2, 1]


def changed(**settings: object) -> nn.Sequential:
    """The layer with another convolution, or another batch norm."""
    own = layer()
    if "momentum" in settings:
        own[2] = nn.BatchNorm2d(4, affine=False, **settings)
    else:
        own[1] = nn.Conv2d(8, 4, **{"kernel_size": 1, "bias": False, **settings})
    return own


@pytest.mark.parametrize(
    "other",
    [
        conv(8, 4, 3, 1, False, nn.ReLU),
        conv(8, 4, 1, 2, False, nn.ReLU),
        conv(8, 4, 1, 1, True, nn.ReLU),
        conv(8, 4, 1, 1, False, nn.SiLU),
        conv(8, 2, 1, 1, False, nn.ReLU),
        changed(groups=2),
        changed(bias=True),
        changed(padding=1),
        changed(momentum=None),
        layer().eval(),
        reduce(8, 4),
        FactorizedReduce(8, 8, True, nn.ReLU),
        FactorizedReduce(8, 8, False, nn.SiLU),
    ],
    ids=[
        "3x3", "strided", "affine", "SiLU", "short vectors", "groups", "bias", "padding",
        "cumulative", "evaluation", "short halves", "affine halves",
        "SiLU and halves",
    ],
)  # fmt: skip
def test_what_is_no_unit_or_does_not_pay_is_left_to_its_module(other: nn.Module) -> None:
    assert not pays(other, maps(2, 3, 3, 8))


@pytest.mark.parametrize("size", [*SIZES, (1, 1)])
def test_halves_are_slices_whose_gradients_are_too(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module, x = FactorizedReduce(6, 5, False, nn.ReLU).double(), maps(3, *size, 6)
    want, found = by_module(module, x), factorized_reduce(module, x)
    torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-12)
    asked = x, module.even.weight, module.odd.weight
    for mine, theirs in zip(gradients(found, *asked), gradients(want, *asked), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradgradcheck(halves, (x,))
