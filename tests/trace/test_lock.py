"""One writer per folder: the second is told who the first is, and a dead one's place is free."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from workbench.events import EpochEnded, EvaluationEvent, SearchEvent, Stepped
from workbench.snapshots import State, load_state
from workbench.spaces.genotype import Genotype
from workbench.trace import RunError, control, folder, open_run, record, record_evaluation
from workbench.trace.checkpoints import Checkpointing, newest
from workbench.trace.evaluation_record import unfinished
from workbench.trace.folder import CHECKPOINTS
from workbench.trace.lock import WriterLock

from ..fakes import fake_evaluation, fake_events, fake_run
from ..faults.processes import ended, started, waited
from ..full_disk import resumable

GENOTYPE = Genotype.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
WHEN = Checkpointing(steps=1, minutes=None)
ME = f"process {os.getpid()} on {platform.node()}"


def searching(path: Path, *, go_on: bool = False) -> Iterator[SearchEvent]:
    """A recorded search of 4 steps, or its rest."""
    start = newest(path / CHECKPOINTS, path) if go_on else None
    state: State | None = start and load_state(start.state)
    told = list(fake_events(kinds=("cell",), nodes=1, epochs=2, steps_per_epoch=2))
    return record(resumable(told, state), path, checkpoints=WHEN, start=start, flush_seconds=0)


def training(path: Path, *, go_on: bool = False) -> Iterator[EvaluationEvent]:
    """A recorded evaluation of 3 epochs, or its rest."""
    start = unfinished(path) if go_on else None
    state: State | None = start and load_state(start.state)
    events = resumable(list(fake_evaluation(GENOTYPE, epochs=3)), state)
    return record_evaluation(events, path, recipe={"epochs": 3}, checkpoints=WHEN, start=start)


def search_and_hang(path: Path) -> None:
    """Stay at the third step."""
    for event in searching(path):
        if isinstance(event, Stepped) and event.clock.step == 2:
            time.sleep(600)


def evaluate_and_hang(path: Path) -> None:
    """Stay at the second epoch."""
    for event in training(path):
        if isinstance(event, EpochEnded) and event.clock.epoch == 1:
            time.sleep(600)


def upto(events: Iterator[object], kind: type) -> None:
    next(event for event in events if isinstance(event, kind))


def found(path: Path) -> dict[str, object]:
    """A lock is told by the file it is in; who wrote what, by the bytes."""
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def test_a_second_search_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first, second = searching(path), searching(path)
    with closing(first):  # pyright: ignore[reportArgumentType]
        upto(first, Stepped)
        before = found(path)
        with pytest.raises(RunError, match=rf"{path} is being written by {ME} \(since .*stop that"):
            next(second)
        with pytest.raises(RunError, match=rf"{path} is being written by {ME} \(since .*stop that"):
            searching(path)  # refused before any work
        assert found(path) == before
        list(first)
    with pytest.raises(RunError, match="holds a run; choose another folder"):
        searching(path)
    assert open_run(path).status == "finished"


def test_a_search_that_goes_on_is_told_of_one_that_still_writes(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = searching(path)
    upto(first, Stepped)
    upto(first, Stepped)
    before = found(path)
    with pytest.raises(RunError, match=f"is being written by {ME}"):
        next(searching(path, go_on=True))
    assert found(path) == before
    list(first)
    assert [int(s) for s in open_run(path).trace.step] == [0, 1, 2, 3]


def test_of_two_that_go_on_at_once_one_does(tmp_path: Path) -> None:
    path, whole = tmp_path / "run", tmp_path / "whole"
    list(searching(whole))
    first = searching(path)
    upto(first, Stepped)
    first.close()  # pyright: ignore[reportAttributeAccessIssue]
    one, other, late = (searching(path, go_on=True) for _ in range(3))
    next(one)
    with pytest.raises(RunError, match=f"is being written by {ME}"):
        next(other)
    with pytest.raises(RunError, match=f"is being written by {ME}"):
        searching(path, go_on=True)  # at once, before it makes a supernet
    list(one)
    with pytest.raises(RunError, match="has gone on since"):
        next(late)
    assert (
        open_run(path)
        .trace.drop_vars(["seconds", "memory"])
        .identical(open_run(whole).trace.drop_vars(["seconds", "memory"]))
    )


def test_of_two_that_evaluate_one_does(tmp_path: Path) -> None:
    path = fake_run(tmp_path / "run", kinds=("cell",), epochs=1, evaluated=False).path
    first, second = training(path), training(path)
    upto(first, EpochEnded)
    before = found(path)
    with pytest.raises(RunError, match=f"evaluation is being written by {ME}"):
        next(second)
    assert found(path) == before
    upto(first, EpochEnded)
    first.close()  # pyright: ignore[reportAttributeAccessIssue]
    one, other, late = (training(path, go_on=True) for _ in range(3))
    next(one)
    with pytest.raises(RunError, match=f"evaluation is being written by {ME}"):
        next(other)
    list(one)
    with pytest.raises(RunError, match="that evaluation has ended"):
        next(late)
    assert list(open_run(path).evaluation_epochs.epoch) == [0, 1, 2]


@pytest.mark.parametrize("what", ["search", "evaluation"])
def test_a_killed_owner_is_named_while_it_lives_and_lets_go_when_it_dies(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "run"
    hang: Callable[[Path], None] = search_and_hang
    work: Callable[..., Iterator[object]] = searching
    if what == "evaluation":
        fake_run(path, kinds=("cell",), epochs=1, evaluated=False)
        hang, work = evaluate_and_hang, training
    checkpoint = path / ("checkpoints" if what == "search" else "evaluation/checkpoints")
    child = started(hang, path)
    assert waited(lambda: any(checkpoint.glob("checkpoint_*.json")), child)
    there = f"process {child.pid} on {platform.node()}"
    with pytest.raises(RunError, match=f"is being written by {there}"):
        next(work(path, go_on=True))
    child.kill()
    assert ended(child) == -signal.SIGKILL
    list(work(path, go_on=True))
    run = open_run(path)
    assert run.status == "finished"
    steps = (
        [int(s) for s in run.trace.step] if what == "search" else list(run.evaluation_epochs.epoch)
    )
    assert steps == list(range(len(steps)))
    assert len(steps) == (4 if what == "search" else 3)


def test_a_place_that_cannot_be_locked_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot be locked \(.*\); choose a folder"):
        WriterLock(tmp_path / "file" / "run.lock" / ("x" * 300)).acquire()


def test_what_the_lock_file_holds_is_shown_only_if_it_is_an_owner(tmp_path: Path) -> None:
    for text in ("", "no json", '{"pid": "x"}', "[1]", '{"host": "here"}', "[" * 3000, " " * 5000):
        file = tmp_path / "run.lock"
        lock = WriterLock(file)
        lock.acquire()
        file.write_text(text)
        with pytest.raises(RunError, match="is being written by another process; stop"):
            WriterLock(file).acquire()
        lock.release()


def test_nobody_evaluates_a_run_whose_search_goes_on(tmp_path: Path) -> None:
    path = fake_run(tmp_path / "run", evaluated=False).path
    lock = WriterLock(path / "run.lock")
    waits = record_evaluation(fake_evaluation(GENOTYPE), path, recipe={})
    lock.acquire()
    try:
        with pytest.raises(RunError, match=f"is being written by {ME}"):
            record_evaluation(fake_evaluation(GENOTYPE), path, recipe={})
        with pytest.raises(RunError, match=f"is being written by {ME}"):
            list(waits)
    finally:
        lock.release()


def test_a_living_search_is_not_gone_on_with_where_its_lock_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = started(search_and_hang, path)
    waited(lambda: (path / folder.HEADER).exists() and open_run(path).steps == 3, first)
    time.sleep(0.5)  # until all of that step is told
    (path / folder.LOCK).unlink()
    with pytest.raises(RunError, match=f"by process {first.pid} on .*its run.lock is free"):
        list(searching(path, go_on=True))
    first.kill()
    first.join()
    list(searching(path, go_on=True))
    assert open_run(path).status == "finished"


def test_a_process_that_began_after_the_last_sign_of_life_is_another(tmp_path: Path) -> None:
    header = {"status": "running", "host": platform.node(), "pid": os.getpid()}
    assert not control.lost(header | {"heartbeat": folder.now()})
    assert control.lost(header | {"heartbeat": "2020-01-01T00:00:00+00:00"})


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("kind", [searching, training], ids=["search", "evaluation"])
def test_whoever_lost_the_lock_writes_nothing_more(tmp_path: Path, kind, replaced: bool) -> None:
    path = tmp_path / "run"
    if kind is training:
        list(searching(path))
    events = kind(path)
    next(events), next(events)
    (lock,) = path.rglob("evaluation.lock" if kind is training else "run.lock")
    lock.rename(tmp_path / "old")
    if replaced:
        lock.touch()
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(RunError, match=rf"{lock.name} was removed or replaced while this process"):
        list(events)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_search_that_is_left_without_its_lock_does_not_end_as_if_nothing_were(tmp_path: Path):
    events = searching(tmp_path / "run")
    next(events), next(events)
    (tmp_path / "run" / "run.lock").unlink()
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(RunError, match="removed or replaced"):
        events.close()
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_a_search_without_its_lock_can_go_on_when_it_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    events = searching(path)
    next(events), next(events), next(events)
    (path / "run.lock").unlink()
    with pytest.raises(RunError, match="removed or replaced"):
        list(events)
    with pytest.raises(RunError, match=r"sign of life \d s ago"):
        list(searching(path, go_on=True))
    monkeypatch.setattr(control, "_SILENT", 0.0)
    list(searching(path, go_on=True))
    assert open_run(path).status == "finished"
