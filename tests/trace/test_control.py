"""Pausing, stepping and stopping from outside, and reading again only what is new."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import fake_events, fake_run
from workbench.events import EpochEnded, Pruned, Resumable, SearchEvent, StageStarted, Stepped
from workbench.snapshots import Moment
from workbench.trace import Run, RunError, open_run, record
from workbench.trace.control import Steering
from workbench.trace.folder import read_sealed, write_sealed
from workbench.trace.writer import RunWriter


def until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a fact."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


class Search(threading.Thread):
    """Records fake events slowly, beside the test."""

    def __init__(self, path: Path, **options: object) -> None:
        super().__init__(daemon=True)
        self.began = time.monotonic()
        self.pipe = record(self.slow(fake_events(**options)), path, flush_seconds=0.05)
        self.path, self.events = path, []

    @staticmethod
    def slow(events: Iterator[SearchEvent]) -> Iterator[SearchEvent]:
        for event in events:
            yield event
            if isinstance(event, Stepped):
                time.sleep(0.01)

    def run(self) -> None:
        for event in self.pipe:
            self.events.append(event)

    def seen(self) -> Run:
        return open_run(self.path)

    def steps(self) -> int:
        return sum(isinstance(event, Stepped) for event in self.events)


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    search = Search(tmp_path / "run", steps_per_epoch=60)
    search.start()
    until(lambda: (tmp_path / "run" / "run.json").exists() and search.steps() > 2)
    yield search
    if search.is_alive():
        search.seen().control.stop()
        search.join(10)


def test_a_paused_search_stands_still_and_says_so(search):
    search.seen().control.pause()
    until(lambda: search.seen().status == "paused")
    before = search.steps()
    assert search.seen().trace.sizes["step"] == before
    time.sleep(0.2)
    assert search.steps() == before
    assert not search.seen().ended


def test_a_step_is_one_step_with_all_that_came_of_it(search):
    search.seen().control.pause()
    until(lambda: search.seen().status == "paused")
    for _ in range(3):
        before = search.steps()
        search.seen().control.step()
        until(lambda before=before: search.steps() == before + 1)
    pruned = [e.clock.step for e in search.events if isinstance(e, Pruned)]
    assert all(step < search.steps() for step in pruned)
    time.sleep(0.2)
    assert search.seen().trace.sizes["step"] == search.steps()
    search.seen().control.step(4)
    until(lambda: search.steps() == before + 5)


def test_a_resumed_search_ends_as_one_that_never_waited(search, tmp_path):
    search.seen().control.pause()
    until(lambda: search.seen().status == "paused")
    search.seen().control.step(2)
    search.seen().control.resume()
    search.join(30)
    for _ in record(fake_events(steps_per_epoch=60), tmp_path / "whole"):
        pass
    ended, whole = search.seen(), open_run(tmp_path / "whole")
    assert ended.status == "finished"
    np.testing.assert_array_equal(ended.trace["alpha"], whole.trace["alpha"])
    assert ended.prunings.equals(whole.prunings)
    assert ended.genotype == whole.genotype


def test_a_stopped_search_leaves_a_whole_run(search):
    search.seen().control.stop()
    search.join(10)
    run = search.seen()
    assert run.status == "stopped"
    assert run.trace.sizes["step"] == search.steps()
    with pytest.raises(RunError, match=r"has ended \(stopped\); start another"):
        run.control.pause()


def test_a_killed_search_cannot_be_steered(search, monkeypatch):
    search.seen().control.pause()
    until(lambda: search.seen().status == "paused")
    monkeypatch.setattr(RunWriter, "_write_header", lambda self: None)  # as one that is dead
    time.sleep(0.2)
    path = search.path / "run.json"
    header = read_sealed(path)
    write_sealed(path, {**header, "pid": 2**22 + 1})
    assert search.seen().lost
    assert "killed" in repr(search.seen())
    with pytest.raises(RunError, match="is gone; start another"):
        search.seen().control.resume()
    write_sealed(path, {**header, "pid": 2**22 + 1, "host": "elsewhere"})
    assert not search.seen().lost
    write_sealed(path, header)
    monkeypatch.undo()


def test_a_control_file_that_is_none_is_named(tmp_path):
    events = record(fake_events(), tmp_path / "run")
    next(events)
    for text in ("{}", "[]", "no", '{"wish": "jump", "steps": 0}', "[" * 3000, " " * 5000):
        (tmp_path / "run" / "control.json").write_text(text)
        with pytest.raises(RunError, match=r"control\.json"):
            Steering(tmp_path / "run").pause()
    events.close()


def test_reading_again_reads_whole_chunks_once(tmp_path, monkeypatch):
    events = record(fake_events(epochs=3, steps_per_epoch=150), tmp_path / "run", flush_seconds=0.0)
    run, asked = None, []
    from workbench.trace import store

    whole = store.read_chunk

    def spy(array, chunk):
        asked.append((array.basename, chunk))
        return whole(array, chunk)

    for count, _ in enumerate(events):
        if count % 130 == 129:
            run = open_run(tmp_path / "run") if run is None else run.refresh()
            with monkeypatch.context() as patch:
                patch.setattr(store, "read_chunk", spy)
                seen = run.trace
            assert seen.identical(open_run(tmp_path / "run").trace)
    assert run.refresh().trace.identical(open_run(tmp_path / "run").trace)
    alphas = [chunk for name, chunk in asked if name == "alpha"]
    assert alphas == sorted(alphas)  # a chunk again only while it grew
    assert {0, 1} <= set(alphas)
    assert alphas.count(0) < 4


def test_a_run_that_nobody_wrote_is_not_read_again(tmp_path):
    run = fake_run(tmp_path / "run")
    assert run.refresh() is run
    trace = run.trace
    assert run.refresh() is run
    (tmp_path / "run" / "evaluation.json").write_text("{}")
    assert run.refresh() is not run
    assert run.refresh().trace.identical(trace)
    assert run.refresh().events == run.events


def test_a_word_that_cannot_be_read_does_not_end_a_search(search, caplog):
    (search.path / "control.json").write_text('{"wish": "pau')
    before = search.steps()
    until(lambda: search.steps() > before + 3)
    assert "goes on as it was told before" in caplog.text
    (search.path / "control.json").unlink()


def test_time_spent_paused_is_no_steps_and_no_epochs(search):
    search.seen().control.pause()
    until(lambda: search.seen().status == "paused")
    paused = time.monotonic()
    time.sleep(1.0)
    paused = time.monotonic() - paused
    search.seen().control.resume()
    search.join(30)
    assert 0 < search.seen().trace["seconds"][-1] <= time.monotonic() - search.began - paused


def test_many_steps_asked_for_at_once_are_all_counted(search):
    search.seen().control.pause()
    until(lambda: search.seen().status == "paused")
    before, control = search.steps(), search.seen().control
    threads = [threading.Thread(target=control.step) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: search.steps() == before + 20)


def resumable(events: Iterator[SearchEvent]) -> Iterator[SearchEvent]:
    """As of a real search: twice between an epoch's last step and the next epoch's first."""
    for event in events:
        yield event
        if isinstance(event, StageStarted | Stepped | EpochEnded):
            yield Resumable(event.clock, Moment(dict), not isinstance(event, Stepped))


def test_a_pause_between_two_epochs_is_the_time_of_neither(tmp_path):
    events = list(resumable(fake_events(epochs=2, steps_per_epoch=2)))
    for event in record(iter(events), tmp_path / "run"):
        if isinstance(event, EpochEnded) and event.clock.epoch == 0:
            control = open_run(tmp_path / "run").control
            control.pause()
            threading.Timer(0.3, control.resume).start()
    own = [event.seconds for event in events if isinstance(event, EpochEnded)]
    run = open_run(tmp_path / "run")
    assert run.epochs["seconds"].tolist() == pytest.approx(own, abs=0.05)
    assert run.status == "finished"


def test_a_step_at_the_end_of_an_epoch_is_a_step_too(tmp_path):
    events = resumable(fake_events(epochs=3, steps_per_epoch=2, stages=2))
    taken, pipe = [], record(events, tmp_path / "run", flush_seconds=0.05)
    taken.append(next(pipe))
    control = open_run(tmp_path / "run").control
    control.pause()
    thread = threading.Thread(target=lambda: taken.extend(pipe), daemon=True)
    thread.start()
    for steps in range(1, 13):
        control.step()
        until(lambda steps=steps: sum(isinstance(e, Stepped) for e in taken) == steps)
        until(lambda: open_run(tmp_path / "run").status == "paused")
        assert sum(isinstance(event, Stepped) for event in taken) == steps  # and no more
    control.resume()
    thread.join(10)
    assert open_run(tmp_path / "run").status == "finished"
