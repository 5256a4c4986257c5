from __future__ import annotations

import pytest

from workbench.plots import dominance, dominance_frame, theme
from workbench.trace import Run


def test_shares_are_percent_and_add_up(run: Run) -> None:
    frame = dominance_frame(run)
    sums = frame.groupby(["step", "kind"])["share"].sum()
    assert sums.tolist() == pytest.approx([100] * len(sums))
    weights = frame.groupby(["step", "kind"])["mean_weight"].sum()
    assert weights.tolist() == pytest.approx([1] * len(weights), abs=1e-5)


def test_frame_agrees_with_the_trace(run: Run) -> None:
    frame = dominance_frame(run).set_index(["kind", "op", "step"])
    normal = run.trace.sel(edge=run.trace["kind"] == "normal", step=14)
    leaders = normal["op"].values[normal["mix"].argmax("op")].tolist()
    for op in normal["op"].values:
        row = frame.loc["normal", str(op), 14]
        assert row["share"] == pytest.approx(100 * leaders.count(op) / len(leaders))
        assert row["mean_weight"] == pytest.approx(float(normal["mix"].sel(op=op).mean()))


def test_idle_operations_are_stacked_first(run: Run) -> None:
    areas = [trace for trace in dominance(run).data if trace.stackgroup]
    assert [trace.name for trace in areas[:2]] == ["none", "skip_connect"]


def test_areas_of_a_kind_share_their_steps(run: Run) -> None:
    fig = dominance(run)
    areas = [trace for trace in fig.data if trace.stackgroup and trace.xaxis == "x"]
    assert len(areas) == run.trace.sizes["op"]
    assert len({tuple(trace.x) for trace in areas}) == 1


def test_one_legend_entry_per_operation_in_its_colour(run: Run) -> None:
    shown = [trace for trace in dominance(run).data if trace.showlegend]
    assert len(shown) == run.trace.sizes["op"]
    assert all(trace.line.color == theme.colour(trace.name) for trace in shown)
    assert all(trace.legendgroup == trace.name for trace in dominance(run).data)


def test_an_area_whose_operation_has_a_pattern_is_hatched_also_in_the_legend(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any(trace.fillpattern.shape for trace in dominance(run).data)
    monkeypatch.setattr(theme, "pattern", lambda op: "x" if op == "dil_conv_3x3" else "")
    traces = dominance(run).data
    hatched = [trace for trace in traces if trace.fillpattern.shape]
    assert {(trace.name, trace.fillpattern.shape) for trace in hatched} == {("dil_conv_3x3", "x")}
    assert all(trace.stackgroup for trace in hatched)
    named = [trace for trace in traces if trace.showlegend]
    assert len({trace.name for trace in named}) == len(named) == run.trace.sizes["op"]
    assert [trace.name for trace in named if trace.stackgroup] == ["dil_conv_3x3"]


def test_a_search_without_steps_says_so(started: Run) -> None:
    assert "Nothing recorded yet" in [note.text for note in dominance(started).layout.annotations]
