"""Searches on the fast supernet stay with those on the readable one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.tiny import (
    CPU,
    CPU64,
    READABLE64,
    assert_same,
    moved,
    play,
    prunings,
    searched,
    shrunk,
    start,
    steps,
    tiny_data,
    trajectory,
)
from workbench import methods
from workbench.engine import FastSupernet
from workbench.events import EpochEnded, Pruned, SearchEvent
from workbench.method import Method
from workbench.parts.arch_gradients import Unrolled
from workbench.parts.arch_optimizers import Adam
from workbench.search import search
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.supernet import Supernet
from workbench.trace import record

SPACES = {
    "darts": darts(channels=1, cells=3, nodes=1),
    "nasbench201": nasbench201(channels=3, cells_per_stage=1, nodes=2),
}
FOUR = darts(channels=4, cells=3, nodes=1)  # which partial channels divide
BOTH = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
SINGLE = pytest.mark.parametrize(  # in float32: vectors as in tests.tiny
    "space",
    [darts(channels=2, cells=1, nodes=2), nasbench201(channels=4, cells_per_stage=1, nodes=2)],
    ids=SPACES,
)
LONG = pytest.mark.long
FAST = {"arch_optimizer": Adam(lr=0.03, weight_decay=0.3)}
METHODS = {
    "first_order": methods.darts.but(**FAST),
    "finite_difference": methods.darts_second_order.but(**FAST),
    "exact": methods.darts_second_order.but(arch_gradient=Unrolled(exact=True), **FAST),
    "pruning": methods.entmax3_prune_single_level.but(**FAST),
    "partial": methods.pc_darts.but(**FAST),
    "beside": methods.darts_minus.but(**FAST),
    "chosen": methods.gdas.but(**FAST),
}


def twenty_steps(method: Method) -> Method:
    """On `tiny_data`: of all 48 images, or of the half of them that is the weights'."""
    single = method.stages[0].train_portion == 1
    return shrunk(method, epochs=4 if single else 7, batch_size=9 if single else 8)


def removed(events: Sequence[SearchEvent]) -> list[tuple[int, str, str]]:
    return [(e.clock.step, e.edge, e.op) for e in events if isinstance(e, Pruned)]


@pytest.mark.parametrize(
    ("method", "space"),
    [
        pytest.param(METHODS[name], SPACES.get(space, FOUR), id=f"{name}-{space}", marks=marks)
        for name, space, marks in [
            ("first_order", "darts", ()),
            ("first_order", "nasbench201", ()),
            ("finite_difference", "darts", ()),
            ("finite_difference", "nasbench201", LONG),
            ("exact", "darts", LONG),
            ("exact", "nasbench201", ()),
            ("pruning", "darts", ()),
            ("pruning", "nasbench201", ()),
            ("partial", "four", ()),
            ("beside", "darts", ()),
            ("chosen", "darts", ()),
            ("chosen", "nasbench201", ()),
            ("beside", "nasbench201", LONG),
        ]
    ],
)
def test_alphas_losses_and_prunings_are_those_of_the_readable_supernet(method, space):
    method = twenty_steps(method)
    runs = [start(method, space, machine=machine) for machine in (CPU64, READABLE64)]
    assert [type(run.net) for run in runs] == [FastSupernet, Supernet]
    fast, readable = (play(run) for run in runs)
    assert len(steps(fast)) >= 20
    assert moved(fast)
    assert bool(prunings(fast)) == (method.stages[0].pruner is not None)
    assert removed(fast) == removed(readable)
    assert_same(trajectory(fast), trajectory(readable), atol=1e-8)
    weighed = [
        [e.supernet_parameters for e in ev if isinstance(e, EpochEnded)] for ev in (fast, readable)
    ]
    assert weighed[0] == weighed[1]


@SINGLE
@pytest.mark.parametrize("name", ["first_order", "exact", "pruning"])
def test_a_search_in_float32_is_the_same_to_the_bit_when_it_is_repeated(name, space):
    method = shrunk(METHODS[name], epochs=2)
    first = searched(method, space, machine=CPU)
    assert moved(first)
    assert_same(trajectory(first), trajectory(searched(method, space, machine=CPU)))


@SINGLE
def test_recording_does_not_change_a_search_on_the_fast_supernet(space, tmp_path: Path):
    method = shrunk(METHODS["pruning"], epochs=2)
    recorded = record(search(method, space, tiny_data(), machine=CPU), tmp_path / "run")
    assert_same(trajectory(list(recorded)), trajectory(searched(method, space, machine=CPU)))


@SINGLE
def test_a_run_that_is_measured_on_the_way_goes_on_as_if_it_were_not(space):
    def probe(view, bilevel):
        loss = bilevel.loss(bilevel.weights, bilevel.train)
        grads = torch.autograd.grad(loss, bilevel.weights, create_graph=True)
        total = torch.stack([grad.square().sum() for grad in grads]).sum()
        grads = torch.autograd.grad(total, bilevel.weights, materialize_grads=True)
        return {"curvature": torch.stack([grad.square().sum() for grad in grads]).sum()}

    method = shrunk(METHODS["pruning"])
    probed, alone = (play(start(method, space, machine=CPU), probes) for probes in ([probe], []))
    assert_same(trajectory(probed), trajectory(alone))
