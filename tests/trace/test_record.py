"""What is recorded is what happened, however the search ends."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes import fake_evaluation, fake_events, fake_run
from tests.faults.processes import kill_at, started, waited
from workbench.events import Derived, Pruned, SearchEvent, StageStarted, Stepped
from workbench.trace import Run, RunError, open_run, record, record_evaluation


def stepped(events: Sequence[SearchEvent]) -> list[Stepped]:
    return [event for event in events if isinstance(event, Stepped)]


def assert_recorded(run: Run, steps: Sequence[Stepped]) -> None:
    """Every number of `steps` is in the trace, exactly."""
    trace = run.trace
    assert trace.sizes["step"] == len(steps)
    for row, event in enumerate(steps):
        for name in ("alpha", "mix", "alive"):
            for kind, value in getattr(event, name).items():
                own = trace[name].to_numpy()[row][trace["kind"].to_numpy() == kind]
                np.testing.assert_array_equal(own, value.numpy())
        others = ("alpha", "mix", "alive", "edge_weight")
        for name in (name for name in trace.data_vars if name not in others):
            expected = np.float32(event.scalars.get(str(name), math.nan))
            np.testing.assert_array_equal(trace[name].to_numpy()[row], expected)


def test_the_same_events_come_out(tmp_path: Path) -> None:
    events = list(fake_events())
    passed = list(record(iter(events), tmp_path / "run"))
    assert all(a is b for a, b in zip(events, passed, strict=True))


@pytest.mark.parametrize(
    ("steps_per_epoch", "flush_seconds"),  # three epochs of chunks of 200 steps
    [(1, 0.0), (67, 0.0), (1, math.inf), (66, math.inf), (200, math.inf), (130, 0.1)],
)
def test_recorded_values_are_the_events_values(
    tmp_path: Path, steps_per_epoch: int, flush_seconds: float
) -> None:
    events = list(fake_events(kinds=("normal",), steps_per_epoch=steps_per_epoch))
    list(record(iter(events), tmp_path / "run", flush_seconds=flush_seconds))
    assert_recorded(open_run(tmp_path / "run"), stepped(events))


def test_a_scalar_may_come_late_and_go(tmp_path: Path) -> None:
    events = list(fake_events(kinds=("normal",), steps_per_epoch=2))
    last = stepped(events)[-1]
    events = [replace(e, scalars={"odd": 1.0}) if e is last else e for e in events]
    list(record(iter(events), tmp_path / "run", flush_seconds=0.0))
    run = open_run(tmp_path / "run")
    assert_recorded(run, stepped(events))
    assert run.trace["loss_val"].isnull().to_numpy().tolist() == [True] * 2 + [False] * 3 + [True]
    assert run.trace["odd"].isnull().to_numpy().tolist() == [True] * 5 + [False]


def test_a_scalar_may_be_a_float_and_a_tensor_of_any_type_by_turns(tmp_path: Path) -> None:
    kinds = [
        lambda x: x,
        lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True),
        lambda x: torch.tensor(x, dtype=torch.bfloat16),
        lambda x: torch.tensor(int(x)),
    ]
    events = [
        replace(e, scalars={"odd": kinds[e.clock.step % 4](e.clock.step + 0.1)})
        if isinstance(e, Stepped)
        else e
        for e in fake_events(kinds=("normal",), steps_per_epoch=3)
    ]
    list(record(iter(events), tmp_path / "run"))
    values = [torch.as_tensor(event.scalars["odd"]).detach() for event in stepped(events)]
    expected = [value.float().item() for value in values]
    assert open_run(tmp_path / "run").trace["odd"].to_numpy().tolist() == expected


def test_a_step_is_taken_in_as_it_was_when_it_came(tmp_path: Path) -> None:
    kept = stepped(list(fake_events()))
    for event in record(fake_events(), tmp_path / "run", flush_seconds=math.inf):
        if isinstance(event, Stepped):  # nobody should; but what is recorded is what happened
            for rows in (event.alpha, event.mix, event.alive):
                for value in rows.values():
                    value.zero_()
            event.scalars["loss_train"].zero_()
    assert_recorded(open_run(tmp_path / "run"), kept)


def weighed(events: Iterator[SearchEvent], stages: Sequence[int]) -> Iterator[SearchEvent]:
    """The same events with edge weights in some stages: the step over the edge's number."""
    space = None
    for event in events:
        space = event.space if isinstance(event, StageStarted) else space
        if isinstance(event, Stepped) and event.clock.stage in stages:
            edges = {
                cell.kind: (1.0 + event.clock.step) / torch.arange(1.0, 1 + len(cell.edges))
                for cell in space.cells
            }
            event = replace(event, edges=edges)
        yield event


@pytest.mark.parametrize("flush_seconds", [0.0, math.inf])
def test_edge_weights_are_kept_where_there_are_any(tmp_path: Path, flush_seconds: float) -> None:
    events = list(weighed(fake_events(steps_per_epoch=67), stages=(0,)))  # more than a chunk
    list(record(iter(events), tmp_path / "run", flush_seconds=flush_seconds))
    run = open_run(tmp_path / "run")
    weights = run.trace["edge_weight"]
    assert weights.dims == ("step", "edge")
    for row, event in enumerate(stepped(events)):
        want = torch.cat([event.edges[kind] for kind in ("normal", "reduce")])
        np.testing.assert_array_equal(weights.to_numpy()[row], want.numpy())
    assert_recorded(run, stepped(events))


def test_a_stage_without_edge_weights_has_none(tmp_path: Path) -> None:
    events = list(weighed(fake_events(stages=3), stages=(1,)))
    list(record(iter(events), tmp_path / "run"))
    weights = open_run(tmp_path / "run").trace["edge_weight"].to_numpy()
    assert np.isnan(weights[:15]).all()
    assert (weights[15:30] > 0).all()
    assert np.isnan(weights[30:]).all()
    list(record(fake_events(), tmp_path / "plain"))
    assert "edge_weight" not in open_run(tmp_path / "plain").trace
    assert not (tmp_path / "plain" / "trace.zarr" / "stage_0" / "edge_weight").exists()


def test_a_step_of_edge_weights_is_taken_in_as_it_was_when_it_came(tmp_path: Path) -> None:
    events = list(weighed(fake_events(), stages=(0,)))
    want = [torch.cat(list(event.edges.values())).numpy().copy() for event in stepped(events)]
    for event in record(iter(events), tmp_path / "run", flush_seconds=math.inf):
        if isinstance(event, Stepped):
            for value in event.edges.values():
                value.zero_()
    np.testing.assert_array_equal(open_run(tmp_path / "run").trace["edge_weight"], want)


def on_meta(events: Iterator[SearchEvent]) -> Iterator[SearchEvent]:
    """Steps on a device whose numbers cannot be read at all."""
    for event in events:
        if isinstance(event, Stepped):
            rows = {
                name: {kind: value.to("meta") for kind, value in getattr(event, name).items()}
                for name in ("alpha", "mix", "alive")
            }
            event = replace(event, **rows, scalars={"loss_train": torch.zeros((), device="meta")})
        yield event


def test_a_step_is_taken_in_without_reading_its_numbers(tmp_path: Path) -> None:
    events = on_meta(fake_events(steps_per_epoch=120))
    pipe = record(events, tmp_path / "a", flush_seconds=math.inf)
    assert len(stepped([next(pipe) for _ in range(100)])) > 90
    with pytest.raises(NotImplementedError, match="no data"):  # at the flush they are
        pipe.close()


def test_a_stage_may_be_longer_than_its_clock_said(tmp_path: Path) -> None:
    events = [
        replace(event, clock=replace(event.clock, steps=3))
        for event in fake_events(kinds=("normal",), epochs=5, steps_per_epoch=45)
    ]
    list(record(iter(events), tmp_path / "run"))
    assert_recorded(open_run(tmp_path / "run"), stepped(events))


def test_a_reader_sees_whole_steps_while_the_search_goes_on(tmp_path: Path) -> None:
    events = list(fake_events(steps_per_epoch=4))
    pipe = record(iter(events), tmp_path / "run", flush_seconds=0.0)
    seen: list[Stepped] = []
    for event in pipe:
        seen += stepped([event])
        run = open_run(tmp_path / "run")
        assert run.status == "running"
        assert_recorded(run, seen)
    assert open_run(tmp_path / "run").status == "finished"


def test_steps_wait_for_the_flush_and_then_come_all(tmp_path: Path) -> None:
    events = fake_events(epochs=1, steps_per_epoch=300, prune=False)
    pipe = record(events, tmp_path / "run", flush_seconds=math.inf)
    counts = [open_run(tmp_path / "run").trace.sizes["step"] for _ in pipe]
    assert set(counts[:-2]) == {0, 200}
    assert counts[-2:] == [300, 300]  # the end of the epoch has its steps before it


def test_whoever_reads_of_an_event_finds_the_steps_before_it(tmp_path: Path) -> None:
    pipe = record(fake_events(steps_per_epoch=20), tmp_path / "run", flush_seconds=math.inf)
    for event in pipe:
        if isinstance(event, Stepped | StageStarted):
            continue
        run = open_run(tmp_path / "run")
        steps = run.trace.sizes["step"]
        assert max((line["step"] for line in run.events[1:]), default=-1) < steps
        if not isinstance(event, Pruned):  # which waits with its step
            assert steps == event.clock.step + 1
            assert run.events[-1]["event"] == type(event).__name__


def test_closing_the_pipe_leaves_a_stopped_run(tmp_path: Path) -> None:
    events = list(fake_events())
    pipe = record(iter(events), tmp_path / "run")
    seen = [next(pipe) for _ in range(8)]
    pipe.close()
    run = open_run(tmp_path / "run")
    assert (run.status, run.genotype, run.header["error"]) == ("stopped", None, None)
    assert run.header["finished"] is not None
    assert_recorded(run, stepped(seen))


def broken(error: BaseException) -> Iterator[SearchEvent]:
    for event in fake_events():
        yield event
        if isinstance(event, Pruned):
            raise error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ValueError("a line\nand one more"), "failed", "ValueError: a line and one more"),
        (KeyboardInterrupt(), "stopped", None),
    ],
)
def test_an_exception_goes_on_and_is_noted(
    tmp_path: Path, error: BaseException, status: str, said: str | None
) -> None:
    with pytest.raises(type(error)) as caught:
        list(record(broken(error), tmp_path / "run"))
    assert caught.value is error
    run = open_run(tmp_path / "run")
    assert (run.status, run.header["error"]) == (status, said)
    assert (run.trace.sizes["step"], len(run.prunings)) == (9, 1)


def test_an_existing_run_is_refused_at_once(tmp_path: Path) -> None:
    before = fake_run(tmp_path / "run").events
    with pytest.raises(RunError, match=r"holds a run; choose another folder"):
        record(fake_events(), tmp_path / "run")
    assert open_run(tmp_path / "run").events == before


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(RunError, match="is no empty folder"):
            record(fake_events(), path)


def test_a_folder_of_a_writer_that_was_killed_before_its_header_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.123.456.part").write_text("{")
    list(record(fake_events(), tmp_path / "run"))
    assert open_run(tmp_path / "run").status == "finished"


def test_nothing_is_made_before_the_first_event(tmp_path: Path) -> None:
    def failing() -> Iterator[SearchEvent]:
        raise ValueError("no such data")
        yield from fake_events()

    with pytest.raises(ValueError, match="no such data"):
        list(record(failing(), tmp_path / "deep" / "run"))
    assert not (tmp_path / "deep").exists()


def test_meta_that_is_not_json_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"record\(meta=…\) must hold JSON values"):
        record(fake_events(), tmp_path / "run", meta={"method": object()})


@pytest.mark.parametrize("name", ["alive", "edge", "probe/norm", ""])
def test_a_scalar_that_would_hide_something_is_refused(tmp_path: Path, name: str) -> None:
    events = (
        replace(e, scalars={name: 1.0}) if isinstance(e, Stepped) else e for e in fake_events()
    )
    with pytest.raises(RunError, match="a scalar of Stepped is called"):
        list(record(events, tmp_path / "run"))
    assert open_run(tmp_path / "run").status == "failed"


def test_events_without_a_stage_are_refused(tmp_path: Path) -> None:
    events = (event for event in fake_events() if not isinstance(event, StageStarted))
    with pytest.raises(RunError, match="the events begin with Stepped, not with StageStarted"):
        list(record(events, tmp_path / "run"))


def writes_on(path: Path) -> None:
    """In a process of its own: record for long."""
    for _ in record(fake_events(epochs=200, steps_per_epoch=50), path, flush_seconds=0.0):
        pass


def test_a_killed_search_leaves_a_readable_run(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    writers = [started(writes_on, path) for path in paths]
    for path, writer in zip(paths, writers, strict=True):
        assert waited((path / "events.jsonl").exists, writer)
        assert kill_at(writer, random.uniform(0.1, 0.6))
        writer.join()
    events = fake_events(epochs=200, steps_per_epoch=50)
    for path in paths:
        run = open_run(path)
        steps = run.trace["step"].to_numpy()
        assert (run.status, steps.tolist()) == ("running", list(range(len(steps))))
    longest = max(open_run(path).trace.sizes["step"] for path in paths)
    assert longest > 0
    steps = [e for e in _until(events, longest) if isinstance(e, Stepped)]
    for run in map(open_run, paths):
        assert_recorded(run, steps[: run.trace.sizes["step"]])


def _until(events: Iterator[SearchEvent], steps: int) -> Iterator[SearchEvent]:
    for event in events:
        if isinstance(event, Stepped) and event.clock.step >= steps:
            return
        yield event


def test_an_evaluation_is_kept_with_its_run(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", evaluated=False)
    assert run.genotype is not None
    assert run.evaluation is None
    assert run.evaluation_epochs.empty
    events = list(fake_evaluation(run.genotype, epochs=4))
    passed = list(record_evaluation(iter(events), run.path, recipe={"epochs": 4}))
    assert all(a is b for a, b in zip(events, passed, strict=True))
    run = run.refresh()
    assert run.evaluation is not None
    assert run.evaluation["test_map"] == 0.91
    assert run.evaluation["genotype"] == str(run.genotype)
    assert run.evaluation["recipe"] == {"epochs": 4}
    assert run.evaluation["classes"] is None
    assert np.array(run.evaluation["confusion"]).shape == (10, 10)
    assert run.evaluation_epochs["accuracy_train"].is_monotonic_increasing
    assert run.evaluation_epochs["epoch"].tolist() == [0, 1, 2, 3]


def test_the_classes_of_an_evaluation_are_those_of_the_data(tmp_path: Path) -> None:
    meta = {"data": {"name": "pets", "classes": ["cat", "dog"]}}
    run = fake_run(tmp_path / "run", meta=meta, evaluated=False)
    assert run.genotype is not None
    list(record_evaluation(fake_evaluation(run.genotype), run.path, recipe={}))
    evaluation = run.refresh().evaluation
    assert evaluation is not None
    assert evaluation["classes"] == ["cat", "dog"]


def test_an_evaluation_is_not_written_over(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    assert run.genotype is not None
    with pytest.raises(RunError, match=r"has been evaluated; move evaluation\.json away"):
        record_evaluation(fake_evaluation(run.genotype), run.path, recipe={})


def evaluated(run: Run, seed: int, *, epochs: int = 3, **recipe: object) -> Run:
    """The run, with one more evaluation."""
    assert run.genotype is not None
    events = fake_evaluation(run.genotype, epochs=epochs)
    list(record_evaluation(events, run.path, recipe={"seed": seed, **recipe}))
    return run.refresh()


def test_a_run_takes_evaluations_with_other_seeds_and_keeps_the_first(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", evaluated=False)
    assert run.evaluations == []
    assert run.retraining_epochs.empty
    run = evaluated(run, 5, epochs=2, lr=0.1, machine="cpu", hidden=())
    first = {path: path.read_bytes() for path in run.path.glob("evaluation*") if path.is_file()}
    run = evaluated(run, 10, epochs=2, lr=0.1, machine="cuda", hidden=())
    run = evaluated(run, 2, epochs=4, lr=0.1, hidden=())
    assert {path: path.read_bytes() for path in first} == first
    assert run.evaluation is not None
    assert run.evaluation["recipe"] == {"seed": 5, "lr": 0.1, "machine": "cpu", "hidden": []}
    assert [found["recipe"]["seed"] for found in run.evaluations] == [2, 5, 10]
    assert run.retraining_epochs["seed"].tolist() == [2] * 4 + [5] * 2 + [10] * 2
    assert len(run.evaluation_epochs) == 2
    names = sorted(path.name for path in (run.path / "evaluation").glob("*.json*"))
    seeds = [f"seed_{seed}.{end}" for seed in (10, 2) for end in ("epochs.jsonl", "json")]
    assert names == ["epochs.jsonl", *seeds]


def test_a_seed_is_evaluated_once_and_all_under_one_recipe(tmp_path: Path) -> None:
    run = evaluated(fake_run(tmp_path / "run", evaluated=False), 0, lr=0.1)
    run = evaluated(run, 1, lr=0.1)
    with pytest.raises(RunError, match=r"with seed 0; choose another --seed, or move evaluation"):
        evaluated(run, 0, lr=0.1)
    with pytest.raises(RunError, match=r"with seed 1; .* move evaluation.seed_1\.json away"):
        evaluated(run, 1, lr=0.1)
    with pytest.raises(RunError, match=r"another recipe \(lr: 0\.1 → 0\.2; cutout: None → 4\)"):
        evaluated(run, 2, lr=0.2, cutout=4)
    assert len(run.refresh().evaluations) == 2


def test_an_evaluation_that_did_not_end_is_begun_again(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", evaluated=False)
    assert run.genotype is not None
    pipe = record_evaluation(fake_evaluation(run.genotype), run.path, recipe={})
    next(pipe)
    pipe.close()
    assert len(run.refresh().evaluation_epochs) == 1
    list(record_evaluation(fake_evaluation(run.genotype), run.path, recipe={}))
    assert len(run.refresh().evaluation_epochs) == 3


def test_a_recipe_that_is_not_json_is_refused_at_once(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", evaluated=False)
    assert run.genotype is not None
    with pytest.raises(RunError, match=r"record_evaluation\(recipe=…\) must hold JSON"):
        record_evaluation(fake_evaluation(run.genotype), run.path, recipe={"root": tmp_path})


def test_an_evaluation_needs_a_run(tmp_path: Path) -> None:
    last = list(fake_events())[-1]
    assert isinstance(last, Derived)
    with pytest.raises(RunError, match="is no run folder"):
        record_evaluation(fake_evaluation(last.genotype), tmp_path, recipe={})


def test_every_line_is_strict_json(tmp_path: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    run = fake_run(tmp_path / "run", stages=2)
    for name in ("events.jsonl", "evaluation/epochs.jsonl"):
        for line in (run.path / name).read_text(encoding="utf-8").splitlines():
            json.loads(line, parse_constant=refuse)
