"""A run folder reads back as labelled arrays and tables."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.fakes import fake_events, fake_run, fake_space
from workbench.events import Derived, EpochEnded, Held, Probed, Pruned, StageStarted, Stepped
from workbench.trace import RunError, find_runs, open_run, record
from workbench.trace.folder import read_sealed, write_sealed

ROOT = Path(__file__).parents[2]


def test_the_axes_carry_the_names_of_the_space(tmp_path: Path) -> None:
    trace, space = fake_run(tmp_path / "run").trace, fake_space(("normal", "reduce"), 2)
    assert trace["edge"].to_numpy().tolist() == list(space.edge_names)
    assert trace["op"].to_numpy().tolist() == list(space.columns)
    names = [
        f"{kind}:{src}→{dst}"
        for kind, src, dst in zip(
            trace["kind"].to_numpy(), trace["src"].to_numpy(), trace["dst"].to_numpy(), strict=True
        )
    ]
    assert names == list(space.edge_names)
    assert trace["epoch"].to_numpy().tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert (np.diff(trace["seconds"].to_numpy()) >= 0).all()
    assert trace["mix"].dims == ("step", "edge", "op")


def test_the_state_before_the_first_step_is_kept(tmp_path: Path) -> None:
    run, first = fake_run(tmp_path / "run"), next(fake_events())
    assert isinstance(first, StageStarted)
    assert run.events[0]["split"] == {"weights": [0, 3, 4], "arch": [1, 2]}
    for name in ("alpha", "mix", "alive"):
        expected = torch.cat(list(getattr(first, name).values())).numpy()
        np.testing.assert_array_equal(run.initial[name].to_numpy(), expected)
    assert run.initial["edge"].equals(run.trace["edge"])


def test_stages_follow_one_another_on_the_axes_of_all(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", stages=3)
    trace = run.trace
    assert trace["step"].to_numpy().tolist() == list(range(45))
    assert trace["stage"].to_numpy().tolist() == [0] * 15 + [1] * 15 + [2] * 15
    assert run.epochs["epoch"].tolist() == list(range(9))
    assert run.epochs["stage"].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert [epoch for epoch, _ in run.genotypes] == list(range(9))
    late = trace.isel(step=slice(15, None)).sel(op="dil_conv_5x5")
    assert late["alpha"].isnull().all()
    assert not late["alive"].any()
    assert (late["mix"] == 0).all()
    assert (trace["mix"].sum("op") - 1 < 1e-6).all()
    place = trace[["epoch", "stage"]].sel(step=run.prunings["step"].to_list())
    assert place["epoch"].to_numpy().tolist() == run.prunings["epoch"].tolist()
    assert place["stage"].to_numpy().tolist() == run.prunings["stage"].tolist()


def test_a_stage_that_stopped_early_is_followed_without_a_gap(tmp_path: Path) -> None:
    cut = [
        event
        for event in fake_events(stages=2)
        if isinstance(event, StageStarted | Derived) or event.clock.stage or event.clock.epoch < 1
    ]
    list(record(iter(cut), tmp_path / "run"))
    run = open_run(tmp_path / "run")
    assert run.trace["step"].to_numpy().tolist() == list(range(20))
    assert run.epochs["epoch"].tolist() == [0, 1, 2, 3]


def test_kinds_with_other_candidates_share_the_op_axis(tmp_path: Path) -> None:
    space = fake_space(("normal", "reduce"), 1)
    normal = space.restricted(("none", "skip_connect")).cells[0]
    reduce = space.restricted(("max_pool_3x3", "skip_connect")).cells[1]
    events = fake_events(nodes=1, ops=("none", "skip_connect"), epochs=2)
    mixed = type(space)("darts", (normal, reduce), space.layers, space.stem_channels)
    first = next(events)
    assert isinstance(first, StageStarted)
    started = StageStarted(first.clock, mixed, first.alpha, first.mix, first.alive, 1)
    list(record(iter([started, *events]), tmp_path / "run"))
    run = open_run(tmp_path / "run")
    assert run.trace["op"].to_numpy().tolist() == ["none", "skip_connect", "max_pool_3x3"]
    own = run.trace.isel(edge=run.trace["kind"].to_numpy() == "reduce")
    assert own["alpha"].sel(op="none").isnull().all()
    assert set(run.to_dataframe().query("kind == 'reduce'")["op"]) == {
        "max_pool_3x3",
        "skip_connect",
    }


def test_tables_hold_what_the_events_said(tmp_path: Path) -> None:
    events = list(fake_events(epochs=8, nodes=1, ops=("none", "skip_connect")))
    list(record(iter(events), tmp_path / "run", meta={"method": "fake"}))
    run = open_run(tmp_path / "run")
    for kind, frame in ((Pruned, run.prunings), (Held, run.held), (EpochEnded, run.epochs)):
        said = [event for event in events if isinstance(event, kind)]
        assert said
        assert frame["step"].tolist() == [event.clock.step for event in said]
    pruned = [event for event in events if isinstance(event, Pruned)]
    assert run.prunings["weight"].tolist() == [event.weight for event in pruned]
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert [genotype for _, genotype in run.genotypes] == [event.genotype for event in ended]
    assert run.epochs["genotype"].tolist() == [str(event.genotype) for event in ended]
    assert run.epochs["alive"].tolist() == [event.alive for event in ended]
    assert run.epochs["loss_val"].isna().tolist() == [True] + [False] * 7
    last = events[-1]
    assert isinstance(last, Derived)
    assert run.genotype == last.genotype
    assert run.meta["method"] == "fake"
    assert set(run.meta) == {"method", "python", "versions", "command"}


def test_probes_are_events(tmp_path: Path) -> None:
    first, *rest = fake_events()
    probed = Probed(
        first.clock, {"norm": torch.tensor([[1.0, float("nan")]]), "peak": torch.tensor(2)}
    )
    list(record(iter([first, probed, *rest]), tmp_path / "run"))
    line = open_run(tmp_path / "run").events[1]
    assert line["event"] == "Probed"
    assert line["values"] == {"norm": [[1.0, None]], "peak": 2.0}


def test_the_tidy_table_is_the_trace(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    frame = run.to_dataframe()
    assert list(frame.columns) == ["step", "kind", "edge", "op", "alpha", "mix", "alive"]
    assert len(frame) == run.trace["mix"].size
    row = frame.query("step == 14 and edge == 'reduce:0→2' and op == 'skip_connect'").iloc[0]
    cell = run.trace.sel(step=14, edge="reduce:0→2", op="skip_connect")
    assert (row["mix"], row["kind"]) == (cell["mix"].item(), "reduce")


def test_a_run_without_steps_reads(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", epochs=0, evaluated=False)
    assert run.trace.sizes == {"step": 0, "edge": 10, "op": 8}
    assert run.epochs.empty
    assert run.prunings.empty
    assert run.to_dataframe().empty
    assert "steps 0" in repr(run)
    assert "finished" in run._repr_html_()


def test_a_run_that_died_at_once_reads(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    (run.path / "events.jsonl").unlink()
    (run.path / "genotype.json").unlink()
    header = read_sealed(run.path / "run.json")
    write_sealed(run.path / "run.json", {**header, "events": 0, "steps": {}})
    run = run.refresh()
    assert run.trace.sizes == {"step": 0, "edge": 0, "op": 0}
    assert (run.space, run.genotype, run.genotypes, run.events) == ({}, None, [], [])
    assert run.to_dataframe().empty
    assert "steps 0" in repr(run)


def test_a_line_that_is_being_written_is_not_there_yet(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    path = run.path / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + '{"event": "Pruned", "edge": "normal:0→'.encode()[:-1])
    assert run.refresh().events == run.events


def test_what_was_read_stays_until_refreshed(tmp_path: Path) -> None:
    pipe = record(fake_events(), tmp_path / "run", flush_seconds=0.0)
    next(pipe)
    run = open_run(tmp_path / "run")
    assert run.trace.sizes["step"] == 0
    list(pipe)
    assert run.trace.sizes["step"] == 0
    assert run.refresh().trace.sizes["step"] == 15


@pytest.mark.parametrize("other", [{"seed": 9}, {"nodes": 1}, {"epochs": 1}])
def test_another_run_in_the_same_folder_is_read_from_its_start(tmp_path: Path, other) -> None:
    place, sizes = tmp_path / "run", {"epochs": 2, "steps_per_epoch": 300}
    before = fake_run(place, **sizes, evaluated=False)
    before.trace.load()
    shutil.rmtree(place)
    fake_run(place, **(sizes | other), evaluated=False)
    seen, anew = before.refresh(), open_run(place)
    assert seen.trace.identical(anew.trace)
    assert seen.epochs.equals(anew.epochs)


def test_steps_that_went_away_are_missed_by_who_has_read_them(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", epochs=3, steps_per_epoch=300, evaluated=False)
    run.trace.load()
    for chunk in (2, 3, 4):
        (run.path / f"trace.zarr/stage_0/step/c/{chunk}").unlink()
    with pytest.raises(RunError, match="holds 400 steps, and there were 900"):
        _ = run.refresh().trace


def test_a_folder_that_is_no_run_is_told_what_one_holds(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run folder; one holds run\.json, events\.jsonl"):
        open_run(tmp_path)


def test_the_summary_table_escapes_what_it_shows(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", meta={"method": "<script>"})
    assert "<script>" not in run._repr_html_()
    assert repr(run).count("\n") == 0


def test_names_are_found_wherever_meta_holds_them(tmp_path: Path) -> None:
    meta = {
        "method": {"name": "darts", "stages": []},
        "data": {"name": "digits"},
        "config": {"space": "nasbench201", "data": "other"},
    }
    list(record(fake_events(), tmp_path / "run", meta=meta))
    run = open_run(tmp_path / "run")
    assert run.named("method") == "darts"
    assert run.named("space") == "nasbench201"
    assert run.named("data") == "digits"
    assert "method darts, space nasbench201, data digits" in repr(run)


READER = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is forbidden here")
sys.meta_path.insert(0, NoTorch())
from workbench import analysis
from workbench.trace import open_run
run = open_run(sys.argv[1])
print(run, run.genotype, analysis.summary(run)["steps"], len(analysis.dominance(run)))
run.to_dataframe(), run._repr_html_()
assert "torch" not in sys.modules
"""


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    command = [sys.executable, "-W", "error", "-c", READER, str(run.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pruned_weights_are_zero_ever_after(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", epochs=6)
    for step, edge, op in run.prunings[["step", "edge", "op"]].to_numpy().tolist():
        after = run.trace.sel(edge=edge, op=op, step=slice(step, None))
        assert (after["mix"] == 0).all()
        assert not after["alive"].any()


def test_steps_are_counted_without_reading_them(tmp_path: Path) -> None:
    events = list(fake_events())
    run = fake_run(tmp_path / "run")
    assert f"steps {sum(isinstance(event, Stepped) for event in events)}" in repr(run)


def test_the_trace_says_what_it_is_of(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", seed=3)
    labelled = run.to_xarray()
    assert labelled.attrs["method"] == "fake"
    assert labelled.attrs["seed"] == 3
    assert labelled.attrs["status"] == "finished"
    assert labelled.equals(run.trace)
    assert "method" not in run.trace.attrs


def test_the_trace_is_written_as_csv_as_a_whole(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    path = run.to_csv(tmp_path / "trace.csv")
    read = pd.read_csv(path)
    assert len(read) == len(run.to_dataframe())
    np.testing.assert_allclose(read["mix"], run.to_dataframe()["mix"], rtol=1e-6)
    with pytest.raises(RunError, match=r"no/trace\.csv cannot be written"):
        run.to_csv(tmp_path / "no" / "trace.csv")


def test_runs_are_a_list_that_prints_one_a_line(tmp_path: Path) -> None:
    for name in ("one", "two"):
        fake_run(tmp_path / name)
    runs = find_runs([tmp_path])
    assert isinstance(runs, list)
    assert [run.path.name for run in runs] == ["one", "two"]
    assert [line.split(":")[0] for line in repr(runs).splitlines()] == [
        f"<Run {tmp_path / name}" for name in ("one", "two")
    ]
