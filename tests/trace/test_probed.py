"""What probes measure lies beside alpha, in the row of its step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes import fake_events
from workbench.events import EpochEnded, Probed, SearchEvent, StageStarted, Stepped
from workbench.protocols import Clock
from workbench.spaces.space import Space
from workbench.trace import Run, RunError, open_run, record

Measure = Callable[[Space, Clock], dict]


def scalar(space: Space, clock: Clock) -> dict:
    return {"sharpness": torch.tensor(1.0 + clock.step, dtype=torch.float64, requires_grad=True)}


def per_edge(space: Space, clock: Clock) -> dict:
    rows = {c.kind: 100.0 * i + torch.arange(len(c.edges)) for i, c in enumerate(space.cells)}
    return {"slope": {kind: row + clock.step for kind, row in rows.items()}}


def per_op(space: Space, clock: Clock) -> dict:
    shapes = {c.kind: (len(c.edges), len(c.columns)) for c in space.cells}
    return {"norm": {kind: torch.full(shape, float(clock.step)) for kind, shape in shapes.items()}}


def watched(
    events: Iterator[SearchEvent], *measures: Measure, every: int = 1, stages: tuple[int, ...] = ()
) -> Iterator[SearchEvent]:
    """The same events, and what is measured after every `every`-th step of `stages` (all)."""
    space = None
    for event in events:
        yield event
        space = event.space if isinstance(event, StageStarted) else space
        if not isinstance(event, Stepped) or event.clock.step % every:
            continue
        if stages and event.clock.stage not in stages:
            continue
        for measure in measures:
            yield Probed(event.clock, measure(space, event.clock))


def recorded(path: Path, events: Iterator[SearchEvent], flush_seconds: float = math.inf) -> Run:
    list(record(events, path, flush_seconds=flush_seconds))
    return open_run(path)


@pytest.mark.parametrize(
    ("steps_per_epoch", "every", "flush_seconds"),  # three epochs of chunks of 200 steps
    [(5, 1, 0.0), (67, 1, 0.0), (67, 3, math.inf), (200, 1, math.inf), (140, 199, 0.05)],
)
def test_values_are_in_the_row_of_their_step_however_it_was_flushed(
    tmp_path: Path, steps_per_epoch: int, every: int, flush_seconds: float
) -> None:
    events = fake_events(steps_per_epoch=steps_per_epoch, prune=False)
    events = watched(events, scalar, per_edge, per_op, every=every)
    trace = recorded(tmp_path / "run", events, flush_seconds).trace
    step = trace["step"].to_numpy()
    measured = step % every == 0
    assert len(step) == 3 * steps_per_epoch
    np.testing.assert_array_equal(trace["sharpness"], np.where(measured, 1.0 + step, np.nan))
    first = np.array([*range(5), *range(100, 105)])  # two kinds of five edges
    want = np.where(measured[:, None], step[:, None] + first, np.nan)
    np.testing.assert_array_equal(trace["slope"], want)
    assert trace["slope"].dims == ("step", "edge")
    assert trace["norm"].dims == ("step", "edge", "op")
    want = np.broadcast_to(np.where(measured, step, np.nan)[:, None, None], trace["mix"].shape)
    np.testing.assert_array_equal(trace["norm"], want)
    assert [n for n in trace.data_vars if trace[n].attrs.get("probed")] == [
        "sharpness", "slope", "norm",
    ]  # fmt: skip


def test_a_value_may_come_after_its_row_was_written(tmp_path: Path) -> None:
    pipe = record(watched(fake_events(), scalar), tmp_path / "run", flush_seconds=0.0)
    for event in pipe:
        trace = open_run(tmp_path / "run").trace
        if isinstance(event, Stepped):
            missing = "sharpness" not in trace or np.isnan(trace["sharpness"][-1])
            assert trace["step"][-1] == event.clock.step
            assert missing
        elif isinstance(event, Probed):
            assert trace["sharpness"].to_numpy().tolist() == [
                1.0 + step for step in range(event.clock.step + 1)
            ]


def test_a_kind_that_was_not_measured_is_nan_and_so_is_what_is_no_candidate(
    tmp_path: Path,
) -> None:
    def normal(space: Space, clock: Clock) -> dict:
        cell = space.cell("normal")
        return {"norm": {"normal": torch.ones(len(cell.edges), len(cell.columns))}}

    def narrowed(events: Iterator[SearchEvent]) -> Iterator[SearchEvent]:
        for event in events:
            if isinstance(event, StageStarted):
                cells = tuple(replace(c, ops=(c.ops[0][:2], *c.ops[1:])) for c in event.space.cells)
                event = replace(event, space=replace(event.space, cells=cells))
            yield event

    trace = recorded(tmp_path / "run", watched(narrowed(fake_events()), normal)).trace
    assert np.isnan(trace["norm"].sel(edge=trace["kind"] == "reduce")).all()
    own = trace["norm"].sel(edge=trace["kind"] == "normal")[-1]
    columns = trace.sizes["op"]
    assert np.isfinite(own).sum("op").to_numpy().tolist() == [2, *[columns] * 4]


def test_a_stage_that_measured_nothing_has_nan(tmp_path: Path) -> None:
    events = watched(fake_events(stages=3), scalar, per_edge, per_op, stages=(1,))
    trace = recorded(tmp_path / "run", events).trace
    for name in ("sharpness", "slope", "norm"):
        finite = np.isfinite(trace[name].to_numpy().reshape(45, -1)).any(1)
        np.testing.assert_array_equal(finite, trace["stage"] == 1)
    assert np.isnan(trace["norm"][15:30].sel(op=trace["op"].to_numpy()[-1])).all()  # not there


def test_a_stage_longer_than_its_clock_said_keeps_its_measurements(tmp_path: Path) -> None:
    events = (
        replace(event, clock=replace(event.clock, steps=3))
        for event in fake_events(kinds=("normal",), epochs=5, steps_per_epoch=90)
    )
    trace = recorded(tmp_path / "run", watched(events, scalar, per_op)).trace
    np.testing.assert_array_equal(trace["sharpness"], 1.0 + trace["step"])
    assert np.isfinite(trace["norm"]).all()


def test_measurements_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    def wild(space: Space, clock: Clock) -> dict:
        return {"odd": torch.tensor([math.inf, -math.inf, math.nan, 1.0][clock.step % 4])}

    values = recorded(tmp_path / "run", watched(fake_events(), wild)).trace["odd"].to_numpy()
    np.testing.assert_array_equal(values[:4], [math.inf, -math.inf, math.nan, 1.0])


def test_a_value_is_taken_in_as_it_was_when_it_came(tmp_path: Path) -> None:
    for event in record(watched(fake_events(), per_edge), tmp_path / "run"):
        if isinstance(event, Probed):
            for rows in event.values["slope"].values():
                rows.zero_()
    assert open_run(tmp_path / "run").trace["slope"][3, 0] == 3.0


def test_only_other_tensors_are_lines(tmp_path: Path) -> None:
    def mixed(space: Space, clock: Clock) -> dict:
        return scalar(space, clock) | {"spectrum": torch.tensor([1.0, math.inf, 3.0])}

    run = recorded(tmp_path / "run", watched(fake_events(), mixed, every=5))
    lines = [line for line in run.events if line["event"] == "Probed"]
    assert [line["step"] for line in lines] == [0, 5, 10]
    assert lines[0]["values"] == {"spectrum": [1.0, None, 3.0]}
    assert "spectrum" not in run.trace
    run = recorded(tmp_path / "plain", watched(fake_events(), scalar))
    assert not [line for line in run.events if line["event"] == "Probed"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"alpha": torch.tensor(1.0)}, "a probe measured 'alpha'; use an identifier other than"),
        ({"loss_train": torch.tensor(1.0)}, "a probe measured 'loss_train'"),
        ({"a/b": torch.tensor(1.0)}, "a probe measured 'a/b'"),
        ({"x": {"normal": torch.zeros(4)}}, r"rows \(4,\) of 'normal'; rows are \(edges,\)"),
        ({"x": {"odd": torch.zeros(5)}}, r"rows \(5,\) of 'odd'"),
        ({"x": {}}, "no rows"),
        ({"x": {"normal": torch.zeros(5), "reduce": torch.zeros(5, 8)}}, "rows of two forms"),
        ({"sharpness": {"normal": torch.zeros(5)}}, "as a row per edge and as a scalar"),
    ],
)
def test_what_cannot_be_recorded_is_refused(tmp_path: Path, values: dict, said: str) -> None:
    def wrong(space: Space, clock: Clock) -> dict:
        return values

    with pytest.raises(RunError, match=said):
        recorded(tmp_path / "run", watched(fake_events(), scalar, wrong))
    assert open_run(tmp_path / "run").status == "failed"


def test_a_name_keeps_its_form_and_its_owner_over_the_stages(tmp_path: Path) -> None:
    def turns(space: Space, clock: Clock) -> dict:
        value = torch.tensor(1.0)
        return {"x": {"normal": torch.zeros(5)} if clock.stage else value}

    with pytest.raises(RunError, match="'x' as a row per edge and as a scalar"):
        recorded(tmp_path / "run", watched(fake_events(stages=2), turns))
    events = watched(fake_events(), lambda space, clock: {"loss_val": torch.tensor(0.0)})
    with pytest.raises(RunError, match="a scalar of Stepped is called 'loss_val'"):
        recorded(tmp_path / "late", events)


def test_an_epoch_may_end_with_measurements_too(tmp_path: Path) -> None:
    """Those of `Stage.measures` come after the epoch's last step and before its end."""

    def ending(events: Iterator[SearchEvent]) -> Iterator[SearchEvent]:
        for event in events:
            if isinstance(event, EpochEnded):
                yield Probed(event.clock, {"sharpness": torch.tensor(float(event.clock.epoch))})
            yield event

    values = recorded(tmp_path / "run", ending(fake_events())).trace["sharpness"].to_numpy()
    assert values[[4, 9, 14]].tolist() == [0.0, 1.0, 2.0]
    assert np.isfinite(values).sum() == 3
