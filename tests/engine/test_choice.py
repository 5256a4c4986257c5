"""Which supernet a stage runs on, and what is said when it is the readable one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tests.tiny import CPU64, play, shrunk, start
from workbench import methods
from workbench.engine import FastSupernet, Machine, accelerated
from workbench.engine.choice import triton_imports
from workbench.engine.packed import PackedCell
from workbench.parts.edges import AuxiliarySkip, PartialChannels, SkipDropout, WeightedSum
from workbench.parts.normalised import NodeNorm
from workbench.parts.single_op import SingleOp
from workbench.parts.weight_optimizers import Sgd
from workbench.protocols import OpFactory
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.supernet import Supernet
from workbench.walk import Walk

READABLE = Machine("cpu", engine="readable")
SPACE = darts(channels=1, cells=1, nodes=1)


class Halved(nn.Module):
    """Half of the weighted sum: no plain one."""

    plain_sum = False

    def __init__(self, ops: Mapping[str, OpFactory], channels: int, stride: int) -> None:
        super().__init__()
        self.sum = WeightedSum(ops, channels, stride)
        self.ops, self.drop = self.sum.ops, self.sum.drop

    def forward(self, x: torch.Tensor, row: torch.Tensor, t: float) -> torch.Tensor:
        return self.sum(x, row, t) / 2


class Rectified(WeightedSum):
    """What its ancestor says of itself does not hold for it."""

    def forward(self, x: torch.Tensor, row: torch.Tensor, t: float) -> torch.Tensor:
        return super().forward(x, row, t).relu()


def net(**parts: object) -> Supernet:
    space = parts.pop("space", SPACE)
    return Supernet(space, **{"edge": WeightedSum, **parts})


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("parts", "settings", "reason"),
    [
        ({}, {"opens_net": True}, "looks at modules inside the net"),
        ({}, {"elementwise": False}, "treats each tensor by itself"),
        ({"activation": nn.SiLU}, {}, "SiLU, not ReLU"),
        ({"edge": Halved}, {}, "mixed edge Halved is neither a plain sum nor has a form"),
        ({"edge": Rectified}, {}, "mixed edge Rectified is neither a plain sum nor has a form"),
        (
            {"edge": PartialChannels(1, SingleOp(broadcast=True))},
            {},
            "mixed edge _PartialChannels is neither a plain sum nor has a form",
        ),
        (
            {"edge": AuxiliarySkip(edge=PartialChannels(1))},
            {},
            "mixed edge _AuxiliarySkip is neither a plain sum nor has a form",
        ),
        (
            {"space": darts(channels=1, cells=1, nodes=1, ops=("none", "conv_7x1_1x7"))},
            {},
            "operation conv_7x1_1x7 has no packed form",
        ),
        (
            {"space": darts(channels=1, cells=1, nodes=1, ops=("none", "sep_conv_3x3_x1"))},
            {},
            "operation sep_conv_3x3_x1 has no packed form",
        ),
    ],
)
def test_a_fall_back_is_the_readable_net_and_one_line_that_says_why(
    parts, settings, reason, caplog
):
    caplog.set_level(logging.INFO)
    given = net(**parts)
    asked = {"opens_net": False, "elementwise": True, **settings}
    assert accelerated(given, Machine("cpu"), **asked) is given
    assert len(said(caplog)) == 1
    assert reason in said(caplog)[0]


@dataclass
class Fades:
    """A weight of one's own: no constant, and not to be hashed."""

    start: float = 0.5

    def __call__(self, t: float) -> float:
        return self.start * (1 - t)


def test_a_skips_weight_may_be_any_function_of_the_progress(caplog):
    given = net(edge=AuxiliarySkip(Fades()))
    fast = accelerated(given, Machine("cpu"), opens_net=False, elementwise=True)
    assert isinstance(fast, FastSupernet)
    assert not said(caplog)


def by_width(ops: Mapping[str, OpFactory], channels: int, stride: int) -> nn.Module:
    return (AuxiliarySkip(1 / channels))(ops, channels, stride)


def by_place() -> Callable[..., nn.Module]:
    """Every other edge has a skip beside it."""
    turns = iter(range(1000))
    return lambda *given: (AuxiliarySkip() if next(turns) % 2 else WeightedSum)(*given)


@pytest.mark.parametrize(
    ("edge", "reason"),
    [
        (by_width, "the mixed edges of cell cells differ from cell to cell"),
        (by_place(), "the mixed edges of a cell differ"),
    ],
)
def test_edges_that_differ_run_on_the_readable_supernet_and_one_line_says_so(edge, reason, caplog):
    given = net(edge=edge, space=nasbench201(channels=2, cells_per_stage=1))
    assert accelerated(given, Machine("cpu"), opens_net=False, elementwise=True) is given
    (line,) = said(caplog)
    assert reason in line


def test_a_cell_that_strides_where_kernels_cannot_runs_in_torch_operations_and_says_so(caplog):
    space = darts(channels=4, cells=3, nodes=1, ops=("nor_conv_3x3", "skip_connect"))
    fast = accelerated(net(space=space), Machine("cpu"), opens_net=False, elementwise=True)
    assert isinstance(fast, FastSupernet)
    assert [block.kernels for block in fast.blocks] == ["cpu", None, None]
    alive = {
        cell.kind: torch.tensor([[op != "nor_conv_3x3" for op in cell.columns]] * len(cell.edges))
        for cell in space.cells
    }
    fast.drop(alive)
    assert all(block.kernels for block in fast.blocks), "a resumed search builds what is left"
    (line,) = said(caplog)
    assert "no kernel is there for an ordinary convolution with stride 2" in line


def test_convolutions_of_widths_that_make_short_vectors_stay_with_torch_and_nothing_is_said(caplog):
    space = nasbench201(channels=2, cells_per_stage=1)  # 2, 4 and 8 channels
    fast = accelerated(net(space=space), Machine("cpu"), opens_net=False, elementwise=True)
    cells = [block for block in fast.blocks if isinstance(block, PackedCell)]
    assert [cell.kernels for cell in cells] == [None, "cpu", "cpu"]
    assert not said(caplog)


def test_a_net_that_can_be_packed_is_and_nothing_is_said(caplog):
    fast = accelerated(net(), Machine("cpu"), opens_net=False, elementwise=True)
    assert isinstance(fast, FastSupernet)
    assert not said(caplog)


@pytest.mark.parametrize("there", [True, False])
def test_triton_kernels_run_where_they_are_asked_for_and_can_be_imported(
    there: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(Machine, "torch_device", torch.device("cuda"))
    if not there:
        monkeypatch.setitem(sys.modules, "triton", None)
    triton_imports.cache_clear()
    fast = accelerated(net(), Machine(engine="triton"), opens_net=False, elementwise=True)
    assert isinstance(fast, FastSupernet)
    cells = [block for block in fast.blocks if isinstance(block, PackedCell)]
    assert [cell.kernels for cell in cells] == ["triton" if there else None] * len(cells)
    assert len(said(caplog)) == (not there)
    assert there or "no Triton kernels" in said(caplog)[0]
    triton_imports.cache_clear()


def test_cells_too_wide_for_triton_kernels_run_in_torch_operations_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(Machine, "torch_device", torch.device("cuda"))
    space = darts(channels=64, cells=3, nodes=1, ops=("none", "skip_connect"))
    machine = Machine(engine="triton")
    fast = accelerated(net(space=space), machine, opens_net=False, elementwise=True)
    assert [block.kernels for block in fast.blocks] == ["triton", "triton", None]
    assert said(caplog) == ["cells of more than 128 channels run in torch operations"]


@pytest.mark.parametrize("edge", [PartialChannels(4), SingleOp()])
def test_cells_of_some_edges_have_no_triton_kernels_and_one_line_says_so(
    edge: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(Machine, "torch_device", torch.device("cuda"))
    given = net(space=darts(channels=4, cells=3, nodes=1), edge=edge)
    fast = accelerated(given, Machine(engine="triton"), opens_net=False, elementwise=True)
    assert [block.kernels for block in fast.blocks] == [None] * 3
    (line,) = said(caplog)
    assert line == "cells of partial channels or chosen operations run in torch operations"


def test_cells_whose_operations_are_chosen_are_not_compiled_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(Machine, "torch_device", torch.device("cuda"))
    machine = Machine(compile=True)
    fast = accelerated(net(edge=SingleOp()), machine, opens_net=False, elementwise=True)
    assert all(block._compiled_call_impl is None for block in fast.blocks)
    (line,) = said(caplog)
    assert line == "what runs is chosen in every pass: cells are not compiled or captured"


def test_a_machine_that_asks_for_the_readable_net_gets_it_and_nothing_is_said(caplog):
    given = net()
    assert accelerated(given, READABLE, opens_net=False, elementwise=True) is given
    assert not said(caplog)


def test_every_method_whose_edges_have_a_form_searches_on_the_fast_supernet_but_in_the_warm_up():
    four = darts(channels=4, cells=2, nodes=1)  # which partial channels divide
    for name, method in methods.named().items():
        if isinstance(method, Walk):
            continue  # it has no supernet
        run = None
        for index, stage in enumerate(method.stages):
            run = start(shrunk(method), four, index=index, before=run)
            formless = isinstance(stage.edge, (SkipDropout, NodeNorm))
            fits = not formless and stage.name != "warm_up"
            assert isinstance(run.net, FastSupernet) == fits, name


def test_an_optimizer_that_keeps_norms_has_the_readable_supernet():
    method = shrunk(methods.darts.but(weight_optimizer=Sgd(keep_norms=True)))
    assert isinstance(start(method, SPACE).net, Supernet)


@pytest.mark.parametrize(
    "space",
    [darts(channels=1, cells=2, nodes=1), nasbench201(channels=1, cells_per_stage=1, nodes=2)],
)
def test_the_readable_form_of_a_run_has_its_state(space):
    method = shrunk(methods.entmax3_prune_single_level)
    run = start(method, space, machine=CPU64)
    before = {name: x.clone() for name, x in run.readable().state_dict().items()}
    play(run)
    fast, readable = run.net.state_dict(), run.readable().state_dict()
    assert isinstance(run.net, FastSupernet)
    assert isinstance(run.readable(), Supernet)
    assert fast.keys() == readable.keys()
    assert all(torch.equal(x, fast[name]) for name, x in readable.items())
    assert any(not torch.equal(x, before[name]) for name, x in readable.items())
