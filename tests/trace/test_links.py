"""Nothing in a run folder may lead whoever writes there out of it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, cast

import pytest

from tests.fakes import fake_events, fake_run
from workbench.events import Resumed, SearchEvent, StageStarted
from workbench.trace import folder as f
from workbench.trace import open_run, record
from workbench.trace.checkpoints import Checkpoint, Checkpointing, Checkpoints, newest
from workbench.trace.evaluation_record import record_evaluation
from workbench.trace.folder import RunError
from workbench.trace.rewinding import place_in, rewind

PLACE = {"stage": 0, "rows": 5, "step_offset": 0, "epochs": 1, "events": 1, "events_bytes": 0,
         "seconds": 1.0, "waited": 0.0, "waited_before": 0.0}  # fmt: skip


def outside_of(tmp_path: Path) -> dict[str, bytes]:
    """A folder of somebody's own, with names that a writer looks for; its files' contents."""
    place = tmp_path / "outside"
    for name in ("checkpoint_0.json", "checkpoint_0.pt", "run.lock", "stage_1/mine", "epochs.jsonl",
                 "events.jsonl", "seed_1.json", "checkpoints/checkpoint_0.json"):  # fmt: skip
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(f"mine: {name}\n".encode())
    return contents(place)


def contents(place: Path) -> dict[str, bytes]:
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def replace_by_link(path: Path, target: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _put(out: BinaryIO) -> None:
    out.write(b"state")


def going_on(run: Path) -> Checkpoint:
    """A checkpoint in `run`, as a search that ends here would have left it."""
    facts = {"clock": {"stage": 0, "epoch": 0, "step": 0}, "record": PLACE}
    place = run / f.CHECKPOINTS
    Checkpoints(place, Checkpointing()).write(_put, facts)
    return newest(place, run)


def resumed() -> Iterator[SearchEvent]:
    started = next(e for e in fake_events() if isinstance(e, StageStarted))
    yield Resumed(started.clock, started.space, {})


LINKS = {
    "trace.zarr": "", "trace.zarr/stage_1": "stage_1", "trace.zarr/stage_0/alpha": "stage_1",
    "checkpoints": "", "checkpoints/checkpoint_7.json": "checkpoint_0.json", "run.lock": "run.lock",
    "events.jsonl": "events.jsonl", "evaluation": "", "notes": "nowhere",
}  # fmt: skip


@pytest.mark.parametrize(("inside", "target"), LINKS.items())
def test_a_run_with_a_link_is_not_gone_on_with(tmp_path: Path, inside: str, target: str) -> None:
    before = outside_of(tmp_path)
    run = fake_run(tmp_path / "run").path
    start = going_on(run)
    replace_by_link(run / inside, tmp_path / "outside" / target)
    with pytest.raises(RunError, match=r"is a link to .*only inside its folder") as caught:
        list(record(resumed(), run, start=start))
    assert "\n" not in str(caught.value)
    assert str(run / inside) in str(caught.value)
    assert contents(tmp_path / "outside") == before


@pytest.mark.parametrize(
    "inside",
    [
        "evaluation", "evaluation/checkpoints", "evaluation/seed_1.json", "evaluation.json",
        "evaluation/epochs.jsonl", "evaluation/evaluation.lock",
    ],
)  # fmt: skip
def test_a_run_with_a_link_is_not_evaluated(tmp_path: Path, inside: str) -> None:
    before = outside_of(tmp_path)
    run = fake_run(tmp_path / "run").path
    name = Path(inside).name
    there = tmp_path / "outside" / ("" if inside == "evaluation" else name)
    replace_by_link(run / inside, there)
    with pytest.raises(RunError, match=r"is a link to .*only inside its folder"):
        record_evaluation(iter(()), run, recipe={"seed": 7})
    assert contents(tmp_path / "outside") == before


def test_a_lock_that_is_a_link_is_no_empty_folder(tmp_path: Path) -> None:
    before = outside_of(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    (run / f.LOCK).symlink_to(tmp_path / "outside" / "run.lock")
    with pytest.raises(RunError, match="no empty folder"):
        record(fake_events(), run)
    assert contents(tmp_path / "outside") == before


def test_something_that_is_no_file_is_refused_too(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run").path
    os.mkfifo(run / "pipe")
    with pytest.raises(RunError, match=r"pipe is no plain file"):
        f.refuse_links(run)


def test_a_run_whose_own_path_is_a_link_is_a_run(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run").path
    (tmp_path / "link").symlink_to(run)
    f.refuse_links(tmp_path / "link")
    assert open_run(tmp_path / "link").status == "finished"


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    mine, run = tmp_path / "mine", tmp_path / "run"
    mine.write_text("mine")
    run.mkdir()
    for name in ("control.json", f".control.json.{os.getpid()}.{threading.get_ident()}.part"):
        (run / name).symlink_to(mine)
    f.replace_text(run / "control.json", "new")
    assert (mine.read_text(), (run / "control.json").read_text()) == ("mine", "new")
    assert not (run / "control.json").is_symlink()
    assert [path.name for path in run.iterdir()] == ["control.json"]


def test_stages_are_taken_out_by_their_number_and_links_never(tmp_path: Path) -> None:
    """What `record` refuses before; here past it."""
    before = outside_of(tmp_path)
    run = fake_run(tmp_path / "run", stages=2)
    (run.path / f.TRACE / "stage_x").mkdir()
    replace_by_link(run.path / f.TRACE / "stage_1", tmp_path / "outside")
    event = cast("Resumed", next(resumed()))
    with pytest.raises(OSError, match="symbolic link"):
        rewind(run.path, PLACE, event)
    assert contents(tmp_path / "outside") == before
    assert (run.path / f.TRACE / "stage_x").is_dir()


@pytest.mark.parametrize(
    "change",
    [{"stage": "../../outside"}, {"stage": -1}, {"stage": True}, {"rows": 1e300},
     {"events_bytes": None}, {"seconds": "long"}, {"waited": -1.0}, {"epochs": []}],
)  # fmt: skip
def test_a_checkpoint_that_names_no_place_is_refused(tmp_path: Path, change: dict) -> None:
    start = SimpleNamespace(record={**PLACE, **change}, file=tmp_path / "checkpoint_0.json")
    with pytest.raises(RunError, match=r"checkpoint_0.json does not say where") as caught:
        place_in(cast("Checkpoint", start))
    assert "\n" not in str(caught.value)
