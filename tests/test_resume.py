"""A search or an evaluation that goes on from a saved state is the one that never ended."""

from __future__ import annotations

import gc
import io
import json
import random
import shlex
import shutil
import signal
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes import fake_evaluation
from tests.faults.methods import two_stages
from tests.test_methods import METHODS, small
from tests.test_walk import WALKS, few
from tests.tiny import CPU, SPACES, assert_same, holdings, prunings, tiny_data, trajectory
from workbench import methods
from workbench.cli import main
from workbench.config import SearchConfig
from workbench.evaluate import DIGITS, _tested, evaluate
from workbench.events import EpochEnded, EvaluationEvent, Resumable, Resumed, SearchEvent
from workbench.interrupts import SIGNALS, interruptible
from workbench.method import Method
from workbench.parts.schedules import Alternating
from workbench.run import Run as Stage
from workbench.search import search
from workbench.settings import ConfigError
from workbench.snapshots import SMALL, Moment, SnapshotError, State, load_state
from workbench.spaces.genotype import Genotype
from workbench.tasks import DEMO, resume
from workbench.trace import Run, RunError, open_run, record, record_evaluation
from workbench.trace.checkpoints import Checkpointing, newest
from workbench.trace.folder import CHECKPOINTS, HEADER, write_sealed
from workbench.trace.header import read_header, times_resumed

# Of every kind that keeps something of its own; the long form goes through all.
FIRST = (
    "entmax3_prune_single_level", "darts_second_order", "pc_darts", "darts_pt", "gdas", "asap",
)  # fmt: skip
EVERY = pytest.mark.parametrize(
    ("name", "space"),
    [
        pytest.param(name, space, marks=() if name in FIRST and first else pytest.mark.long)
        for name in METHODS
        for first, space in ((True, "darts"), (False, "nasbench201"))
    ]
    + [("two_stages", "darts")],
)


def searching(name: str, space: str = "darts", start: State | None = None) -> Iterator[SearchEvent]:
    """The events of a small search."""
    if name in WALKS:
        method = few(WALKS[name])
    elif name == two_stages().name:
        method = small(two_stages())
    else:
        method = small(METHODS[name])
    return search(method, SPACES[space], tiny_data(), machine=CPU, start=start)


def until(events: Iterable[SearchEvent | EvaluationEvent], place: int) -> tuple[list, State]:
    """The events up to the `place`-th `Resumable`, and its state as it comes back from a file."""
    told, places = [], 0
    for event in events:
        told.append(event)
        if isinstance(event, Resumable):
            if places == place:
                stream = io.BytesIO()
                event.now.save(stream)
                stream.seek(0)
                return told, load_state(stream)
            places += 1
    raise AssertionError(f"there are only {places} places")


def places(events: Iterable[object]) -> int:
    return sum(isinstance(event, Resumable) for event in events)


def assert_goes_on(name: str, space: str, count: int) -> None:
    whole = list(searching(name, space))
    for place in random.Random(f"{name} {space}").sample(range(places(whole)), count):
        first, state = until(searching(name, space), place)
        torch.manual_seed(1234)  # what the process drew meanwhile is of no matter
        again, *rest = searching(name, space, state)
        both = [*first, *rest]
        assert isinstance(again, Resumed)
        assert [type(event) for event in both] == [type(event) for event in whole]
        assert_same(trajectory(whole), trajectory(both))
        assert prunings(whole) == prunings(both)
        assert holdings(whole) == holdings(both)
        assert whole[-1] == both[-1]


@EVERY
def test_a_search_goes_on_bit_for_bit(name: str, space: str) -> None:
    assert_goes_on(name, space, 2)


@pytest.mark.parametrize("name", ["regularized_evolution", "knas"])
def test_a_walk_goes_on_bit_for_bit(name: str) -> None:
    assert_goes_on(name, "nasbench201", 2)


def test_an_evaluation_goes_on_bit_for_bit() -> None:
    text = "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|nor_conv_1x1~0|none~1|none~2|"
    genotype = Genotype.parse(text)
    recipe = replace(DIGITS, channels=4, cells=1, epochs=2, batch_size=16)

    def training(start: State | None = None) -> Iterator[EvaluationEvent]:
        return evaluate(genotype, tiny_data(), recipe, machine=CPU, start=start)

    def figures(events: Iterable[EvaluationEvent]) -> list[object]:
        told = [e for e in events if not isinstance(e, Resumable | Resumed)]
        return [e.scalars if isinstance(e, EpochEnded) else replace(e, seconds=0.0) for e in told]

    whole = list(training())
    for place in (0, 2, 3, places(whole) - 1):
        first, state = until(training(), place)
        assert figures([*first, *training(state)]) == figures(whole)


@pytest.mark.parametrize("what", ["seed", "method", "data", "space"])
def test_a_state_of_another_search_is_refused(what: str) -> None:
    _, state = until(searching("darts_second_order"), 1)
    data, method = tiny_data(), small(METHODS["darts_second_order"])
    if what == "method":
        method = small(METHODS["gdas"])
    if what == "data":
        data = replace(data, train=replace(data.train, images=data.train.images.flip(0)))
    seed = 1 if what == "seed" else 0
    space = SPACES["nasbench201"] if what == "space" else SPACES["darts"]
    with pytest.raises(SnapshotError, match=f"another {what}"):
        next(search(method, space, data, machine=CPU, seed=seed, start=state))


def test_a_state_of_before_it_told_its_space_is_taken_up() -> None:
    _, state = until(searching("darts_second_order"), 1)
    del state["of"]["space"]
    assert isinstance(next(searching("darts_second_order", start=state)), Resumed)


def test_a_walk_goes_on_in_its_space_and_number_format_only() -> None:
    _, state = until(searching("regularized_evolution"), 1)
    walk = few(WALKS["regularized_evolution"])
    with pytest.raises(SnapshotError, match="another space"):
        next(search(walk, SPACES["nasbench201"], tiny_data(), machine=CPU, start=state))
    double = replace(CPU, precision="float64")
    with pytest.raises(SnapshotError, match=r"another number format .*float32 → torch\.float64"):
        next(search(walk, SPACES["darts"], tiny_data(), machine=double, start=state))


def test_a_state_can_be_saved_until_the_search_goes_on() -> None:
    events = searching("darts_second_order")
    place = next(event for event in events if isinstance(event, Resumable))
    assert not place.now.passed
    next(events)
    assert place.now.passed
    with pytest.raises(SnapshotError, match="gone on"):
        place.now.save(io.BytesIO())


def without(tree: object, words: tuple[str, ...]) -> object:
    """A tree of dicts without what is under `words`."""
    assert isinstance(tree, dict)
    first, *rest = words
    cut = {key: value for key, value in tree.items() if key != first}
    return cut | {first: without(tree[first], tuple(rest))} if rest else cut


@pytest.mark.parametrize("name", ["darts_second_order", "regularized_evolution"])
def test_a_state_that_lacks_something_is_refused_before_anything_is_told(name: str) -> None:
    _, state = until(searching(name, "nasbench201"), 2)
    inside = [
        (a, b) for a in ("epoch", "clock", "train", "val") for b in list(state.get(a, {}))[:6]
    ]
    for words in [*((key,) for key in state), *inside]:
        with pytest.raises(SnapshotError, match=r"state (does not hold|of a search)|another"):
            next(searching(name, "nasbench201", without(state, words)))


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    for content in (b"", b"no zip", b"PK\x03\x04"):
        file.write_bytes(content)
        with pytest.raises(SnapshotError, match=r"state\.pt"):
            load_state(file)


LAST = torch.arange(48.0).view(2, 3, 2, 4).to(memory_format=torch.channels_last)
STATE: State = {
    "scalar": torch.tensor(3),
    "none of it": torch.empty(0, 4),
    "half": torch.arange(6, dtype=torch.bfloat16).view(2, 3),
    "alive": [torch.tensor([True, False]), None, {"betas": (0.9, 0.999)}],
    "channels last": LAST,
    "turned": torch.arange(6.0).view(2, 3).T,
    "large": torch.arange(SMALL + 1),
}


def same(one: object, other: object) -> bool:
    """Are they one tree, tensors of one type and shape and to the bit?"""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


def test_a_state_comes_back_as_it_was_saved() -> None:
    stream = io.BytesIO()
    Moment(lambda: STATE).save(stream)
    stream.seek(0)
    state = load_state(stream)
    assert same(state, STATE)
    assert state["channels last"].stride() == LAST.stride()  # another order picks another kernel
    assert state["half"].untyped_storage().nbytes() == 12  # and holds nothing else in memory


def test_saving_and_reading_a_state_leave_nothing_to_the_collector() -> None:
    """Among the objects of a search it comes once in many minutes."""

    def tensors() -> int:
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    stream = io.BytesIO()
    gc.collect()
    before = tensors()
    gc.disable()
    try:
        Moment(lambda: STATE).save(stream)
        assert tensors() == before
        stream.seek(0)
        load_state(stream)
        assert tensors() == before
    finally:
        gc.enable()


def test_a_state_of_before_small_tensors_lay_side_by_side_is_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "state.pt")
    assert same(load_state(tmp_path / "state.pt"), STATE)


# --- in a run folder ----------------------------------------------------------------------------


def recorded(path: Path, steps: int | None = None, **more) -> Run:
    """A small search with two stages, recorded; asked to stop after so many steps."""
    taken = iter(range(10**6))
    stop = (lambda: next(taken) >= steps) if steps is not None else lambda: False
    events = searching("two_stages")
    when = Checkpointing(steps=3, minutes=None)
    for _ in record(events, path, checkpoints=when, asked_to_stop=stop, flush_seconds=0, **more):
        pass
    return open_run(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return recorded(tmp_path_factory.mktemp("whole") / "run")


def assert_same_record(one: Run, other: Run) -> None:
    for name, values in one.trace.variables.items():
        if name not in ("seconds", "memory"):
            np.testing.assert_array_equal(other.trace[name].values, values.values)
    lines = [
        [{k: v for k, v in line.items() if k not in ("seconds", "memory")} for line in run.events]
        for run in (one, other)
    ]
    assert lines[0] == lines[1]
    assert one.genotype == other.genotype
    assert other.status == "finished"


@pytest.mark.parametrize("steps", [0, 1, 4, 7, 12])
def test_a_stopped_record_is_gone_on_with_as_if_nothing_had_been(
    tmp_path: Path, whole: Run, steps: int
) -> None:
    path = tmp_path / "run"
    assert recorded(path, steps).status == "stopped"
    checkpoint = newest(path / CHECKPOINTS, path)
    events = searching("two_stages", start=load_state(checkpoint.state))
    for _ in record(events, path, start=checkpoint):
        pass
    assert_same_record(whole, open_run(path))
    assert times_resumed(open_run(path).header) == 1
    assert not (path / CHECKPOINTS).exists()


LATE = {  # methods whose scalars are not all measured in every step
    "every second": methods.multi_step.but(schedule=Alternating(2, order="weights_first")),
    "warm-up": methods.darts.but(schedule=Alternating(warmup_epochs=1)),
}


@pytest.mark.parametrize("method", LATE.values(), ids=LATE)
def test_a_record_goes_on_from_wherever_it_was_saved(tmp_path: Path, method: Method) -> None:
    """From before the first of a scalar too, which the record behind the checkpoint has."""

    def search_on(start: State | None = None) -> Iterator[SearchEvent]:
        return search(small(method), SPACES["darts"], tiny_data(), machine=CPU, start=start)

    list(record(search_on(), tmp_path / "whole", flush_seconds=0))
    path, taken = tmp_path / "run", iter(range(10**6))
    when = Checkpointing(steps=1, minutes=None, keep=99)
    stop = {"asked_to_stop": lambda: next(taken) >= 6}
    list(record(search_on(), path, checkpoints=when, flush_seconds=0, **stop))
    saved = len(list((path / CHECKPOINTS).glob("*.json")))
    assert saved > 4
    for first in range(saved):
        again = tmp_path / f"from {first}"
        shutil.copytree(path, again)
        for later in range(first + 1, saved):
            (again / CHECKPOINTS / f"checkpoint_{later}.json").unlink()
        start = newest(again / CHECKPOINTS, again)
        list(record(search_on(load_state(start.state)), again, start=start, flush_seconds=0))
        assert_same_record(open_run(tmp_path / "whole"), open_run(again))


def test_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(
    tmp_path: Path, whole: Run, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run"
    recorded(path, 9)
    states = sorted((path / CHECKPOINTS).glob("*.pt"), key=lambda p: p.stat().st_mtime_ns)
    assert len(states) == 2
    with states[1].open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff\x00\xff")
    checkpoint = newest(path / CHECKPOINTS, path)
    assert checkpoint.state == states[0]
    assert states[1].name in caplog.text
    for _ in record(searching("two_stages", start=load_state(states[0])), path, start=checkpoint):
        pass
    assert_same_record(whole, open_run(path))


def test_without_a_whole_checkpoint_nothing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run"
    recorded(path, 4)
    for state in (path / CHECKPOINTS).glob("*.pt"):
        state.write_bytes(b"")
    with pytest.raises(RunError, match=r"checkpoint_\d+\.pt is damaged"):
        newest(path / CHECKPOINTS, path)
    for file in (path / CHECKPOINTS).iterdir():
        file.unlink()
    with pytest.raises(RunError, match="holds no checkpoint"):
        newest(path / CHECKPOINTS, path)


# --- from the command line ----------------------------------------------------------------------

WORDS = ["search", "--method", "darts", "--channels", "4", "--cells", "3", "--nodes", "1"]
WORDS += ["--epochs", "1", "--batch-size", "256", "--device", "cpu"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_ends_a_search_saved_and_it_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    step, out = Stage.step, tmp_path / "run"

    def signalled(self: Stage, clock):
        if clock.step == 1:
            signal.raise_signal(getattr(signal, name))
        return step(self, clock)

    monkeypatch.setattr(Stage, "step", signalled)
    with pytest.raises(SystemExit) as ended:
        main([*WORDS, "--out", str(out)])
    assert ended.value.code == 75
    said = capsys.readouterr().err
    assert f"{name}: {out} is saved; go on with: workbench search --resume {out}" in said
    assert open_run(out).status == "stopped"
    assert len(open_run(out).trace.step) == 2
    monkeypatch.setattr(Stage, "step", step)
    main(["search", "--resume", str(out)])
    assert open_run(out).status == "finished"
    with pytest.raises(RunError, match="has finished"):
        resume(out)


def test_only_settings_of_the_machine_may_change(tmp_path: Path) -> None:
    path = tmp_path / "run"
    recorded(path, 2, meta={"config": json.loads("{}")})
    with pytest.raises(ConfigError, match=r"epochs: a resumed search keeps its settings"):
        resume(path, {"epochs": 3})


@pytest.mark.parametrize(
    ("words", "other"),
    [
        ("", {}),
        ("--checkpoint-minutes 10", {"checkpoint_minutes": 10.0}),  # the default, and not the run's
        ("--no-recompute --seed 1", {"recompute": False}),  # the seed is the run's
        ("--seed 0", {"seed": 0}),
        ("--epochs 2 --threads 3", {"epochs": 2, "threads": 3}),
    ],
)
def test_flags_beside_resume_are_compared_with_the_runs_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, other: dict[str, object]
) -> None:
    settings = SearchConfig(seed=1, recompute=True, checkpoint_minutes=3, out=tmp_path / "there")
    recorded(tmp_path / "run", 2, meta={"config": settings.model_dump(mode="json")})
    given: list[dict[str, object]] = []

    def resumed(run: Path, machine: dict[str, object]) -> Run:
        given.append(machine)
        return open_run(run)

    monkeypatch.setattr("workbench.tasks.resume", resumed)
    main(["search", f"--resume={tmp_path / 'run'}", *words.split()])
    main(["search", *words.split(), "--resume", str(tmp_path / "run")])
    assert given == [other, other]


def test_the_first_signal_leaves_the_second_to_the_system() -> None:
    """It would wait for Python otherwise, while something else has the process."""
    before = [signal.getsignal(number) for number in SIGNALS]
    with interruptible() as asked:
        signal.raise_signal(signal.SIGTERM)
        assert asked.name == "SIGTERM"
        assert {signal.getsignal(number) for number in SIGNALS} == {signal.SIG_DFL}
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_the_first_event_of_a_resumed_search_needs_its_checkpoint(tmp_path: Path) -> None:
    _, state = until(searching("darts_second_order"), 1)
    with pytest.raises(RunError, match="need their checkpoint"):
        list(islice(record(searching("darts_second_order", start=state), tmp_path / "run"), 1))


def test_a_signal_at_the_end_of_an_evaluation_ends_the_seeds_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    main([*WORDS, "--out", str(out)])

    def signalled(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return _tested(*arguments)

    small = ["--epochs", "1", "--batch-size", "512", "--channels", "4", "--device", "cpu"]
    monkeypatch.setattr("workbench.evaluate._tested", signalled)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(out), *small, "--seeds", "3"])
    monkeypatch.undo()
    assert ended.value.code == 75
    _, command = capsys.readouterr().err.strip().splitlines()[-1].split("go on with: workbench ")
    assert len(open_run(out).evaluations) == 1
    main(shlex.split(command))
    seeds = [found["recipe"]["seed"] for found in open_run(out).evaluations]
    assert seeds == [0, 1, 2]


def test_a_signal_while_the_next_seeds_data_are_read_ends_it_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, build, times = tmp_path / "run", SearchConfig.build_data, []
    main([*WORDS, "--out", str(out)])

    def signalled(self: SearchConfig):
        times.append(1)
        if len(times) == 2:
            signal.raise_signal(signal.SIGUSR1)
        return build(self)

    small = ["--epochs", "1", "--batch-size", "512", "--channels", "4", "--device", "cpu"]
    monkeypatch.setattr(SearchConfig, "build_data", signalled)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(out), *small, "--seeds", "3"])
    assert ended.value.code == 75
    _, command = capsys.readouterr().err.strip().splitlines()[-1].split("go on with: workbench ")
    assert command == f"evaluate {out} --resume"
    main(shlex.split(command))
    seeds = [found["recipe"]["seed"] for found in open_run(out).evaluations]
    assert seeds == [0, 1, 2]


def test_a_search_that_was_evaluated_as_it_stood_does_not_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = recorded(path, 12)
    assert run.status == "stopped"
    assert run.latest_genotype is not None
    list(record_evaluation(fake_evaluation(run.latest_genotype), path, recipe={"seed": 0}))
    checkpoint = newest(path / CHECKPOINTS, path)
    with pytest.raises(RunError, match=r"as it stood \(evaluation\.json and evaluation\)"):
        record(iter([]), path, start=checkpoint)
    assert open_run(path).status == "stopped"


def test_a_state_that_would_grow_in_memory_is_not_read(tmp_path: Path) -> None:
    torch.save({"zeros": torch.zeros(1 << 20)}, tmp_path / "state.pt")
    load_state(tmp_path / "state.pt")
    packed = tmp_path / "packed.pt"
    with (
        zipfile.ZipFile(tmp_path / "state.pt") as plain,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    assert packed.stat().st_size < 100_000
    with pytest.raises(SnapshotError, match="is compressed"):
        load_state(packed)


@pytest.mark.parametrize("grown", ["stretched", "taken twice", "negative"])
def test_a_state_of_more_numbers_than_were_saved_is_not_read(tmp_path: Path, grown: str) -> None:
    saved = {"weights": torch.zeros(4), "others": torch.ones(4)}
    file = tmp_path / "state.pt"
    with file.open("wb") as stream:
        Moment(lambda: saved).save(stream)
    state = torch.load(file, weights_only=True)
    (place,) = state["tree"]["weights"]
    if grown == "stretched":
        state["small"]["torch.float32"] = torch.zeros(1).expand(1 << 40)
    elif grown == "taken twice":
        state["tree"]["more"] = {place: list(state["tree"]["weights"][place])}
    else:
        state["tree"]["more"] = {place: ["torch.float32", 0, False, -1]}
    torch.save(state, file)
    with pytest.raises(SnapshotError, match=r"numbers|of shape"):
        load_state(file)


def test_a_state_that_holds_one_list_in_many_places_is_read_in_no_time(tmp_path: Path) -> None:
    laugh = [1]
    for _ in range(60):
        laugh = [laugh, laugh]
    torch.save({"tree": {"laugh": laugh}, "small": {}}, tmp_path / "state.pt")
    loaded = load_state(tmp_path / "state.pt")["laugh"]
    assert loaded[0] is loaded[1]


def test_other_versions_are_told_and_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run"
    recorded(path, 2)
    header = read_header(path)
    header["meta"]["versions"]["torch"] = "2.1.0"
    write_sealed(path / HEADER, header)
    checkpoint = newest(path / CHECKPOINTS, path)
    events = searching("two_stages", start=load_state(checkpoint.state))
    list(record(events, path, start=checkpoint))
    assert f"torch 2.1.0 → {version('torch')}" in caplog.text
    assert open_run(path).header["resumed"][0]["versions"]["torch"] == version("torch")


def test_a_signal_at_the_end_of_the_demos_search_begins_no_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, derived = tmp_path / "demo", Stage.derived

    def signalled(self: Stage):
        signal.raise_signal(signal.SIGTERM)
        return derived(self)

    small = {"channels": 4, "cells": 1, "nodes": 1, "batch_size": 256}
    monkeypatch.setattr("workbench.tasks.DEMO", DEMO.model_copy(update=small))
    monkeypatch.setattr(Stage, "derived", signalled)
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--out", str(out), "--epochs", "1", "--evaluation-epochs", "1"])
    assert ended.value.code == 75
    _, command = capsys.readouterr().err.strip().splitlines()[-1].split("go on with: workbench ")
    assert open_run(out).status == "finished"
    assert not open_run(out).evaluations
    main([*shlex.split(command), "--channels", "4"])
    assert len(open_run(out).evaluations) == 1
