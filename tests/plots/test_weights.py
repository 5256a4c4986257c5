from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes import fake_events, fake_run, fake_space
from workbench.events import Stepped
from workbench.plots import edge_weight_frame, theme, weight_evolution, weight_evolution_frame
from workbench.trace import Run, open_run, record


def test_frame_holds_the_trace_while_an_operation_is_alive(run: Run) -> None:
    frame = weight_evolution_frame(run)
    trace = run.trace
    assert len(frame) == int(trace["alive"].sum())
    row = frame.iloc[len(frame) // 2]
    there = trace.sel(step=row["x"], edge=row["edge"], op=row["op"])
    assert row["value"] == pytest.approx(float(there["mix"]))
    assert bool(there["alive"])


def test_ranks_are_those_of_the_edge(run: Run) -> None:
    frame = weight_evolution_frame(run)
    one = frame[(frame["edge"] == "normal:0→2") & (frame["x"] == 14)].sort_values("rank")
    assert one["rank"].tolist() == list(range(1, len(one) + 1))
    assert (np.diff(one["value"]) <= 0).all()


def test_a_pruned_operation_ends_where_it_was_pruned(run: Run) -> None:
    frame = weight_evolution_frame(run)
    ends = frame[frame["pruned"]].set_index(["edge", "op"])["x"]
    assert len(ends) == len(run.prunings)
    for gone in run.prunings.itertuples():
        assert ends[gone.edge, gone.op] == gone.step - 1


def test_alpha_is_finite_though_the_pruned_are_not(run: Run) -> None:
    assert np.isfinite(weight_evolution_frame(run, value="alpha")["value"]).all()


def test_epochs_show_their_last_step(run: Run) -> None:
    by_step = weight_evolution_frame(run)
    by_epoch = weight_evolution_frame(run, x="epoch")
    assert sorted(by_epoch["x"].unique()) == [0, 1, 2]
    last = by_step[by_step["x"] == 14]["value"].to_numpy()
    assert np.allclose(by_epoch[by_epoch["x"] == 2]["value"], last)


def test_figure_has_a_curve_per_edge_and_operation(run: Run) -> None:
    fig = weight_evolution(run, kind="normal")
    lines = [trace for trace in fig.data if trace.mode == "lines"]
    edges = [str(edge) for edge in run.trace["edge"].values if str(edge).startswith("normal")]
    assert len(lines) == len(edges) * run.trace.sizes["op"]
    assert {(trace.meta, trace.name) for trace in lines} == {
        (edge, str(op)) for edge in edges for op in run.trace["op"].values
    }


def test_one_legend_entry_toggles_an_operation_everywhere(run: Run) -> None:
    fig = weight_evolution(run)
    shown = [trace.name for trace in fig.data if trace.showlegend]
    assert sorted(shown) == sorted(str(op) for op in run.trace["op"].values)
    assert all(trace.legendgroup == trace.name for trace in fig.data)


@pytest.mark.parametrize(("nodes", "inside"), [(2, False), (3, True), (4, True)])
def test_the_legend_covers_no_edge(tmp_path: Path, nodes: int, inside: bool) -> None:
    """Eight names are about as high as two rows."""
    legend = weight_evolution(fake_run(tmp_path / "run", nodes=nodes)).layout.legend
    assert (legend.x <= 1) == inside


def test_colours_and_dashes_are_those_of_the_operation(run: Run) -> None:
    for trace in weight_evolution(run).data:
        if trace.mode == "lines":
            assert trace.line.color == theme.colour(trace.name)
            assert trace.line.dash == theme.dash(trace.name)


def test_facets_are_laid_out_as_the_cell_is(run: Run) -> None:
    fig = weight_evolution(run, kind="normal")
    place = {trace.meta: (trace.xaxis, trace.yaxis) for trace in fig.data}
    assert len(set(place.values())) == len(place) == 5
    titles = [note.text for note in fig.layout.annotations]
    assert {"normal:0→2", "normal:2→3", "Step"} <= set(titles)


def test_long_searches_stay_light(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "long", epochs=4, steps_per_epoch=500, prune=False)
    fig = weight_evolution(run, points=150)
    assert max(len(trace.x) for trace in fig.data) <= 152
    full = weight_evolution_frame(run, kind="normal")
    thin = weight_evolution_frame(run, kind="normal", points=150)
    for how in ("min", "max"):
        assert (
            thin.groupby(["edge", "op"])["value"]
            .agg(how)
            .equals(full.groupby(["edge", "op"])["value"].agg(how))
        )


@pytest.fixture
def weighed(tmp_path: Path) -> Run:
    """A search that weighs edges: edge i of its kind at step n has 1 / (2 + i + n)."""
    space = fake_space(("normal", "reduce"), 2)
    events = (
        replace(
            event,
            edges={
                cell.kind: 1 / (2.0 + event.clock.step + torch.arange(len(cell.edges)))
                for cell in space.cells
            },
        )
        if isinstance(event, Stepped)
        else event
        for event in fake_events()
    )
    list(record(events, tmp_path / "weighed"))
    return open_run(tmp_path / "weighed")


def test_weights_of_edges_are_drawn_beside_those_of_their_operations(weighed: Run) -> None:
    frame = edge_weight_frame(weighed, kind="normal")
    assert len(frame) == 5 * 15
    one = frame[frame["edge"] == "normal:1→2"]  # the second edge
    assert np.allclose(one["value"], 1 / (3.0 + np.arange(15)))
    assert edge_weight_frame(weighed, kind="reduce", x="epoch")["x"].unique().tolist() == [0, 1, 2]
    fig = weight_evolution(weighed, kind="normal")
    lines = {trace.meta: trace for trace in fig.data if trace.name == "the edge itself"}
    assert len(lines) == 5
    assert np.allclose(lines["normal:1→2"].y, one["value"])
    assert sum(bool(trace.showlegend) for trace in lines.values()) == 1
    place = {trace.meta: trace.xaxis for trace in fig.data if trace.name != "the edge itself"}
    assert all(trace.xaxis == place[edge] for edge, trace in lines.items())
    assert "the edge itself" not in {t.name for t in weight_evolution(weighed, value="alpha").data}


def test_a_method_that_weighs_no_edges_has_no_such_lines(run: Run) -> None:
    assert edge_weight_frame(run).empty
    assert list(edge_weight_frame(run).columns) == ["edge", "x", "value"]


def test_a_search_without_steps_says_so(started: Run) -> None:
    fig = weight_evolution(started, kind="normal")
    assert "Nothing recorded yet" in [note.text for note in fig.layout.annotations]
    assert list(weight_evolution_frame(started).columns)[:3] == ["edge", "op", "x"]


@pytest.mark.parametrize("kind", [None, "normal"])
def test_the_title_of_the_values_is_of_an_axis_that_has_ticks(run: Run, kind: str | None) -> None:
    """plotly puts it beside the ticks, however long they are."""
    fig = weight_evolution(run, kind=kind)
    (axis,) = [axis for axis in fig.select_yaxes() if axis.title.text]
    assert axis.title.text == "Mixing weight"
    assert axis.showticklabels is None
    assert axis.anchor in {trace.xaxis for trace in fig.data if trace.meta.endswith(":0→3")} | {
        trace.xaxis for trace in fig.data if trace.meta.endswith(":0→2")
    }


def test_few_epochs_have_whole_ticks(run: Run) -> None:
    ticks = {axis.dtick for axis in weight_evolution(run, x="epoch").select_xaxes()}
    assert ticks == {1}
    assert {axis.dtick for axis in weight_evolution(run).select_xaxes()} == {None}
