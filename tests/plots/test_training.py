from __future__ import annotations

import pandas as pd
import pytest

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


def test_raw_and_smooth_curves_toggle_together(run: Run) -> None:
    fig = training(run)
    losses = [trace for trace in fig.data if trace.legendgroup == "loss_train"]
    assert [trace.showlegend for trace in losses] == [False, None]
    assert losses[0].line.width < losses[1].line.width
    assert fig.layout.yaxis.title.text == "Loss (nats)"
    assert fig.layout.yaxis2.title.text == "Accuracy (%)"


def test_a_search_without_steps_says_so(started: Run) -> None:
    assert [note.text for note in training(started).layout.annotations] == ["Not measured"] * 3
