"""A disk that is full ends a search with one line, a record that can be read, and a way on."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from workbench.events import EvaluationEvent, Resumable, SearchEvent, Stepped
from workbench.snapshots import State, load_state
from workbench.spaces.genotype import Genotype
from workbench.trace import Run, RunError, open_run, record, record_evaluation
from workbench.trace.appended import append_line, read_lines
from workbench.trace.checkpoints import Checkpointing, Checkpoints, newest
from workbench.trace.evaluation_record import unfinished
from workbench.trace.folder import CHECKPOINTS, EVALUATION_CHECKPOINTS
from workbench.trace.unwritten import Unwritten

from ..fakes import fake_evaluation, fake_events, fake_run
from ..faults.processes import ended, started
from ..full_disk import Disk, resumable

GENOTYPE = Genotype.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
WHEN = Checkpointing(minutes=None, share=None)
MORE = range(2, 20)
RECIPE = {"epochs": 2, "classes": [str(digit) for digit in range(10)]}


def searching(start: State | None = None) -> Iterator[SearchEvent]:
    events = fake_events(kinds=("cell",), nodes=1, epochs=1, steps_per_epoch=2, stages=2)
    return resumable(list(events), start)


def training(start: State | None = None) -> Iterator[EvaluationEvent]:
    return resumable(list(fake_evaluation(GENOTYPE, epochs=2)), start)


def searched(path: Path) -> None:
    """Search, or go on with it."""
    start = newest(path / CHECKPOINTS, path) if (path / CHECKPOINTS).exists() else None
    events = searching(start and load_state(start.state))
    for _ in record(events, path, checkpoints=WHEN, start=start, flush_seconds=1000):
        pass


def evaluated(path: Path) -> None:
    """Evaluate the run, or go on with it."""
    start = unfinished(path)
    events = training(start and load_state(start.state))
    for _ in record_evaluation(events, path, recipe=RECIPE, checkpoints=WHEN, start=start):
        pass


def lines(run: Run) -> list[dict[str, object]]:
    """All events but their times."""
    return [{k: v for k, v in line.items() if k != "seconds"} for line in run.events]


def assert_beginning(run: Run, whole: Run) -> None:
    """What a run says, but for the times, is how `whole` begins."""
    assert lines(run) == lines(whole)[: len(run.events)]
    if run.events:
        trace, other = run.trace.drop_vars("seconds"), whole.trace.drop_vars("seconds")
        for name in trace:
            rows = other[name][: len(trace["step"])] if "step" in trace[name].dims else other[name]
            np.testing.assert_array_equal(trace[name], rows, err_msg=str(name))


def assert_same(run: Run, whole: Run) -> None:
    """They ended alike."""
    assert run.status == "finished"
    assert lines(run) == lines(whole)
    assert run.trace.drop_vars("seconds").identical(whole.trace.drop_vars("seconds"))
    assert run.genotype == whole.genotype


def fails(work: Callable[[Path], None], path: Path, disk: Disk) -> str:
    """The one line that comes of a full disk; "" if there was room enough."""
    with disk.in_use():
        try:
            work(path)
        except RunError as error:
            said = str(error)
            assert len(said.splitlines()) == 1
            return said
    return ""


def writes(work: Callable[[Path], None], path: Path) -> int:
    disk = Disk(path)
    with disk.in_use():
        work(path)
    return disk.asked


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("whole") / "run"
    searched(path)
    return open_run(path)


def survives(path: Path, disk: Disk, whole: Run) -> None:
    """One line, and a record that opens; going on, or anew, it ends as if nothing had been."""
    said = fails(searched, path, disk)
    if not said:
        assert open_run(path).status == "finished"
        return
    assert "(No space left on device)" in said
    if (path / "run.json").exists():
        run = open_run(path)
        assert run.status in ("failed", "running")
        assert_beginning(run, whole)
        if run.status == "failed":
            assert said in str(run.header["error"])
    if (path / CHECKPOINTS).exists() and any((path / CHECKPOINTS).glob("*.json")):
        assert f"go on with: workbench search --resume {path}" in said
    else:
        assert "search anew" in said or "no folder can be made" in said
        path = path.with_name(f"{path.name}_anew")
    searched(path)
    assert_same(open_run(path), whole)


@pytest.mark.parametrize("lasting", [True, False], ids=["for good", "once"])
@pytest.mark.parametrize("first", [1, *(pytest.param(n, marks=pytest.mark.long) for n in MORE)])
def test_whichever_write_fails_the_search_goes_on_as_if_none_had(
    tmp_path: Path, whole: Run, first: int, lasting: bool
) -> None:
    count = writes(searched, tmp_path / "counted")
    assert count > 100
    for at in range(first, count + 1, 19):
        survives(tmp_path / f"at_{at}", Disk(tmp_path, at, lasting=lasting), whole)


@pytest.mark.parametrize("lasting", [True, False], ids=["for good", "once"])
def test_whichever_write_fails_an_evaluation_goes_on_as_if_none_had(
    tmp_path: Path, lasting: bool
) -> None:
    fake_run(tmp_path / "run", kinds=("cell",), nodes=1, epochs=1, evaluated=False)
    shutil.copytree(tmp_path / "run", tmp_path / "whole")
    count = writes(evaluated, tmp_path / "whole")
    whole = open_run(tmp_path / "whole")
    for at in range(1, count + 1, 1 if lasting else 3):
        path = tmp_path / f"at_{at}"
        shutil.copytree(tmp_path / "run", path)
        said = fails(evaluated, path, Disk(tmp_path, at, lasting=lasting))
        assert "cannot be written any more (No space left on device)" in said
        run = open_run(path)
        assert list(run.evaluation_epochs.epoch) == [0, 1][: len(run.evaluation_epochs)]
        if run.evaluation is None:
            saved = any((path / EVALUATION_CHECKPOINTS).glob("*.json"))
            assert f"workbench evaluate {path}{' --resume' if saved else ''}" in f"{said} "
            evaluated(path)
        else:
            assert said.endswith("then nothing of it is left to do")
        run = open_run(path)
        assert run.evaluation == whole.evaluation
        assert run.evaluation_epochs.equals(whole.evaluation_epochs)


def test_a_line_that_has_no_room_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    append_line(file, {"event": "first"})
    with Disk(tmp_path, 1, lasting=False).in_use(), pytest.raises(OSError, match="No space"):
        append_line(file, {"event": "second", "of": "x" * 100})
    append_line(file, {"event": "third"})
    assert [line["event"] for line in read_lines(file)] == ["first", "third"]


def test_a_checkpoint_that_has_no_room_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    place = next(event for event in searching() if isinstance(event, Resumable))
    facts = {"clock": {"stage": 0, "epoch": 0, "step": 0}, "record": {}}
    kept = Checkpoints(path, WHEN)
    disk = Disk(tmp_path)
    with disk.in_use():
        kept.write(place.now.save, facts)
    kept.write(place.now.save, facts)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    assert len(before) == 4
    for at in range(1, disk.asked):  # the first made the folder
        with Disk(tmp_path, at).in_use(), pytest.raises(OSError, match="No space left"):
            kept.write(place.now.save, facts)
        assert {file.name: file.read_bytes() for file in path.iterdir()} == before


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EDQUOT, "have your quota raised"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "make it writable again"),
        (errno.EIO, "see to that disk"),
    ],
)
def test_whatever_a_disk_says_is_one_line_with_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    events = record(searching(), tmp_path / "run", checkpoints=WHEN, flush_seconds=1000)
    next(event for event in events if isinstance(event, Stepped))
    monkeypatch.setattr("workbench.trace.appended.append_line", refuse)
    with pytest.raises(Unwritten, match=rf"events\.jsonl .*{os.strerror(number)}.*{remedy}"):
        list(events)
    assert open_run(tmp_path / "run").status == "failed"


def limited(path: Path, into: Path) -> None:
    """In a process of its own: a search whose files may have 1600 bytes; writes how it ended."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1600, before[1]))
    try:
        searched(path)
    except Unwritten as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        into.write_text(str(error), encoding="utf-8")


def test_a_limit_on_file_sizes_is_told_by_the_system_itself(tmp_path: Path) -> None:
    assert ended(started(limited, tmp_path / "run", tmp_path / "said")) == 0
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert "(File too large)" in said
    assert "ulimit -f" in said
