"""A cell in Triton kernels computes what the readable one does."""

from __future__ import annotations

import gc
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

from tests.engine.gpu.forms import DEVICE, LOW, cells, computed, drawn, of, readable
from tests.engine.nets import EDGES, Case, assert_agree, cases, examples, measured, pair, unequal
from workbench.engine import FastSupernet
from workbench.engine.batched import batched_cell
from workbench.engine.gpu.cell import triton_cell
from workbench.engine.gpu.forward import Forward
from workbench.engine.gpu.tables import tables
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201

ALL = (
    "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
    "sep_conv_7x7", "dil_conv_3x3", "dil_conv_5x5", "nor_conv_1x1", "nor_conv_3x3",
)  # fmt: skip
FEW = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
REST = ("avg_pool_3x3", "skip_connect", "dil_conv_5x5", "nor_conv_1x1", "nor_conv_3x3")
CASES = {
    # One reduction cell, of twice the width.
    "strided": Case(darts(channels=2, cells=1, nodes=1, ops=ALL), size=(7, 6), batch=2),
    "widths_of_three": Case(nasbench201(channels=3, cells_per_stage=1, nodes=2, ops=REST)),
    "one_channel": Case(nasbench201(channels=1, cells_per_stage=1, nodes=1, ops=FEW)),
    "sixteen": Case(darts(channels=8, cells=1, nodes=2, ops=FEW), batch=2),
    # 13 · 12 · 2 pixels: three programs of 128.
    "many_pixels": Case(darts(channels=1, cells=3, nodes=1, ops=FEW), size=(13, 12), batch=2),
    # Of each source's edges some have the one, some the other.
    "unequal": Case(
        unequal(
            nasbench201(
                channels=1, cells_per_stage=1, nodes=3, ops=("skip_connect", "dil_conv_3x3")
            ),
            seed=1,
        )
    ),
    "only_none": Case(darts(channels=2, cells=1, nodes=2, ops=("none",))),
    "pruned": Case(darts(channels=2, cells=1, nodes=3), alive=0.3, zeros=0.3),
}
SMALL = Case(darts(channels=2, cells=1, nodes=1, ops=FEW), size=(5, 6))

SHARING = Case(nasbench201(channels=2, cells_per_stage=1, nodes=2, ops=FEW), size=(5, 6))


def assert_both_agree(case: Case) -> None:
    for cell, packed in cells(case):
        want = computed(readable(cell), cell, drawn(packed, case, torch.device("cpu")))
        assert_agree(computed(of(packed), packed, drawn(packed, case, DEVICE)), want)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_output_gradients_and_statistics_are_the_readable_cells(case: Case):
    assert_both_agree(case)


@settings(examples, max_examples=3)
@given(case=cases())
def test_any_cell_computes_what_the_readable_one_does(case: Case):
    assert_both_agree(case)


def test_a_skip_beside_the_operations_is_one_more_term():
    case = replace(SMALL, edge="beside", has_beta=True)
    net, _ = pair(case.space, edge=EDGES[case.edge])
    fast = FastSupernet(deepcopy(net), kernels="triton").to(DEVICE)
    assert_agree(measured(fast, case), measured(net, case))


def supernet(case: Case, **options: bool) -> FastSupernet:
    net, _ = pair(case.space, seed=case.seed)
    return FastSupernet(net, kernels="triton", **options).to(DEVICE)


@pytest.mark.parametrize(
    "asked",
    [
        {"weights": True, "rows": True},
        {"weights": True, "rows": False},
        {"weights": False, "rows": True},
    ],
    ids=["joint", "weights", "rows"],
)
def test_cells_that_share_mixing_weights_are_the_readable_supernets(asked: dict[str, bool]):
    case = Case(darts(channels=2, cells=4, nodes=1, ops=FEW), has_beta=True)
    net, _ = pair(case.space)
    assert_agree(measured(supernet(case), case, **asked), measured(net, case, **asked))


@pytest.mark.parametrize("again", [False, True])
def test_a_pass_has_the_same_bits_every_time_made_again_for_its_gradient_or_not(again: bool):
    found = [measured(supernet(SMALL, recompute=kind), SMALL) for kind in (False, again)]
    for name, x in found[0].items():
        assert torch.equal(x, found[1][name]), name


def test_frozen_statistics_stay_as_they_are():
    _, packed = next(cells(SMALL))
    before = [x.clone() for x in packed.statistics()]
    with packed.untracked():
        of(packed)(*drawn(packed, SMALL, DEVICE))
    assert all(map(torch.equal, packed.statistics(), before))
    of(packed)(*drawn(packed, SMALL, DEVICE))
    assert not any(map(torch.equal, packed.statistics(), before))


@pytest.mark.parametrize("asked", ["weights", "row", "input"])
def test_a_gradient_that_is_asked_for_alone_is_what_it_is_among_all(asked: str):
    _, packed = next(cells(SMALL))
    inputs, row = drawn(packed, SMALL, DEVICE)
    mine = {"weights": packed.weights, "row": row, "input": inputs[1]}
    out = of(packed)(inputs, row)
    every = torch.autograd.grad(out.sum(), list(mine.values()), retain_graph=True)
    (alone,) = torch.autograd.grad(out.sum(), mine[asked])
    assert torch.equal(alone, every[[*mine].index(asked)])


def test_gradients_of_gradients_are_those_of_torch_operations():
    _, packed = next(cells(SMALL))
    found = []
    for function in (triton_cell, batched_cell):
        inputs, row = drawn(packed, SMALL, DEVICE)
        asked = (row, packed.weights, *inputs)
        loss = of(packed, function)(inputs, row).square().sum()
        grads = torch.autograd.grad(loss, asked, create_graph=True)
        size = torch.stack([grad.square().sum() for grad in grads]).sum()
        second = torch.autograd.grad(size, asked)
        found.append({str(n): x.detach().cpu() for n, x in enumerate((*grads, *second))})
    assert_agree(*found, 1e-8)


def test_in_less_precision_a_cell_stays_near():
    case = Case(darts(channels=2, cells=1, nodes=1, ops=(*FEW, "nor_conv_3x3")), size=(7, 8))
    net, _ = pair(case.space, dtype=torch.float32)
    packed = FastSupernet(net, kernels="triton").to(DEVICE).blocks[0]
    found = []
    for low in (False, True):
        inputs, row = drawn(packed, case, DEVICE, torch.float32)
        with torch.autocast(DEVICE.type, LOW, low):
            out = of(packed)(inputs, row)
        assert out.dtype == (LOW if low else torch.float32)
        grads = torch.autograd.grad(out.float().square().sum(), (row, packed.weights, *inputs))
        assert all(grad.dtype == torch.float32 for grad in grads)
        found.append((out.float(), *grads))
    for exact, near in zip(*found, strict=True):
        assert (near - exact).abs().max() < 0.1 * exact.abs().max()


def test_index_tensors_are_made_once_for_every_size():
    _, packed = next(cells(SMALL))
    kept = []
    for number in (0, 1, 0, 1):
        case = Case(SMALL.space, size=(5, 6 + number))
        of(packed)(*drawn(packed, case, DEVICE))
        kept.append(tables(packed.geometry(case.batch, *case.size), packed.weights.device))
    assert kept[0] is kept[2]
    assert kept[1] is kept[3]


@pytest.mark.parametrize("case", [SMALL, SHARING], ids=["concat", "last"])
def test_nothing_of_a_pass_outlives_it_and_a_cell_goes_on_when_it_is_pruned(case: Case):
    _, packed = next(cells(case))
    keeps = gc.isenabled()
    gc.disable()
    try:
        for _ in range(2):
            inputs, row = drawn(packed, case, DEVICE)
            (grad,) = torch.autograd.grad(of(packed)(inputs, row).sum(), packed.weights)
            assert grad.shape == packed.weights.shape
            assert not any(type(thing) is Forward for thing in gc.get_objects())
            packed.drop((torch.rand(row.shape, generator=case.draw()) < 0.8).tolist())
    finally:
        if keeps:
            gc.enable()


def test_one_number_is_not_normalised():
    _, packed = next(cells(SMALL))
    case = Case(SMALL.space, size=(1, 2), batch=1)
    with pytest.raises(ValueError, match="more than one value per channel"):
        of(packed)(*drawn(packed, case, DEVICE))
