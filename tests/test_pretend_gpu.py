"""Searches on a GPU that is pretended: see `tests.pretend.tensors`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.pretend.gpu import pretended
from tests.pretend.tensors import TwoDevicesError, WaitedError, Waits
from tests.tiny import SPACES, shrunk, start, tiny_data
from tests.waiting import no_waiting
from workbench import Machine, methods, open_run, record
from workbench.data import Augment, Loader
from workbench.engine.step_graphs import WARM_UP, CudaRecorder
from workbench.evaluate import Recipe, evaluate
from workbench.events import Derived, Evaluated, Stepped
from workbench.method import Method
from workbench.protocols import Clock
from workbench.search import search

SEARCHED: Mapping[str, Method] = {
    name: m for name, m in methods.named().items() if isinstance(m, Method)
}
WHOLE = ("darts", "entmax3_prune", "p_darts", "gdas", "snas")  # steps, stages, prunings, draws
CAPTURED = (  # whole steps, then passes
    "darts", "darts_second_order", "single_level", "entmax3_prune", "milenas", "gaea",
    "drop_nas", "gold_nas", "fair_darts", "snas", "pc_darts", "darts_minus",
)  # fmt: skip
# Beside what a pruner reads that is asked after every step.
READS = {
    "gdas": (2, "spaces/supernet.py"),  # which operations run, once in either pass
    "zero_cost_multi_step": (1, "zero_cost/kernels.py"),  # whether a score's eigenvalues are some
}


@pytest.fixture
def waits() -> Iterator[Waits]:
    with pretended() as seen:
        yield seen


def test_tensors_of_both_devices_do_not_meet(waits: Waits) -> None:
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    assert (there.device.type, here.device.type) == ("cuda", "cpu")
    for wrong in (
        lambda: there + here,
        lambda: torch.cat([here, there]),
        lambda: nn.Linear(3, 2).to("cuda")(here),
        lambda: here.index_select(0, torch.zeros(1, dtype=torch.long, device="cuda")),
        lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
        lambda: torch.rand(3, generator=torch.Generator("cuda")),
        lambda: torch.stack([there.sum(), torch.tensor(0.0)]),
        lambda: there.index_select(0, torch.tensor(0)),
    ):
        with pytest.raises(TwoDevicesError):
            wrong()
    assert torch.equal((there + torch.tensor(1.0)).cpu(), here + 1)  # a number may be the host's


def test_the_host_waits_for_values_and_copies(waits: Waits) -> None:
    there, here = torch.arange(3.0, device="cuda"), torch.arange(3.0)
    for waiting in (
        there.tolist,
        there.sum().item,
        lambda: bool(there.any()),
        there.nonzero,
        there.cpu,
        lambda: here.to("cuda"),
        lambda: there[here.long()],
        lambda: there[there > 1],
        lambda: there.copy_(here),
        lambda: torch.tensor([1.0], device="cuda"),
    ):
        with no_waiting(), pytest.raises(WaitedError):
            waiting()
    with no_waiting():
        here.to("cuda", non_blocking=True)
        torch.zeros_like(there).add_(there).masked_fill_(there > 1, 0.0)
        there[there > 1] = 0.0


@pytest.mark.parametrize("name", SEARCHED)
def test_a_step_keeps_the_host_waiting_for_nothing_that_is_not_said(
    name: str, waits: Waits
) -> None:
    method = shrunk(SEARCHED[name])
    run = start(method, SPACES["darts"], machine=Machine("cuda"))
    run.step(Clock(0, 0, 1, 0, run.steps_per_epoch))  # the first one makes caches
    waits.clear()
    run.step(Clock(0, 0, 1, 1, run.steps_per_epoch))
    pruner = run.stage.pruner
    asked = 1 if pruner is not None and pruner.every == "step" else 0
    count, where = READS.get(name, (asked, "pruning.py"))
    assert [where in wait for wait in waits] == [True] * count, waits


@pytest.mark.parametrize("name", CAPTURED)
def test_what_is_captured_keeps_the_host_waiting_for_nothing(
    name: str, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures: list[object] = []

    def captured(self: object, work: Callable[[], object]) -> tuple[object, Callable[[], None]]:
        with no_waiting():
            captures.append(result := work())
        return result, lambda: None

    def graphed(module: nn.Module, sample: tuple[Tensor, ...], **_: object) -> nn.Module:
        module(*sample)  # the first one makes caches
        weights = [x for x in (*sample, *module.parameters()) if x.requires_grad]
        with no_waiting():
            captures.append(out := module(*sample))
            torch.autograd.grad(out.sum(), weights, allow_unused=True)
        return module

    monkeypatch.setattr(CudaRecorder, "aside", lambda self, work: work())
    monkeypatch.setattr(CudaRecorder, "captured", captured)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", graphed)
    method = shrunk(SEARCHED[name], batch_size=4)
    run = start(method, SPACES["nasbench201"], machine=Machine("cuda", graphs=True))
    for step in range(WARM_UP + 2):
        run.step(Clock(0, 0, 1, step, run.steps_per_epoch))
    assert captures


@pytest.mark.parametrize("name", WHOLE)
def test_a_search_on_a_gpu_is_the_search_on_a_cpu(name: str, tmp_path: Path) -> None:
    method = shrunk(SEARCHED[name], epochs=2)
    found = []
    for device in ("cpu", "cuda"):
        with pretended():
            machine = Machine(device, "float64", engine="batched")
            events = search(method, SPACES["darts"], tiny_data(), machine=machine)
            *_, last = record(events, tmp_path / device)
        assert isinstance(last, Derived)
        found.append((last.genotype, open_run(tmp_path / device).trace))
    (here, own), (there, other) = found
    assert here == there
    for what in ("alpha", "mix", "loss_train"):
        assert torch.allclose(
            *(torch.from_numpy(trace[what].to_numpy().copy()) for trace in (own, other)),
            rtol=0, atol=1e-6, equal_nan=True,
        )  # fmt: skip


def test_a_network_is_trained_on_a_gpu(waits: Waits) -> None:
    events = search(
        shrunk(SEARCHED["darts"]), SPACES["darts"], tiny_data(), machine=Machine("cuda")
    )
    *_, found = events
    assert isinstance(found, Derived)
    recipe = Recipe(channels=4, cells=3, epochs=1, batch_size=16)
    *_, last = evaluate(found.genotype, tiny_data(), recipe, machine=Machine("cuda", "bfloat16"))
    assert isinstance(last, Evaluated)
    assert math.isfinite(last.test_accuracy)


@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_keeps_the_host_waiting_for_nothing(resident: bool, waits: Waits) -> None:
    batches = Loader(
        tiny_data(), None, batch_size=4, seed=0, device=torch.device("cuda"),
        augment=Augment(crop_padding=1, flip=True, cutout=2, noise=0.1), resident=resident,
    )  # fmt: skip
    batches.next()
    with no_waiting():
        for _ in range(5):
            batches.next()


def test_recording_keeps_the_host_waiting_at_flushes_only(tmp_path: Path, waits: Waits) -> None:
    machine, method = Machine("cuda"), shrunk(SEARCHED["darts"], batch_size=4)
    events = list(search(method, SPACES["darts"], tiny_data(), machine=machine))
    steps = [event for event in events if isinstance(event, Stepped)]
    seen: list[str] = []
    for event in record(iter(events), tmp_path / "run", flush_seconds=math.inf):
        if any(event is step for step in steps[2:]):
            seen += waits
        waits.clear()
    assert len(steps) > 3
    assert not seen
