from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.plots import cost, cost_frame
from workbench.trace import Run


def test_time_per_step_is_that_of_the_epoch(run: Run) -> None:
    frame = cost_frame(run)
    assert frame["epoch"].tolist() == [0, 1, 2]
    assert frame["step_seconds"].tolist() == pytest.approx([0.25 / 5] * 3)


def test_alive_share_is_of_all_candidates(run: Run) -> None:
    frame = cost_frame(run)
    assert frame["alive_share"].tolist() == pytest.approx([1, 78 / 80, 76 / 80])
    assert frame["macs"].tolist() == pytest.approx((50 * frame["parameters"]).tolist())


def test_units_are_on_the_axes(run: Run) -> None:
    titles = {axis.title.text for axis in cost(run).select_yaxes()}
    assert titles == {
        "Parameters",
        "Multiply-adds",
        "Operations alive (%)",
        "Epoch's time per step (ms)",
    }


def test_a_slow_first_epoch_does_not_flatten_the_others(run: Run) -> None:
    assert cost(run).layout.yaxis4.range is None
    epochs = run.epochs
    slow = replace(run)
    slow.__dict__["epochs"] = epochs.assign(seconds=[50.0, 0.25, 0.5])
    fig = cost(slow)
    assert fig.layout.yaxis4.range == (0, pytest.approx(125))
    assert fig.layout.title.subtitle.text == (
        "the first epoch took 10,000 ms a step, above the axis"  # by what is not recorded
    )


def test_a_stage_of_one_epoch_stays_on_the_axis(run: Run) -> None:
    warm = replace(run)
    warm.__dict__["epochs"] = run.epochs.assign(seconds=[50.0, 0.25, 0.5], stage=[0, 1, 1])
    warm.__dict__["starts"] = run.starts.isel(stage=[0, 0]).assign_coords(stage=[0, 1])
    fig = cost(warm)
    assert fig.layout.yaxis4.range is None
    assert fig.layout.title.subtitle.text == ""


def test_a_search_without_epochs_says_so(started: Run) -> None:
    notes = [note.text for note in cost(started).layout.annotations]
    assert notes.count("Not recorded") == 4


def test_few_epochs_have_whole_ticks(run: Run) -> None:
    assert {axis.dtick for axis in cost(run).select_xaxes()} == {1}
