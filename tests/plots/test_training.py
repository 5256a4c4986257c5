from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest

from tests.fakes import fake_run
from workbench.plots import training, training_frame
from workbench.trace import Run


def test_frame_leaves_out_what_was_not_measured(run: Run) -> None:
    frame = training_frame(run)
    assert set(frame["name"]) == {"loss_train", "loss_val", "accuracy_train", "accuracy_val", "lr"}
    assert frame.loc[frame["name"] == "loss_val", "step"].min() == 5
    assert frame.loc[frame["name"] == "loss_train", "step"].min() == 0


def test_accuracies_are_percent(run: Run) -> None:
    frame = training_frame(run)
    value = frame.loc[frame["name"] == "accuracy_train", "value"].to_numpy()
    assert value == pytest.approx(100 * run.trace["accuracy_train"].values)


def test_smoothing_is_an_exponential_mean(run: Run) -> None:
    frame = training_frame(run, smoothing=4)
    loss = frame[frame["name"] == "loss_train"].reset_index(drop=True)
    assert loss["smooth"].to_numpy() == pytest.approx(loss["value"].ewm(span=4).mean().to_numpy())
    pd.testing.assert_series_equal(loss["step"], pd.Series(range(15), name="step"))


def test_curves_end_with_their_stage(tmp_path: Path) -> None:
    """The second stage has a supernet of its own, and judges nothing in its first epoch."""
    run = fake_run(tmp_path / "run", stages=2, prune=False)
    frame = training_frame(run, smoothing=4).set_index("name")
    first = frame[frame["stage"] == 1].groupby("name").first()
    assert first["smooth"].tolist() == first["value"].tolist()
    lines = {line.name: line for line in training(run).data if line.yaxis == "y"}
    for name, border in (("training data", 15), ("validation data", 20)):
        (gap,) = np.flatnonzero(np.isnan(lines[name].y))
        assert lines[name].x[gap - 1] == 14
        assert lines[name].x[gap + 1] == border


def test_a_stage_of_one_step_is_a_dot(run: Run) -> None:
    stage = np.minimum(run.trace["step"].values, 1)  # one step, then all others
    one = cast("Run", SimpleNamespace(trace=run.trace.assign_coords(stage=("step", stage))))
    (loss,) = [t for t in training(one).data if t.name == "training data" and t.yaxis == "y"][1:]
    assert (np.asarray(loss.marker.size) > 0).tolist() == [True, *[False] * 15]


def test_raw_and_smooth_curves_toggle_together(run: Run) -> None:
    fig = training(run)
    losses = [trace for trace in fig.data if trace.legendgroup == "loss_train"]
    assert [trace.showlegend for trace in losses] == [False, None]
    assert losses[0].line.width < losses[1].line.width
    assert fig.layout.yaxis.title.text == "Loss (nats)"
    assert fig.layout.yaxis2.title.text == "Accuracy (%)"


def test_a_search_without_steps_says_so(started: Run) -> None:
    assert [note.text for note in training(started).layout.annotations] == ["Not measured"] * 3


def warmed_up(run: Run) -> Run:
    """`run`, had its first five steps followed a score instead of losses."""
    first = run.trace["step"].values < 5
    trace = run.trace.assign(loss=("step", np.where(first, 580.0, np.nan)))
    measured = {name: trace[name].where(~first) for name in ("loss_train", "accuracy_train")}
    return cast("Run", SimpleNamespace(trace=trace.assign(measured)))


def test_an_objective_without_data_has_a_panel_of_its_own(run: Run) -> None:
    fig = training(warmed_up(run))
    (own,) = {trace.yaxis for trace in fig.data if trace.legendgroup == "loss"}
    others = [trace for trace in fig.data if trace.legendgroup != "loss"]
    assert own not in {trace.yaxis for trace in others}
    losses = [max(trace.y) for trace in others if trace.legendgroup.startswith("loss")]
    assert max(losses) < 10
    assert fig.layout[own.replace("y", "yaxis")].title.text == "Objective without data (no unit)"
    of_zen = cast("Run", SimpleNamespace(trace=warmed_up(run).trace.assign(zen=("step", [0] * 15))))
    titles = [axis.title.text for axis in training(of_zen).select_yaxes()]
    assert titles == ["Loss (nats)", "Accuracy (%)", "Learning rate", "−Zen score (no unit)"]


def test_a_series_looks_the_same_in_all_panels_and_runs(run: Run) -> None:
    backwards = SimpleNamespace(trace=run.trace[list(run.trace.data_vars)[::-1]])
    looks: dict[str, set[tuple[str, str]]] = {}
    for one in (run, warmed_up(run), cast("Run", backwards)):
        for trace in training(one).data:
            if trace.showlegend is not False:
                looks.setdefault(trace.name, set()).add((trace.line.color, trace.line.dash))
    assert {"training data", "validation data", "weights", "objective"} <= set(looks)
    assert {name: len(found) for name, found in looks.items()} == dict.fromkeys(looks, 1)
    assert looks["training data"] != looks["validation data"]
