from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes import fake_events
from workbench.events import EpochEnded, Probed, SearchEvent, StageStarted, Stepped
from workbench.plots import (
    probe,
    probe_frame,
    training_frame,
    weight_evolution,
    weight_evolution_frame,
)
from workbench.trace import Run, open_run, record


def measured() -> Iterator[SearchEvent]:
    """Every third step measures a scalar, rows of edges, rows of operations and an accuracy."""
    space = None
    for event in fake_events():
        yield event
        space = event.space if isinstance(event, StageStarted) else space
        if isinstance(event, Stepped) and event.clock.step % 3 == 0:
            step = float(event.clock.step)
            edges = {c.kind: step + torch.arange(len(c.edges)) for c in space.cells}
            ops = {
                c.kind: step + torch.arange(len(c.columns)).repeat(len(c.edges), 1)
                for c in space.cells
            }
            values = {"sharpness": torch.tensor(step), "slope": edges, "op_norm": ops}
            yield Probed(event.clock, {**values, "accuracy_masked": torch.tensor(step / 100)})


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "watched"
    list(record(measured(), path))
    return open_run(path)


def test_a_scalar_is_a_row_per_step_that_measured_it(watched: Run) -> None:
    frame = probe_frame(watched, "sharpness")
    assert list(frame.columns) == ["step", "epoch", "value"]
    assert frame["step"].tolist() == frame["value"].tolist() == [0, 3, 6, 9, 12]
    assert frame["epoch"].tolist() == [0, 0, 1, 1, 2]
    assert list(probe(watched, "sharpness").data[0].y) == [0, 3, 6, 9, 12]
    percent = probe_frame(watched, "accuracy_masked")["value"].tolist()
    assert percent == pytest.approx([0, 3, 6, 9, 12])


def test_a_value_per_edge_is_a_heat_map_in_the_spaces_order(watched: Run) -> None:
    frame = probe_frame(watched, "slope")
    assert list(frame.columns) == ["step", "epoch", "kind", "edge", "value"]
    assert len(frame) == 5 * 10
    fig = probe(watched, "slope")
    (heat,) = fig.data
    assert list(heat.y) == watched.trace["edge"].to_numpy().tolist()
    assert heat.z[:, 1].tolist() == [3.0 + i for i in [*range(5), *range(5)]]


def test_what_is_infinite_is_in_the_table_and_told_of_under_the_title(tmp_path: Path) -> None:
    def some() -> Iterator[SearchEvent]:
        for event in fake_events(kinds=("normal",)):
            yield event
            if isinstance(event, Stepped):
                edges = torch.arange(5.0)
                edges[3] = -torch.inf if event.clock.step in (1, 2) else 3
                scalar = torch.inf if event.clock.step == 4 else 0.5
                yield Probed(
                    event.clock, {"slope": {"normal": edges}, "steep": torch.tensor(scalar)}
                )

    list(record(some(), tmp_path / "run"))
    run = open_run(tmp_path / "run")
    assert np.isinf(probe_frame(run, "steep")["value"]).tolist().index(True) == 4
    fig = probe(run, "steep")
    assert "1 infinite value is not drawn" in fig.layout.title.subtitle.text
    assert set(fig.data[0].y) == {0.5}
    fig = probe(run, "slope")
    assert "2 infinite values are not drawn" in fig.layout.title.subtitle.text
    assert np.isnan(fig.data[0].z[3, 1:3]).all()


def test_a_heat_map_has_no_more_columns_than_can_be_seen(tmp_path: Path) -> None:
    def every() -> Iterator[SearchEvent]:
        for event in fake_events(kinds=("normal",), steps_per_epoch=250):
            yield event
            if isinstance(event, Stepped):
                yield Probed(event.clock, {"slope": {"normal": torch.zeros(5)}})

    list(record(every(), tmp_path / "run"))
    run = open_run(tmp_path / "run")
    assert len(probe_frame(run, "slope")) == 750 * 5
    assert probe(run, "slope").data[0].z.shape == (5, 250)


def test_a_value_per_operation_is_drawn_as_weights_are(watched: Run) -> None:
    frame = weight_evolution_frame(watched, value="op_norm")
    assert sorted(frame["x"].unique()) == [0, 3, 6, 9, 12]
    ops = watched.trace["op"].to_numpy().tolist()
    expected = frame["x"] + frame["op"].map(ops.index)
    np.testing.assert_array_equal(frame["value"], expected)
    fig = probe(watched, "op_norm")
    assert len(fig.data) == len(weight_evolution(watched, value="op_norm").data)
    assert {trace.mode for trace in fig.data} == {"lines+markers", "markers"}
    assert "Root mean square of the output, all cells" in fig.layout.title.text
    by_epoch = weight_evolution_frame(watched, value="op_norm", x="epoch")
    assert sorted(by_epoch["x"].unique()) == [0, 1, 2]  # the last measurement of each
    assert len(probe_frame(watched, "op_norm")) == 5 * 10 * len(ops)


def test_what_was_not_measured_is_said(watched: Run, run: Run) -> None:
    assert probe_frame(watched, "op_share").empty
    said = probe(watched, "op_share").layout.annotations[0].text
    assert "'op_share' was not measured; this run has<br>sharpness, slope, op_norm" in said
    assert "this run has<br>nothing" in probe(run, "op_share").layout.annotations[0].text
    with pytest.raises(ValueError, match="'slope' was not recorded per edge and operation; this"):
        weight_evolution_frame(watched, value="slope")


def test_a_scalar_of_epochs_is_found_where_no_step_has_it(tmp_path: Path) -> None:
    def old() -> Iterator[SearchEvent]:
        for event in fake_events():
            if isinstance(event, EpochEnded):
                event.scalars["hessian_eigenvalue"] = 1.0 + event.clock.epoch
            yield event

    list(record(old(), tmp_path / "run"))
    frame = probe_frame(open_run(tmp_path / "run"), "hessian_eigenvalue")
    assert frame["value"].tolist() == [1.0, 2.0, 3.0]
    assert frame["step"].tolist() == [4, 9, 14]


def test_measurements_are_no_training_curves(watched: Run) -> None:
    names = set(training_frame(watched)["name"])
    assert "accuracy_train" in names
    assert "accuracy_masked" not in names


def test_what_somebody_else_calls_accuracy_is_left_as_it_is(tmp_path: Path) -> None:
    def events() -> Iterator[SearchEvent]:
        for event in fake_events():
            yield event
            if isinstance(event, Stepped):
                own = {"accuracy_drop": torch.tensor(12.0), "accuracy_masked": torch.tensor(0.5)}
                yield Probed(event.clock, own)

    list(record(events(), tmp_path / "run"))
    run = open_run(tmp_path / "run")
    assert set(probe_frame(run, "accuracy_drop")["value"]) == {12.0}
    assert set(probe_frame(run, "accuracy_masked")["value"]) == {50.0}
