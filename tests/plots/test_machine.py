from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fakes import fake_run
from workbench.plots import (
    cost_frame,
    memory_frame,
    pruning_timeline,
    step_time_frame,
    time_and_memory,
)
from workbench.trace import Run


@pytest.fixture
def timed(tmp_path: Path) -> Run:
    """Two epochs of ten steps: a step takes 1 s, and what is between the epochs 100 s."""
    run = fake_run(tmp_path / "run", epochs=2, steps_per_epoch=10)
    seconds = np.arange(20.0) + 100 * (np.arange(20) >= 10)
    run.trace["seconds"] = ("step", seconds)
    return run


def test_what_is_between_epochs_is_no_time_of_a_step(timed: Run) -> None:
    frame = step_time_frame(timed)
    assert frame["seconds"].tolist() == [1.0] * 18
    assert frame["step"].tolist() == [*range(1, 10), *range(11, 20)]
    assert frame["epoch"].tolist() == [0] * 9 + [1] * 9


def test_a_stretch_has_the_median_and_the_quartiles(timed: Run) -> None:
    seconds = timed.trace["seconds"].values.copy()
    seconds[13:] += 6  # one slow step
    timed.trace["seconds"] = ("step", seconds)
    frame = step_time_frame(timed, stretches=2)
    assert frame[["first", "last"]].to_numpy().tolist() == [[1, 9], [11, 19]]
    assert frame["seconds"].tolist() == [1.0, 1.0]
    assert frame["high"].tolist() == [1.0, 1.0]
    slow = step_time_frame(timed, stretches=9)
    assert slow["high"].max() == 5.5  # of 1 s and 7 s


def test_epochs_of_one_step_have_what_came_behind_it(tmp_path: Path) -> None:
    """As in TE-NAS: the second epoch prunes for 9 s, which the third step's clock has in it."""
    run = fake_run(tmp_path / "run", epochs=4, steps_per_epoch=1)
    run.trace["seconds"] = ("step", np.array([5.0, 7.0, 18.0, 20.0]))
    vars(run)["epochs"] = run.epochs.assign(seconds=[2.0, 11.0, 2.0, 6.0])
    frame = step_time_frame(run)
    assert frame["seconds"].tolist() == [2.0, 11.0, 2.0, 6.0]
    assert frame["step"].tolist() == cost_frame(run)["epoch"].tolist() == [0, 1, 2, 3]
    assert frame["seconds"].tolist() == cost_frame(run)["step_seconds"].tolist()
    said = "Time per epoch<br>of one step (ms)"
    assert time_and_memory(run).layout.yaxis.title.text == said
    assert pruning_timeline(run).layout.yaxis3.title.text == said


def test_the_first_step_of_a_stage_has_no_time(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", epochs=1, steps_per_epoch=3, stages=2)
    assert step_time_frame(run)["step"].tolist() == [1, 2, 4, 5]


def test_memory_is_the_most_of_a_stretch_in_mebibytes(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", epochs=2, steps_per_epoch=10)
    frame = memory_frame(run)
    assert frame["memory"].tolist() == [256.0 + step for step in range(20)]
    assert frame["step"].tolist() == list(range(20))
    frame = memory_frame(run, stretches=3)
    assert frame[["first", "last"]].to_numpy().tolist() == [[0, 6], [7, 13], [14, 19]]
    assert frame["step"].tolist() == [6, 13, 19]
    assert frame["memory"].tolist() == [262.0, 269.0, 275.0]
    assert frame["epoch"].tolist() == [0, 1, 1]


def test_a_run_that_noted_memory_at_epochs_ends_shows_that(run: Run) -> None:
    object.__setattr__(run, "trace", run.trace.drop_vars("memory"))
    frame = memory_frame(run)
    assert frame["memory"].tolist() == [256.0] * 3
    assert frame["epoch"].tolist() == [0, 1, 2]
    assert frame["step"].tolist() == run.epochs["step"].tolist()


def test_axes_say_their_units(timed: Run) -> None:
    fig = time_and_memory(timed)
    assert fig.layout.yaxis.title.text == "Time per step (ms)"
    assert fig.layout.yaxis2.title.text == "Memory (MiB)"
    assert list(fig.data[2].y) == [1000.0] * 18


def test_a_search_without_steps_can_be_drawn(started: Run) -> None:
    assert step_time_frame(started).empty
    assert memory_frame(started).empty
    notes = [note.text for note in time_and_memory(started).layout.annotations]
    assert notes == ["Not recorded"] * 2
