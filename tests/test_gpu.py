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
from workbench import Machine, load, methods, open_run, record
from workbench.data import Augment, Loader
from workbench.engine.machine import Engine, Precision
from workbench.engine.step_graphs import WARM_UP
from workbench.evaluate import Recipe, evaluate
from workbench.events import Derived, Evaluated, SearchEvent, Stepped
from workbench.method import Method
from workbench.parts.arch_optimizers import Adam
from workbench.parts.relaxations import Softmax
from workbench.parts.sampling import Concrete
from workbench.parts.schedules import Linear
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
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(10):  # of the same pass; the next one's order is a copy from the host
            batches.next()
    finally:
        torch.cuda.set_sync_debug_mode("default")


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
            torch.cuda.set_sync_debug_mode(mode)  # the first step makes the buffers
            yield event

    try:
        list(record(watched(), tmp_path / "run", flush_seconds=math.inf))
    finally:
        torch.cuda.set_sync_debug_mode("default")
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


@pytest.mark.parametrize(
    "settings",
    [
        {"graphs": True},
        {"graphs": True, "fused": True},
        {"fused": True},
        {"compile": True},
        {"recompute": True},
        {"deterministic": True},
    ],
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


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("name", SPACES)
def test_a_search_on_triton_kernels_stays_with_the_one_in_torch_operations(
    name: str, graphs: bool
) -> None:
    method = shrunk(methods.entmax3_prune, epochs=2)
    alphas = []
    for machine in (
        Machine("cuda", "float64", engine="batched"),
        Machine("cuda", "float64", engine="triton", graphs=graphs),
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


GRAPHED: dict[str, Method] = {
    "second order": methods.darts_second_order,
    "single level": methods.single_level,
    "drawn": methods.darts.but(relaxation=Concrete(0.5)),
    "graphs of passes": methods.darts.but(relaxation=Softmax(Linear(1.0, 0.5))),
}


@pytest.mark.parametrize("name", GRAPHED)
def test_a_captured_search_stays_with_the_search_on_a_gpu(name: str) -> None:
    method, alphas = shrunk(GRAPHED[name], epochs=5), []
    for machine in (Machine("cuda", "float64"), Machine("cuda", "float64", graphs=True)):
        events = search(method, SPACES["darts"], tiny_data(), machine=machine)
        alphas.append([e.alpha["normal"] for e in events if isinstance(e, Stepped)])
    assert len(alphas[0]) > WARM_UP + 5
    assert torch.allclose(torch.stack(alphas[0]), torch.stack(alphas[1]), rtol=0, atol=1e-7)


def test_a_captured_step_is_few_launches_and_keeps_the_host_waiting_for_nothing() -> None:
    machine = Machine("cuda", graphs=True, fused=True)
    run = start(shrunk(methods.darts), SPACES["darts"], machine=machine)
    for step in range(WARM_UP + 1):
        run.step(Clock(0, 0, 1, step, 9))
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.step(Clock(0, 0, 1, WARM_UP + 1, 9))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    with torch.profiler.profile(acc_events=True) as profile:
        run.step(Clock(0, 0, 1, WARM_UP + 2, 9))
    launches = [event for event in profile.events() if "Launch" in event.name]
    assert sum("Graph" in event.name for event in launches) == 1
    assert len(launches) < 200  # operation by operation it is thousands


@pytest.mark.parametrize("engine", ["auto", "triton"])
@pytest.mark.parametrize("name", ["darts", "darts_second_order", "single_level"])
def test_a_step_on_a_gpu_keeps_the_host_waiting_for_nothing(name: str, engine: Engine) -> None:
    method = shrunk(methods.named()[name])
    run = start(method, SPACES["darts"], machine=Machine("cuda", engine=engine))
    run.step(Clock(0, 0, 1, 0, run.steps_per_epoch))  # the first one makes caches
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.step(Clock(0, 0, 1, 1, run.steps_per_epoch))
    finally:
        torch.cuda.set_sync_debug_mode("default")
