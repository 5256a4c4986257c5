from __future__ import annotations

from workbench import analysis
from workbench.plots import decisions, decisions_frame, theme
from workbench.trace import Run


def test_there_is_one_row_per_edge_in_the_cells_order(run: Run) -> None:
    frame = decisions_frame(run)
    assert frame["edge"].tolist() == run.trace["edge"].values.tolist()
    assert frame["switches"].tolist() == analysis.rank_switches(run)["switches"].tolist()
    assert frame["step"].tolist() == analysis.decision_step(run)["step"].tolist()
    epochs = run.trace["epoch"].sel(step=frame["step"].tolist()).values
    assert frame["epoch"].tolist() == epochs.tolist()


def test_the_leader_stays_from_the_step_on_and_not_before(run: Run) -> None:
    for row in decisions_frame(run).to_dict("records"):
        mix = run.trace["mix"].sel(edge=row["edge"])
        leaders = mix["op"].values[mix.values.argmax(-1)]
        assert set(leaders[row["step"] :]) == {row["op"]}
        assert row["step"] == 0 or leaders[row["step"] - 1] != row["op"]


def test_dots_have_the_colour_of_the_operation_and_stand_beside_the_bars(run: Run) -> None:
    frame, fig = decisions_frame(run), decisions(run)
    dots = [t for t in fig.data if t.type == "scatter" and t.mode == "markers"]
    assert sum(len(trace.x) for trace in dots) == len(frame)
    for trace in dots:
        assert trace.marker.color == theme.colour(trace.name)
        own = frame.loc[frame["op"] == trace.name]
        assert list(trace.y) == own["edge"].tolist()
        assert list(trace.x) == own["step"].tolist()
    (bars,) = [trace for trace in fig.data if trace.type == "bar"]
    assert list(bars.y) == frame["edge"].tolist()
    assert list(fig.layout.yaxis.categoryarray) == frame["edge"].tolist()
    assert fig.layout.yaxis2.matches == "y"


def test_an_edge_that_nobody_leads_is_named(run: Run) -> None:
    mix = run.trace["mix"]
    try:
        run.trace["mix"] = mix.where(mix["edge"] != "normal:0→2", 0.0)
        frame = decisions_frame(run)
        assert frame["op"][0] == "no operation"
        assert "no operation" in [trace.name for trace in decisions(run).data]
    finally:
        run.trace["mix"] = mix


def test_a_search_without_steps_can_be_drawn(started: Run) -> None:
    assert decisions_frame(started).empty
    notes = [note.text for note in decisions(started).layout.annotations]
    assert "Nothing recorded yet" in notes
