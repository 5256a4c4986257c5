from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import fake_run
from workbench.plots import dominance, heat_map, heat_map_frame, theme
from workbench.report import figure_place
from workbench.trace import Run


def test_the_frame_holds_what_is_alive_with_its_rank(run: Run) -> None:
    frame = heat_map_frame(run)
    alive = run.trace["alive"]
    assert len(frame) == int(alive.sum())
    assert list(frame.columns) == ["step", "epoch", "kind", "edge", "op", "value", "rank"]
    for (step, edge), part in frame.loc[frame["step"] >= 12].groupby(
        ["step", "edge"], observed=True
    ):
        mix = run.trace["mix"].sel(step=step, edge=edge)
        assert part["value"].tolist() == pytest.approx(mix.sel(op=list(part["op"])).values)
        assert sorted(part["rank"]) == list(range(1, len(part) + 1))
        assert part.sort_values("rank")["value"].is_monotonic_decreasing
        assert set(part["kind"]) == {str(edge).split(":")[0]}


def test_few_moments_are_evenly_spaced_and_the_ends_stay(run: Run) -> None:
    assert heat_map_frame(run, frames=3)["step"].unique().tolist() == [0, 7, 14]
    assert set(heat_map_frame(run, kind="reduce", frames=2)["kind"]) == {"reduce"}


def test_the_last_step_is_shown_first_and_the_slider_knows(run: Run) -> None:
    fig = heat_map(run, frames=5)
    assert [frame.name for frame in fig.frames] == ["0", "4", "7", "10", "14"]
    slider = fig.layout.sliders[0]
    assert [list(step.args[0]) for step in slider.steps] == [["0"], ["4"], ["7"], ["10"], ["14"]]
    assert slider.steps[slider.active].label == "14 (epoch 2)"
    last = run.trace.isel(step=-1)
    own = (run.trace["kind"] == "normal").values
    expected = last["mix"].where(last["alive"]).values[own]
    np.testing.assert_allclose(np.array(fig.data[0].z), expected, rtol=1e-6)
    np.testing.assert_array_equal(np.array(fig.frames[-1].data[0].z), np.array(fig.data[0].z))


def test_of_a_single_moment_the_subtitle_says_which(tmp_path: Path) -> None:
    fig = heat_map(fake_run(tmp_path / "run", epochs=1, steps_per_epoch=1))
    assert not fig.layout.sliders
    assert fig.layout.title.subtitle.text.endswith("never a candidate; after step 0 (epoch 0)")


def test_a_heat_map_redraws_at_every_moment(run: Run) -> None:
    play, pause = heat_map(run).layout.updatemenus[0].buttons
    assert play.args[0] is None
    assert play.args[1]["frame"]["redraw"] is True
    assert list(pause.args[0]) == [None]


def test_what_was_pruned_is_a_cross_and_no_zero(run: Run) -> None:
    fig = heat_map(run)
    crosses = [trace for trace in fig.data if trace.type == "scatter"]
    seen = {(edge, op) for trace in crosses for op, edge in zip(trace.x, trace.y, strict=True)}
    gone = run.prunings
    assert seen == set(zip(gone["edge"], gone["op"], strict=True))
    heats = [trace for trace in fig.data if trace.type == "heatmap"]
    for edge, op in seen:
        heat = next(heat for heat in heats if edge in heat.y)
        z = np.array(heat.z)
        assert np.isnan(z[list(heat.y).index(edge), list(heat.x).index(op)])


def test_what_never_was_a_candidate_is_empty(unpruned: Run) -> None:
    first = unpruned.initial["alive"].copy(data=unpruned.initial["alive"].values)
    first[0, 0] = False
    unpruned.initial["alive"], kept = first, unpruned.initial["alive"]
    alive = unpruned.trace["alive"]
    try:
        unpruned.trace["alive"] = alive.where((alive["edge"] != first["edge"][0]), False)
        crosses = heat_map(unpruned).data[1]
        assert len(crosses.x) == alive.sizes["op"] - 1
        assert first["op"].values[0] not in crosses.x
    finally:
        unpruned.initial["alive"], unpruned.trace["alive"] = kept, alive


def test_alpha_is_centred_on_zero_and_mixing_weights_start_there(run: Run) -> None:
    alpha, mix = (heat_map(run, value=value).layout.coloraxis for value in ("alpha", "mix"))
    assert alpha.cmin == -alpha.cmax
    assert mix.cmin == 0
    top = np.abs(run.trace["alpha"].where(run.trace["alive"])).max()
    assert alpha.cmax == pytest.approx(float(top))
    assert [colour for _, colour in alpha.colorscale] == theme.DIVERGING
    assert "logit" in alpha.colorbar.title.text


def test_weights_that_are_nearly_the_same_are_told_apart(run: Run) -> None:
    near = run.trace.assign(mix=(0.125 + run.trace["mix"] / 100).where(run.trace["alive"], 0))
    other = Run(run.path)
    vars(other).update(vars(run) | {"trace": near})
    scale, weights = heat_map(other).layout.coloraxis, heat_map_frame(other)["value"]
    assert scale.cmin == weights.min() > 0.124
    assert scale.cmax == weights.max()
    low, high = dominance(other).layout.yaxis3.range
    assert high / 2 < low < high


def test_kinds_stand_beside_each_other(run: Run, unpruned: Run) -> None:
    assert [note.text for note in heat_map(run).layout.annotations] == [
        "normal cell",
        "reduce cell",
    ]
    assert len(heat_map(unpruned).data) == 2


def test_a_search_without_steps_can_be_drawn(started: Run) -> None:
    assert heat_map_frame(started).empty
    fig = heat_map(started)
    assert "Nothing recorded yet" in [note.text for note in fig.layout.annotations]
    assert not fig.frames


def test_the_report_keeps_the_moments(run: Run) -> None:
    text = figure_place(json.loads(heat_map(run, frames=4).to_json()))
    figure = json.loads(text.split('type="application/json">')[1].split("</script>")[0])
    assert [frame["name"] for frame in figure["frames"]] == ["0", "5", "9", "14"]
