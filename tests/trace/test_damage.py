"""A damaged run folder is refused by the name of the file, repaired, or read as if whole."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import re
import shutil
import sys
import threading
import time
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from tests import damage, damage_resumed, full_disk
from tests.fakes import fake_evaluation, fake_events, fake_run
from tests.faults.processes import ended, started
from workbench.events import Resumable, SearchEvent, Stepped
from workbench.snapshots import load_state
from workbench.trace import Run, RunError, find_runs, open_run, record, record_evaluation, writer
from workbench.trace.checkpoints import Checkpoint, Checkpointing, newest
from workbench.trace.evaluation_record import unfinished
from workbench.trace.folder import MOST_BYTES, read_sealed, seal, unseal, write_sealed
from workbench.trace.store import MOST_META_BYTES, StageStore

SCHEMA_1 = Path(__file__).parent / "schema1"


def test_no_damage_to_a_file_ends_in_a_traceback_or_a_wrong_answer(tmp_path: Path) -> None:
    rows = damage.run(1, seed=0, folder=tmp_path)
    faults = [row for row in rows if row.outcome not in ("refused", "same")]
    assert not faults
    assert {"trace.zarr/stage_1/norm/c/0/0/0", "evaluation/seed_1.json"} <= {x.file for x in rows}


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")  # zarr's own, where it fails
def test_an_interrupted_run_with_damage_goes_on_as_it_was_or_says_which_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = random.Random(0)  # of all files; the long form takes each
    monkeypatch.setattr(
        damage_resumed, "damages", lambda *given: [few.choice([*damage.damages(*given)])]
    )
    rows = damage_resumed.run(1, seed=0, folder=tmp_path)
    gc.collect()  # so that zarr's warnings come here
    assert not [row for row in rows if row.outcome not in ("refused", "same")]
    outcomes = {(row.file, row.outcome) for row in rows}
    assert ("checkpoints/checkpoint_12.pt", "same") in outcomes  # the one before is taken
    assert ("trace.zarr/stage_1/alpha/c/0/0/0", "refused") in outcomes


@pytest.mark.parametrize("place", ["trace.zarr", "trace.zarr/stage_1"])
def test_no_other_format_of_arrays_is_opened(tmp_path: Path, place: str) -> None:
    """What the metadata of Zarr 2 may name is executed: pickle, for one."""
    damage_resumed.interrupted(tmp_path)
    (tmp_path / place / "zarr.json").unlink()
    (tmp_path / place / ".zgroup").write_text('{"zarr_format": 2}', encoding="utf-8")
    with pytest.raises(RunError, match=rf"{place}/zarr\.json is damaged \(missing\)"):
        list(damage_resumed.search(tmp_path, go_on=True))


def test_a_lost_genotype_is_read_from_the_event(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    (run.path / "genotype.json").unlink()
    assert run.refresh().genotype == run.genotype is not None


def test_lines_that_are_lost_as_a_whole_are_missed(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    file = run.path / "events.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(RunError, match=rf"events\.jsonl holds {len(lines) - 1} whole lines, and"):
        _ = run.refresh().events
    file.write_bytes(b"".join([*lines[:2], b'{"event": 1}\n', *lines[3:]]))
    with pytest.raises(RunError, match=r"events\.jsonl, line 3, is damaged"):
        _ = run.refresh().events


def test_a_lost_chunk_of_blanks_is_missed_too(tmp_path: Path) -> None:
    list(record(damage.damaged_events(), tmp_path / "run"))
    for name in ("late", "norm", "edge_weight", "alpha"):
        chunk = next((tmp_path / "run" / "trace.zarr" / "stage_0" / name / "c").rglob("0*"))
        shutil.move(chunk, tmp_path / name)
        with pytest.raises(RunError, match=rf"stage_0/{name}/c/\S+ is missing"):
            _ = open_run(tmp_path / "run").trace
        shutil.move(tmp_path / name, chunk)


def test_arrays_that_come_late_have_blank_chunks_before(tmp_path: Path) -> None:
    events = list(fake_events(kinds=("normal",), nodes=1, epochs=3, steps_per_epoch=201))
    list(record(iter(events), tmp_path / "run"))
    place = tmp_path / "run" / "trace.zarr" / "stage_0" / "loss_val"
    assert sorted(int(file.name) for file in (place / "c").iterdir()) == [0, 1, 2, 3]
    loss = open_run(tmp_path / "run").trace["loss_val"].to_numpy()
    assert np.isnan(loss).tolist() == [True] * 201 + [False] * 402


def test_a_flipped_bit_in_the_attributes_is_noticed(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    file = run.path / "trace.zarr" / "stage_0" / "zarr.json"
    file.write_text(file.read_text().replace('"loss_val"', '"loss_vam"'))
    with pytest.raises(RunError, match=r"stage_0/zarr\.json is damaged \(its checksum"):
        _ = run.refresh().trace


def test_figures_of_an_evaluation_that_ended_are_missed(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    (run.path / "evaluation.json").unlink()
    with pytest.raises(RunError, match=r"evaluation\.json is missing, and epochs\.jsonl says"):
        _ = run.refresh().evaluation
    (run.path / "evaluation" / "epochs.jsonl").unlink()
    assert run.refresh().evaluation is None


def test_a_seal_covers_the_text_before_it() -> None:
    value = {"name": "α → β", "numbers": [1.5, None]}
    for indent in (None, 1):
        text = seal(json.dumps(value, ensure_ascii=False, indent=indent))
        assert unseal(text.encode(), "it") == value
        assert list(json.loads(text))[-1] == "crc32"
        with pytest.raises(RunError, match="it is damaged"):
            unseal(text.replace("1.5", "1.4").encode(), "it")
    with pytest.raises(RunError, match="it is damaged"):
        unseal(b"[" * 100_000, "it", required=False)


def test_a_run_of_schema_1_opens_with_the_same_values() -> None:
    run, want = open_run(SCHEMA_1 / "run"), json.loads((SCHEMA_1 / "expected.json").read_text())
    for name in ("step", "edge", "op"):
        assert run.trace[name].to_numpy().tolist() == want[name]
    alpha = np.array(want["alpha"], np.float32)
    np.testing.assert_array_equal(np.where(np.isfinite(run.trace["alpha"]), alpha, np.nan), alpha)
    np.testing.assert_array_equal(run.trace["mix"], np.array(want["mix"], np.float32))
    assert run.trace["alive"].to_numpy().tolist() == want["alive"]
    assert str(run.genotype) == want["genotype"]
    assert [line["event"] for line in run.events] == want["events"]
    assert run.prunings["op"].tolist() == want["prunings"]
    assert run.epochs["loss_train"].tolist() == want["epochs"]
    assert run.evaluation is not None
    assert run.evaluation["test_accuracy"] == want["test_accuracy"]
    assert len(run.evaluation_epochs) == 3


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", "[]"), ("run.json", "{}"), ("run.json", ""), ("run.json", '{"schema": 1}'),
        ("events.jsonl", "{}\n"), ("events.jsonl", "\xff\n"), ("events.jsonl", "[[[\n"),
        ("events.jsonl", '{"event": "StageStarted", "stage": 0, "epoch": 0, "step": 0}\n'),
        ("genotype.json", "{"), ("genotype.json", '{"cells": 3}'), ("evaluation.json", "{}"),
        ("evaluation/epochs.jsonl", "{}\n"), ("trace.zarr/stage_0/zarr.json", "{}"),
        ("trace.zarr/stage_0/alpha/zarr.json", "no"), ("trace.zarr/stage_0/mix/c/0/0/0", "no"),
    ],
)  # fmt: skip
def test_damage_to_schema_1_is_an_error_that_names_the_file(
    tmp_path: Path, file: str, text: str
) -> None:
    shutil.copytree(SCHEMA_1 / "run", tmp_path / "run")
    (tmp_path / "run" / file).write_text(text, encoding="latin-1")
    with pytest.raises(RunError) as caught:
        damage.read_everything(tmp_path / "run")
    assert file in str(caught.value)


def test_an_evaluation_of_a_run_of_schema_1_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(SCHEMA_1 / "run", path)
    genotype, before = open_run(path).genotype, open_run(path).evaluation
    assert genotype is not None
    told = full_disk.resumable(list(fake_evaluation(genotype)))
    recipe = {**before["recipe"], "seed": 7}
    when = Checkpointing(steps=1, minutes=None, share=None)
    events = record_evaluation(told, path, recipe=recipe, checkpoints=when)
    for event in events:
        if isinstance(event, Resumable):
            break
    events.close()
    start = unfinished(path)
    assert start is not None
    told = full_disk.resumable(list(fake_evaluation(genotype)), load_state(start.state))
    list(record_evaluation(told, path, recipe=recipe, checkpoints=when, start=start))
    assert [found["recipe"].get("seed") for found in open_run(path).evaluations][-1] == 7


def test_a_trace_of_schema_1_is_as_long_as_its_chunks(tmp_path: Path) -> None:
    shutil.copytree(SCHEMA_1 / "run", tmp_path / "run")
    for file in (tmp_path / "run" / "trace.zarr" / "stage_0").glob("*/zarr.json"):
        told = json.loads(file.read_text())
        told["shape"][0] = 10**9
        file.write_text(json.dumps(told))
    assert open_run(tmp_path / "run").steps == open_run(SCHEMA_1 / "run").steps > 0


def test_a_newer_schema_is_refused_with_the_version_that_reads_it(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    file = run.path / "run.json"
    header = read_sealed(file)
    meta = {"versions": {"workbench": "9.1.0"}}
    write_sealed(file, {**header, "schema": 3, "meta": meta})
    said = r"schema 3, written by workbench 9\.1\.0; this workbench \S+ reads schemas up to 2; `pip"
    with pytest.raises(RunError, match=said):
        open_run(run.path)
    meta = {"versions": {"workbench": version("workbench")}}  # it would not help to install that
    write_sealed(file, {**header, "schema": 3, "meta": meta})
    with pytest.raises(RunError, match=r"written by a newer workbench; .*; install a newer one"):
        open_run(run.path)
    for schema in (0, -1, "2", None, True, 1.5):
        write_sealed(file, {**header, "schema": schema})
        with pytest.raises(RunError, match=r"run\.json has schema"):
            open_run(run.path)


@pytest.mark.parametrize(
    "change",
    [
        {"status": None}, {"meta": []}, {"events": -1}, {"steps": {"a": 1}}, {"pid": "1"},
        {"heartbeat": "yesterday"}, {"started": "2026-01-01"}, {"resumed": 3},
    ],
)  # fmt: skip
def test_fields_of_the_header_are_checked(tmp_path: Path, change: dict[str, object]) -> None:
    run = fake_run(tmp_path / "run")
    write_sealed(run.path / "run.json", {**run.header, **change})
    with pytest.raises(RunError, match=rf"run\.json: .*{next(iter(change))}"):
        open_run(run.path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    with (run.path / "run.json").open("r+b") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(RunError, match=r"run\.json has more than 67,108,864 bytes"):
        open_run(run.path)
    run = fake_run(tmp_path / "other")
    with (run.path / "trace.zarr" / "stage_0" / "alpha" / "zarr.json").open("r+b") as file:
        file.truncate(MOST_META_BYTES + 1)
    with pytest.raises(RunError, match=r"alpha/zarr\.json is damaged .*16,777,217 bytes"):
        open_run(run.path).trace["alpha"].load()


def test_a_damaged_run_beside_others_is_left_out_and_named(tmp_path: Path, caplog) -> None:
    for name in ("one", "two"):
        fake_run(tmp_path / name)
    (tmp_path / "two" / "run.json").write_text("{")
    (fake_run(tmp_path / "three").path / "genotype.json").write_text("{")
    runs = find_runs([tmp_path])
    assert [run.path.name for run in runs] == ["one"]
    assert list(runs.damaged) == [tmp_path / "three", tmp_path / "two"]
    assert "two/run.json is damaged" in repr(runs)
    assert "two/run.json is damaged" in caplog.text
    with pytest.raises(RunError, match=r"two/run\.json is damaged"):
        find_runs([tmp_path / "two"])


def test_what_was_cached_is_dropped_when_the_search_went_back(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    before = run.trace
    assert run.refresh()._known.arrays.read
    write_sealed(run.path / "run.json", {**run.header, "resumed": [{"step": 3}]})
    assert not run.refresh()._known.arrays.read
    assert run.refresh().trace.identical(before)


def test_a_version_that_is_none_is_in_no_command(tmp_path: Path) -> None:
    path = fake_run(tmp_path / "run", meta={"versions": {"workbench": "1'; rm -r x #"}}).path
    write_sealed(path / "run.json", {**open_run(path).header, "schema": 99})
    with pytest.raises(RunError, match="a newer workbench") as refused:
        open_run(path)
    assert "rm -r" not in str(refused.value)


@pytest.mark.parametrize("value", [None, "high", 10**400], ids=["none", "text", "long"])
def test_an_accuracy_that_is_no_number_is_refused(tmp_path: Path, value: object) -> None:
    run = fake_run(tmp_path / "run")
    figures = run.path / "evaluation.json"
    write_sealed(figures, {**read_sealed(figures), "test_accuracy": value})
    with pytest.raises(RunError, match=r"evaluation\.json.* has test_accuracy"):
        open_run(run.path)._repr_html_()


def test_no_flipped_bit_of_a_run_without_seals_ends_in_a_traceback(tmp_path: Path) -> None:
    """A number may become another one there, unseen; but nothing that trips a reader over."""
    copy, draw = tmp_path / "run", random.Random(0)
    shutil.copytree(SCHEMA_1 / "run", copy)
    texts = [file for file in copy.rglob("*.json*") if "trace.zarr" not in file.parts]
    for file in texts:
        data = file.read_bytes()
        for bit in draw.sample(range(8 * len(data)), 60):
            file.write_bytes(damage._flipped(data, bit))
            with contextlib.suppress(RunError):
                damage.read_everything(copy)
        file.write_bytes(data)
    assert len(texts) > 3


def test_a_line_of_a_stage_that_never_began_is_refused_by_its_file(tmp_path: Path) -> None:
    shutil.copytree(SCHEMA_1 / "run", tmp_path / "run")
    events = tmp_path / "run" / "events.jsonl"
    text = events.read_text(encoding="utf-8")
    place = text.index('"stage": 0', text.index("EpochEnded"))
    events.write_text(text[:place] + '"stage": 1' + text[place + 10 :], encoding="utf-8")
    with pytest.raises(RunError, match=r"events\.jsonl tells EpochEnded of stage 1"):
        _ = open_run(tmp_path / "run").epochs


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "genotype.json", "evaluation.json"])
@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are other things there")
def test_what_is_no_plain_file_is_not_waited_for_nor_read_without_end(
    tmp_path: Path, name: str
) -> None:
    place = fake_run(tmp_path / "run").path / name
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        place.unlink()
        make(place)
        run = Run(tmp_path / "run")
        with pytest.raises(RunError, match=re.escape(f"{place} cannot be read (it is no plain")):
            _ = run.header, run.events, run.genotype, run.evaluation


def test_a_reader_of_a_live_run_never_sees_a_torn_row(tmp_path: Path) -> None:
    writer = started(damage.write, tmp_path / "run", 260)
    try:
        looks, rows = damage.watch(tmp_path / "run", writer.is_alive)
    finally:
        code = ended(writer, 60)
    assert code == 0
    assert looks >= 2
    assert rows == sorted(rows)
    assert damage.watch(tmp_path / "run", lambda: False)[1][-1] == 260


def test_what_is_named_while_steps_are_read_is_read_with_them(tmp_path: Path, monkeypatch) -> None:
    events = record(damage.long_events(260), tmp_path / "run", flush_seconds=1e9)
    for _ in range(4):
        next(events)  # nothing is flushed
    run, there = open_run(tmp_path / "run"), StageStore._chunks_there

    def meanwhile(store: StageStore) -> int:
        monkeypatch.undo()
        for _ in events:  # the first scalars are named, and steps written
            pass
        return there(store)

    monkeypatch.setattr(StageStore, "_chunks_there", meanwhile)
    trace = run.trace
    assert trace.sizes["step"] == 260
    for name in ("number", "late", "probe"):
        assert name in trace
    assert (trace["number"] == trace["step"]).all()


def test_a_look_at_a_record_waits_while_it_is_put_back(tmp_path: Path, monkeypatch) -> None:
    path, rewind = tmp_path / "run", writer.rewind

    def recorded(start: Checkpoint | None = None) -> Generator[SearchEvent]:
        state = load_state(start.state) if start else None
        events = full_disk.resumable(list(damage.long_events(450)), state)
        when = Checkpointing(steps=99, minutes=None, share=None, keep=100)
        return record(events, path, checkpoints=when, start=start, flush_seconds=1e9)

    events = recorded()
    for event in events:
        if isinstance(event, Stepped) and event.clock.step == 420:
            break
    events.close()
    for file in (path / "checkpoints").glob("checkpoint_*"):
        if int(file.stem.removeprefix("checkpoint_")) > 1:
            file.unlink()
    before, seen = open_run(path), list[Run]()
    assert before.trace.sizes["step"] > 400

    def look() -> None:
        run = open_run(path)
        assert run.trace.sizes["step"]
        seen.append(run)

    def meanwhile(*given: object) -> object:
        looking.start()
        time.sleep(0.2)
        assert not seen
        return rewind(*given)

    looking = threading.Thread(target=look)
    monkeypatch.setattr(writer, "rewind", meanwhile)
    events = recorded(newest(path / "checkpoints", path))
    for event in events:
        if isinstance(event, Stepped):
            break
    looking.join(30)
    for run in (*seen, before.refresh()):
        assert run.trace.sizes["step"] < 200
        assert (run.trace["number"] == run.trace["step"]).all()
    for _ in events:
        pass
    for run in (seen[0].refresh(), before.refresh()):
        assert (run.trace["number"] == np.arange(450)).all()
