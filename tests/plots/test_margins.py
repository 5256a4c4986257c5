from __future__ import annotations

import numpy as np
import pytest

from workbench import analysis
from workbench.plots import edge_margins_frame, margins, margins_frame
from workbench.trace import Run


def test_the_band_is_from_the_least_to_the_most_decided_edge(run: Run) -> None:
    frame = margins_frame(run).set_index(["kind", "step"])
    margin = analysis.margins(run)
    reduce = margin[14, (margin["kind"] == "reduce").values]
    row = frame.loc[("reduce", 14)]
    assert row["mean"] == pytest.approx(float(reduce.mean()))
    assert row["low"] == pytest.approx(float(reduce.min()))
    assert row["high"] == pytest.approx(float(reduce.max()))


def test_edge_margins_are_those_of_the_analysis(run: Run) -> None:
    frame = edge_margins_frame(run)
    margin = analysis.margins(run)
    assert len(frame) == margin.size
    table = frame.pivot_table(index="step", columns="edge", values="margin", sort=False)
    np.testing.assert_allclose(table.to_numpy(), margin.values, rtol=1e-6)
    assert frame.loc[frame["edge"] == "reduce:0→2", "kind"].unique().tolist() == ["reduce"]
    assert edge_margins_frame(run, points=3)["step"].unique().tolist() == [0, 7, 14]


def test_every_edge_is_a_row_below_the_lines(run: Run) -> None:
    fig = margins(run)
    (heat,) = [trace for trace in fig.data if trace.type == "heatmap"]
    assert list(heat.y) == run.trace["edge"].values.tolist()
    np.testing.assert_allclose(np.array(heat.z).T, analysis.margins(run).values, rtol=1e-6)
    named = [trace.name for trace in fig.data if trace.showlegend]
    assert named == ["normal cell", "reduce cell"]


def test_a_search_without_steps_can_be_drawn(started: Run) -> None:
    assert margins_frame(started).empty
    assert edge_margins_frame(started).empty
    assert "Nothing recorded yet" in [note.text for note in margins(started).layout.annotations]


def test_margins_are_written_as_plain_numbers(run: Run) -> None:
    """And not as 500µ."""
    layout = margins(run).layout
    assert layout.yaxis.exponentformat == layout.coloraxis.colorbar.exponentformat == "none"
