"""What a killed writer leaves is taken away; how often a state is saved."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest

from workbench.events import Resumable
from workbench.protocols import Clock
from workbench.snapshots import Moment
from workbench.trace import checkpoints as module
from workbench.trace.checkpoints import Checkpointing, Checkpoints, remove
from workbench.trace.durable import sync_written
from workbench.trace.folder import RunError


def test_what_a_killed_writer_left_of_a_checkpoint_goes(tmp_path: Path):
    path = tmp_path / "checkpoints"
    path.mkdir()
    (path / ".checkpoint_3.pt.4711.part").write_bytes(b"half a state")
    Checkpoints(path, Checkpointing()).begin()
    remove(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("share", "saved_after"), [(0.01, [0, 300]), (None, [0, 100, 200, 300, 400])]
)
def test_epochs_of_seconds_do_not_each_have_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float | None, saved_after: list[int]
) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    kept = Checkpoints(tmp_path / "checkpoints", Checkpointing(minutes=None, share=share))
    kept.begin()
    ended = Resumable(Clock(0, 0, 1, 0, 1), Moment(dict), epoch_ended=True)

    def save(stream: BinaryIO) -> None:
        stream.write(b"state")
        now[0] += 3.0  # what it takes: 1 % of 300 s

    saved = []
    for after in (0, 100, 200, 300, 400):
        now[0] = 1000 + after + 3.0 * (after > 0)
        if kept.due(ended):
            kept.write(save, {})
            saved.append(after)
    assert saved == saved_after


def test_a_share_is_more_than_nothing() -> None:
    with pytest.raises(RunError, match="`share` must be more than 0, not 0"):
        Checkpointing(share=0.0)


def test_what_a_state_has_behind_it_is_on_the_disk_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("workbench.trace.durable.sync", synced.append)
    run, old = tmp_path / "run", tmp_path / "run" / "trace.zarr" / "old"
    old.parent.mkdir(parents=True)
    (run / "pictures").mkdir()
    theirs = ("run.lock", ".run.json.1.2.part", "notes.txt", "pictures/cell.png")
    for name in ("events.jsonl", "trace.zarr/old", *theirs):
        (run / name).write_text("")
    (run / "link.json").symlink_to("nowhere")
    keeper = Checkpoints(run / "checkpoints", Checkpointing())
    before: list[Path] = []
    keeper.write(lambda stream: before.extend(synced), {})
    assert {*before} == {*synced} == {run, run / "events.jsonl", old.parent, old}
    now = time.time()
    os.utime(old, (now - 60, now - 60))
    os.utime(run / "events.jsonl", (now + 60, now + 60))  # written anew
    keeper.write(lambda stream: None, {})
    synced.clear()
    keeper.write(lambda stream: None, {})
    assert synced == [run / "events.jsonl", run]


@pytest.mark.parametrize("what", ["a date to come", "the clock is set"])
def test_no_clock_hides_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("workbench.trace.durable.sync", synced.append)
    first, events = tmp_path / "genotype.json", tmp_path / "events.jsonl"
    first.write_text("")
    late = time.time() + (3600 if what == "a date to come" else 0)
    os.utime(first, (late, late))
    since = sync_written(tmp_path)
    if what == "the clock is set":
        since = since._replace(clock=since.clock + 100 * 10**9)  # it was later than it is
    events.write_text("")
    os.utime(events, (time.time() - 50, time.time() - 50))
    if what == "a date to come":
        os.utime(events, None)
    synced.clear()
    sync_written(tmp_path, since)
    assert events in synced
