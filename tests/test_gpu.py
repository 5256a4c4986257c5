"""On a GPU: the same search, and nothing left behind on the CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.fakes import fake_events
from tests.tiny import SPACES, shrunk, start, tiny_data
from tests.waiting import no_waiting, waiting_is
from workbench import Machine, load, methods, open_run, record
from workbench.data import Augment, Loader
from workbench.engine.machine import Engine, Precision
from workbench.evaluate import Recipe, evaluate
from workbench.events import Derived, Evaluated, SearchEvent, Stepped
from workbench.parts.arch_optimizers import Adam
from workbench.protocols import Clock
from workbench.search import search
from workbench.spaces.darts import darts
from workbench.walk import Walk

pytestmark = pytest.mark.gpu


def test_a_search_on_a_gpu_stays_with_the_search_on_a_cpu() -> None:
    method = shrunk(methods.entmax3_prune)  # tiny data are not augmented: nothing is drawn there
    for space in SPACES.values():
        alphas = []
        for device in ("cpu", "cuda"):
            machine = Machine(device, precision="float64")
            events = search(method, space, tiny_data(), machine=machine)
            steps = [event for event in events if isinstance(event, Stepped)]
            kinds = steps[-1].alpha
            alphas.append(torch.cat([rows.flatten().cpu() for rows in kinds.values()]))
        assert torch.allclose(*alphas, rtol=0, atol=1e-7)


def test_every_method_searches_records_and_derives_on_a_gpu(tmp_path: Path) -> None:
    for name, method in methods.named().items():
        few = {"candidates": 1} if isinstance(method, Walk) else {"epochs": 1, "batch_size": 256}
        events = search(
            method.but(**few),
            darts(channels=4, cells=1, nodes=1),
            load("digits"),
            machine=Machine("cuda"),
        )
        last = list(record(events, tmp_path / name))[-1]
        assert isinstance(last, Derived)
        assert open_run(tmp_path / name).status == "finished"


def test_a_network_is_evaluated_on_a_gpu() -> None:
    method = methods.darts.but(epochs=1, batch_size=256)
    space = darts(channels=2, cells=1, nodes=1)
    found = list(search(method, space, load("digits"), machine=Machine("cuda")))[-1]
    assert isinstance(found, Derived)
    recipe = Recipe(channels=2, cells=1, epochs=1, batch_size=256)
    last = list(evaluate(found.genotype, load("digits"), recipe, machine=Machine("cuda")))[-1]
    assert isinstance(last, Evaluated)


def gpu_loader(*, resident: bool | None) -> Loader:
    """Batches of 64 digits, 22 a pass."""
    augment = Augment(crop_padding=1, flip=True, cutout=2, noise=0.1)
    device = torch.device("cuda")
    return Loader(
        load("digits"), None, batch_size=64, seed=0, device=device, augment=augment,
        resident=resident,
    )  # fmt: skip


@pytest.mark.parametrize("late", ["copies", "steps"])
def test_streamed_batches_are_whole_whoever_is_late(late: str) -> None:
    resident, streamed = gpu_loader(resident=True), gpu_loader(resident=False)
    copies = streamed._images._slots[0]._copies
    stream = copies if late == "copies" else torch.cuda.current_stream()
    pairs = []
    for _ in range(2 * len(resident) + 3):
        with torch.cuda.stream(stream):
            torch.cuda._sleep(10_000_000)  # cycles: some milliseconds
        pairs.append((streamed.next(), resident.next()))
    for ours, theirs in pairs:
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)


@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_on_a_gpu_keeps_the_host_waiting_for_nothing(resident: bool) -> None:
    batches = gpu_loader(resident=resident)
    batches.next()
    with no_waiting():
        for _ in range(10):  # of the same pass; the next one's order is a copy from the host
            batches.next()


def test_a_gpu_with_room_keeps_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_loader(resident=None).resident
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (300_000, 0))
    assert not gpu_loader(resident=None).resident  # 92,032 bytes are more than a quarter


def test_recording_on_a_gpu_keeps_the_host_waiting_at_flushes_only(tmp_path: Path) -> None:
    method = methods.darts.but(epochs=1, batch_size=64)
    space = darts(channels=2, cells=1, nodes=2)
    events = list(search(method, space, load("digits"), machine=Machine("cuda")))
    steps = [event for event in events if isinstance(event, Stepped)]
    assert all(event.alpha["normal"].is_cuda for event in steps)

    def watched() -> Iterator[SearchEvent]:
        for event in events:
            mode = "error" if isinstance(event, Stepped) and event is not steps[0] else "default"
            waiting_is(mode)  # the first step makes the buffers
            yield event

    try:
        list(record(watched(), tmp_path / "run", flush_seconds=math.inf))
    finally:
        waiting_is("default")
    list(record(iter(events), tmp_path / "often", flush_seconds=0.0))
    for run in (open_run(tmp_path / "run"), open_run(tmp_path / "often")):
        assert run.trace.sizes["step"] == len(steps) < 200  # no flush but the last
        for row, event in enumerate(steps):
            for name in ("alpha", "mix", "alive"):
                for kind, value in getattr(event, name).items():
                    own = run.trace[name].to_numpy()[row][run.trace["kind"].to_numpy() == kind]
                    assert (own == value.float().cpu().numpy()).all()
            for name, value in event.scalars.items():
                assert run.trace[name].to_numpy()[row] == torch.as_tensor(value).float().item()


def test_a_flush_waits_for_the_steps_on_the_gpu(tmp_path: Path) -> None:
    events = list(fake_events(steps_per_epoch=20))

    def late() -> Iterator[SearchEvent]:
        for event in events:
            if isinstance(event, Stepped):
                torch.cuda._sleep(10_000_000)  # cycles: some milliseconds
                rows = {
                    name: {k: v.cuda(non_blocking=True) for k, v in getattr(event, name).items()}
                    for name in ("alpha", "mix", "alive")
                }
                event = replace(event, **rows)
            yield event

    list(record(late(), tmp_path / "gpu", flush_seconds=0.05))
    list(record(iter(events), tmp_path / "cpu"))
    gpu, cpu = (
        open_run(tmp_path / name).trace.drop_vars(["seconds", "memory"]) for name in ("gpu", "cpu")
    )
    assert gpu.identical(cpu)


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # of compile, which suggests it
@pytest.mark.parametrize(
    "settings",
    [{"fused": True}, {"compile": True}, {"recompute": True}, {"deterministic": True}],
    ids="-".join,
)
def test_a_setting_changes_no_search_on_a_gpu(settings: dict[str, bool]) -> None:
    method = shrunk(methods.entmax3_prune.but(arch_optimizer=Adam(lr=0.03)), epochs=4)
    alphas = []
    try:
        for machine in (Machine("cuda", "float64"), Machine("cuda", "float64", **settings)):
            events = search(method, SPACES["nasbench201"], tiny_data(), machine=machine)
            alphas.append([e.alpha["cell"] for e in events if isinstance(e, Stepped)])
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.allclose(torch.stack(alphas[0]), torch.stack(alphas[1]), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", SPACES)
def test_a_search_on_triton_kernels_stays_with_the_one_in_torch_operations(name: str) -> None:
    method = shrunk(methods.entmax3_prune, epochs=2)
    alphas = []
    for machine in (
        Machine("cuda", "float64", engine="batched"),
        Machine("cuda", "float64", engine="triton"),
    ):
        events = search(method, SPACES[name], tiny_data(), machine=machine)
        steps = [event for event in events if isinstance(event, Stepped)]
        alphas.append(torch.cat([x.flatten() for e in steps for x in e.alpha.values()]))
    assert torch.allclose(*alphas, rtol=0, atol=1e-7)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_search_on_triton_kernels_in_less_precision_stays_near(precision: Precision) -> None:
    losses = []
    for machine in (Machine("cuda"), Machine("cuda", precision, engine="triton")):
        events = search(shrunk(methods.darts), SPACES["darts"], tiny_data(), machine=machine)
        losses.append([e.scalars["loss_train"] for e in events if isinstance(e, Stepped)])
    assert torch.allclose(torch.stack(losses[0]), torch.stack(losses[1]), rtol=0, atol=0.5)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_search_in_less_precision_stays_near_on_a_gpu(precision: Precision) -> None:
    losses = []
    for machine in (Machine("cuda"), Machine("cuda", precision)):
        events = search(shrunk(methods.darts), SPACES["darts"], tiny_data(), machine=machine)
        losses.append([e.scalars["loss_train"] for e in events if isinstance(e, Stepped)])
    assert torch.allclose(torch.stack(losses[0]), torch.stack(losses[1]), rtol=0, atol=0.5)


@pytest.mark.parametrize("engine", ["auto", "triton"])
@pytest.mark.parametrize("name", ["darts", "darts_second_order", "single_level"])
def test_a_step_on_a_gpu_keeps_the_host_waiting_for_nothing(name: str, engine: Engine) -> None:
    method = shrunk(methods.named()[name])
    run = start(method, SPACES["darts"], machine=Machine("cuda", engine=engine))
    run.step(Clock(0, 0, 1, 0, run.steps_per_epoch))  # the first one makes caches
    with no_waiting():
        run.step(Clock(0, 0, 1, 1, run.steps_per_epoch))
