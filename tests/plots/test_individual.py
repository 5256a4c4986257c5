"""Runs whose every cell is a kind of its own, as in D-DARTS, are drawn as any other."""

from __future__ import annotations

import pytest

from tests.tiny import READABLE, shrunk, tiny_data
from workbench import plots
from workbench.methods import d_darts
from workbench.search import search
from workbench.spaces.darts import darts
from workbench.trace import Run, open_run, record

KINDS = ["normal_0", "reduce_1", "normal_2", "reduce_3", "normal_4"]


@pytest.fixture(scope="module")
def individual(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Five cells of one node, four steps."""
    path = tmp_path_factory.mktemp("runs") / "d_darts"
    method = shrunk(d_darts, epochs=2, batch_size=12)
    space = darts(channels=4, cells=5, nodes=1)
    events = search(method, space, tiny_data(), machine=READABLE)
    list(record(events, path, meta={"method": "d_darts", "space": "darts", "data": "digits"}))
    return open_run(path)


def test_every_cell_is_recorded_under_its_own_name(individual: Run) -> None:
    assert list(dict.fromkeys(individual.trace["kind"].values.tolist())) == KINDS
    assert [cell.kind for cell in individual.genotype.cells] == KINDS


def test_dominance_has_four_cells_in_a_row(individual: Run) -> None:
    figure = plots.dominance(individual)
    titles = [note.text for note in figure.layout.annotations]
    assert titles == [f"{kind} cell" for kind in KINDS]
    heights = [note.y for note in figure.layout.annotations]
    assert len(set(heights[:4])) == 1
    assert heights[4] < heights[0]
    assert figure.layout.annotations[4].x == figure.layout.annotations[0].x
    areas = [trace for trace in figure.data if trace.stackgroup]
    assert len({trace.yaxis for trace in areas}) == 5
    assert len(areas) == 5 * 7
    assert "all cells: none leads 0 %" in figure.layout.title.subtitle.text


@pytest.mark.parametrize(
    "plot", ["weight_evolution", "support", "pruning_timeline", "training", "cost"]
)
def test_every_other_figure_draws(individual: Run, plot: str) -> None:
    assert getattr(plots, plot)(individual).layout.title.text


def test_cells_are_drawn_below_each_other(individual: Run) -> None:
    dot = plots.cells(individual).dot
    assert all(f"cluster_{kind}" in dot for kind in KINDS)
    assert len(plots.summary_table_frame(individual))
