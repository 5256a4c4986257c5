"""Machine settings: what they change of a search, and what they refuse."""

from __future__ import annotations

import gc
from dataclasses import replace
from functools import cache

import pytest
import torch

from tests.tiny import (
    CPU,
    CPU64,
    SPACES,
    assert_same,
    moved,
    searched,
    shrunk,
    start,
    steps,
    trajectory,
)
from workbench import methods
from workbench.engine import FastSupernet, Machine, MachineError, workers
from workbench.engine.lease import Lease
from workbench.events import SearchEvent
from workbench.method import Method
from workbench.parts.arch_optimizers import Adam
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import Space

HASTY = methods.entmax3_prune.but(arch_optimizer=Adam(lr=0.03))
DARTS = SPACES["darts"]
NARROW = {  # in float64: the vectors of 1, 2 and 4 numbers that the tests of kernels compile too
    "darts": darts(channels=1, cells=3, nodes=1),
    "nasbench201": nasbench201(channels=3, cells_per_stage=1, nodes=2),
}


@cache
def of_two_epochs(method: Method, space: Space) -> list[SearchEvent]:
    return searched(shrunk(method, epochs=2), space, machine=CPU64)


@pytest.mark.parametrize("space", NARROW.values(), ids=NARROW)
@pytest.mark.parametrize("method", [methods.darts, HASTY], ids=["dense", "pruned"])
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(CPU64, engine="batched"), marks=pytest.mark.long),
        replace(CPU64, recompute=True),
        replace(CPU64, engine="batched", recompute=True),
        replace(CPU64, engine="readable", channels_last=True),
        replace(CPU64, deterministic=True),
        replace(CPU64, fused=True),
    ],
    ids=["batched", "recompute", "batched-recompute", "channels-last", "deterministic", "fused"],
)
def test_a_setting_changes_no_search(method, space, other):
    try:
        here = of_two_epochs(method, space)
        there = searched(shrunk(method, epochs=2), space, machine=other)
    finally:
        torch.use_deterministic_algorithms(False)
    assert moved(here)
    assert_same(trajectory(here), trajectory(there), atol=1e-9)


@pytest.mark.parametrize("recompute", [False, True])
def test_bfloat16_keeps_weights_alphas_and_statistics_in_float32_and_stays_near(recompute):
    method = shrunk(methods.darts)
    here = searched(method, DARTS, machine=CPU)
    there = searched(method, DARTS, machine=Machine("cpu", "bfloat16", recompute=recompute))
    assert steps(there)[-1].alpha["normal"].dtype == torch.float32
    gaps = [
        abs(float(a.scalars["loss_train"]) - float(b.scalars["loss_train"]))
        for a, b in zip(steps(here), steps(there), strict=True)
    ]
    assert 0 < max(gaps) < 0.05, "0 would mean that nothing ran in bfloat16"


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"compile": True}, "compile needs a GPU"),
        ({"graphs": True}, "graphs needs a GPU"),
        ({"precision": "tf32"}, "tf32 needs a GPU"),
        ({"engine": "triton"}, "triton needs a GPU"),
        ({"engine": "readable", "recompute": True}, "are the fast supernet's"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"kernel_threads": 0}, "kernel_threads must be at least 1"),
        ({"precision": "bf16"}, "choose float32"),
        ({"engine": "fast"}, "choose auto"),
    ],
)
def test_what_a_machine_cannot_do_is_refused_at_once(settings, what):
    with pytest.raises(MachineError, match=what):
        Machine("cpu", **settings)


@pytest.mark.parametrize("space", [DARTS, SPACES["nasbench201"]], ids=["darts", "nasbench201"])
def test_two_threads_compute_what_one_does(space, monkeypatch):
    method = shrunk(HASTY, epochs=2)
    one = searched(method, space, machine=CPU64)
    monkeypatch.setattr(workers, "LEAST", 1)
    counts = []
    pool = workers.in_parts
    for user in ("forward", "backward"):
        monkeypatch.setattr(
            f"workbench.engine.{user}.in_parts",
            lambda run, count, threads: (counts.append(threads), pool(run, count, threads))[1],
        )
    two = searched(method, space, machine=replace(CPU64, kernel_threads=2))
    assert set(counts) == {2}
    assert_same(trajectory(one), trajectory(two), atol=1e-9)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the tracer's own look
def test_cells_in_torch_operations_can_be_traced_whole():
    """What `compile` does on a GPU, with a backend that generates no code."""
    run = start(shrunk(methods.darts), DARTS, machine=replace(CPU64, engine="batched"))
    assert isinstance(run.net, FastSupernet)
    mixtures = {kind: run.arch.mix(0.0)[kind] for kind in DARTS.kinds}
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    block, inputs = (
        run.net.blocks[0],
        [torch.randn(4, 8, 8, DARTS.stem_channels, dtype=torch.float64)] * 2,
    )
    want = block(inputs, mixtures["normal"].ops, None)
    block.compile(backend="aot_eager", fullgraph=True)
    assert torch.allclose(block(inputs, mixtures["normal"].ops, None), want, atol=1e-12)
    assert run.net(images, mixtures).shape == (4, 10)


def test_memory_is_what_recomputing_saves():
    """Nothing of a cell but its inputs is alive between the two passes, or after them."""
    for recompute in (False, True):
        machine = replace(CPU, recompute=recompute)
        run = start(shrunk(methods.darts), darts(channels=4, cells=2), machine=machine)
        logits = run.net(torch.randn(4, 1, 8, 8), run.arch.mixtures(0.0, run.generator))
        gc.collect()
        held = sum(type(thing) is Lease for thing in gc.get_objects())
        assert held == (0 if recompute else 2)
        torch.autograd.grad(logits.sum(), run.arch.parameters())
        del logits
        assert [len(block._free) for block in run.net.blocks] == [int(not recompute)] * 2


@pytest.mark.parametrize("name", SPACES)
def test_what_is_no_number_stays_none_whatever_the_engine(name):
    run = start(shrunk(methods.darts), SPACES[name])
    images = torch.randn(4, 1, 8, 8)
    images[0, 0, 0, 0] = torch.nan
    assert run.net(images, run.arch.mixtures(0.0, run.generator)).isnan().all()


@pytest.mark.parametrize("op", ["sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3", "avg_pool_3x3"])
def test_no_operation_hides_what_is_no_number(op):
    run = start(shrunk(methods.darts), darts(channels=2, cells=1, nodes=1, ops=("none", op)))
    images = torch.randn(4, 1, 8, 8)
    images[0, 0, 4, 4] = torch.nan
    assert run.net(images, run.arch.mixtures(0.0, run.generator)).isnan().any()


def test_more_threads_than_pictures_are_as_many_as_pictures():
    seen = []
    workers.in_parts(lambda thread, start, stop: seen.append((thread, start, stop)), 2, 8)
    assert sorted(seen) == [(0, 0, 1), (1, 1, 2)]
