from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests.fakes import fake_run
from workbench.plots import alive_frame, pruning_timeline, pruning_timeline_frame, theme
from workbench.trace import Run


def test_frame_counts_down_what_is_left(run: Run) -> None:
    frame = pruning_timeline_frame(run)
    assert len(frame) == len(run.prunings) == 4
    assert frame["step"].is_monotonic_increasing
    for edge, part in frame.groupby("edge"):
        had = int(run.initial["alive"].sel(edge=edge).sum())
        assert part["left"].tolist() == [had - n for n in range(1, len(part) + 1)]


def test_alive_counts_are_those_of_the_trace(run: Run) -> None:
    frame = alive_frame(run).set_index(["kind", "step"])["alive"]
    assert list(dict.fromkeys(frame.index.get_level_values(0))) == ["normal", "reduce", "all"]
    assert frame["all", 14] == int(run.trace["alive"].isel(step=-1).sum())
    assert frame["all", 14] == frame["normal", 14] + frame["reduce", 14]


def test_one_kind_needs_no_total(unpruned: Run) -> None:
    assert set(alive_frame(unpruned)["kind"]) == {"cell"}


def test_marks_are_where_operations_went(run: Run) -> None:
    fig = pruning_timeline(run)
    marks = [trace for trace in fig.data if trace.mode == "markers"]
    assert sum(len(trace.x) for trace in marks) == 4
    edges = list(fig.layout.yaxis.ticktext)
    for trace in marks:
        assert trace.marker.color == theme.colour(trace.name)
        gone = run.prunings[run.prunings["op"] == trace.name]
        assert [edges[round(y)] for y in trace.y] == gone["edge"].tolist()
        assert list(trace.x) == gone["step"].tolist()


def test_operations_pruned_together_do_not_hide_each_other(run: Run) -> None:
    from workbench.plots.pruning import _marks

    ops = [str(op) for op in run.trace["op"].values]
    frame = pruning_timeline_frame(run).iloc[:1]
    places = [_marks(frame.assign(op=op), frame["edge"].tolist(), ops).y[0] for op in ops]
    assert len(set(places)) == len(ops)
    assert np.abs(places).max() < 0.5


def test_where_all_of_an_edge_goes_at_once_its_marks_are_apart(run: Run) -> None:
    from workbench.plots.pruning import _marks, _row_height

    ops, one = [str(op) for op in run.trace["op"].values], pruning_timeline_frame(run).iloc[:1]
    frame = pd.concat([one.assign(op=op) for op in ops])
    edge = [one["edge"].iloc[0]]
    places = np.array([_marks(part, edge, ops).y[0] for _, part in frame.groupby("op", sort=False)])
    assert np.diff(places).min() * _row_height(frame) > 3 > np.diff(places).min() * _row_height(one)


def test_nothing_pruned_is_said(unpruned: Run) -> None:
    notes = [note.text for note in pruning_timeline(unpruned).layout.annotations]
    assert "Nothing was pruned in this run" in notes


def test_a_search_without_steps_can_be_drawn(started: Run) -> None:
    assert pruning_timeline_frame(started).empty
    pruning_timeline(started)


def test_the_time_of_a_step_stands_below_what_is_alive(run: Run) -> None:
    fig = pruning_timeline(run)
    titles = [fig.layout[f"yaxis{i}"].title.text for i in (2, 3)]
    assert titles == ["Operations alive", "Time per step (ms)"]
    median = next(trace for trace in fig.data if trace.yaxis == "y3" and trace.line.width == 2)
    assert len(median.x) == 12  # three epochs of five steps, without the first of each
    assert fig.layout.xaxis3.title.text == "Step"


def test_the_legend_of_operations_ends_above_that_of_the_cells(tmp_path: Path) -> None:
    """Seven operations, 19 px each, beside an upper panel of two edges."""
    run = fake_run(tmp_path / "run", kinds=("normal",), nodes=1, stages=8, prune=False)
    fig = pruning_timeline(run)
    named = [trace.name for trace in fig.data if trace.mode == "markers"]
    assert len(named) == 7
    inside = fig.layout.height - 72 - 56  # without the margins of the theme
    assert (1 - fig.layout.legend2.y) * inside > 19 * len(named)
    assert fig.layout.legend2.yanchor == "top"
