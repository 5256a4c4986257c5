"""Operations that a new stage leaves out, that go in the first step, or after the last one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from tests.fakes import fake_run, fake_space
from workbench import analysis, comparison, plots
from workbench.events import Derived, EpochEnded, Pruned, SearchEvent, StageStarted, Stepped
from workbench.protocols import Clock
from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.trace import Run, open_run, record
from workbench.widgets.seen import progress

NONE, SKIP, CONV, POOL = "none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"
FIRST, SECOND = "normal:0→2", "normal:1→2"
GENOTYPE = Genotype((CellGenes("normal", 2, 1, (Gene(CONV, 1, 2),), (2,)),))


@dataclass(frozen=True)
class Stage:
    """Candidates, the mixing weights of every step, and what goes before and after which step."""

    ops: tuple[str, ...]
    walk: Sequence[Sequence[Sequence[float]]]
    within: Sequence[tuple[int, str, str]] = ()  # a step is told without it, as a step's pruner has
    behind: Sequence[tuple[int, str, str]] = ()  # a step is told with it, as an epoch's pruner has


def events_of(*stages: Stage) -> Iterator[SearchEvent]:
    """A search of two edges whose stages have an epoch each."""
    for index, stage in enumerate(stages):
        space = fake_space(("normal",), 1, stage.ops)
        rows = {edge: row for row, edge in enumerate(space.edge_names)}
        ops, steps = space.columns, len(stage.walk)
        clock = Clock(index, 0, 1, 0, steps)
        even = torch.full((2, len(ops)), 1 / len(ops))
        alive = torch.ones(2, len(ops), dtype=torch.bool)
        yield StageStarted(clock, space, *({"normal": x} for x in (0 * even, even, alive)), 9)
        for step, mix in enumerate(stage.walk):
            clock = Clock(index, 0, 1, step, steps)
            before, after = (
                [one for one in g if one[0] == step] for g in (stage.within, stage.behind)
            )
            for _, edge, op in before:
                alive[rows[edge], ops.index(op)] = False
            told = {"normal": even}, {"normal": torch.tensor(mix)}, {"normal": alive.clone()}
            yield Stepped(clock, {}, *told)
            for _, edge, op in (*before, *after):
                alive[rows[edge], ops.index(op)] = False
                yield Pruned(clock, edge, op, 0.0, "a rule")
        yield EpochEnded(clock, {}, 1.0, 1, GENOTYPE, 70, 80, int(alive.sum()))
    yield Derived(clock, GENOTYPE, {})


def run_of(path: Path, *stages: Stage) -> Run:
    list(record(events_of(*stages), path, meta={"method": "by hand"}))
    return open_run(path)


THREE = (NONE, SKIP, CONV)
WALK = [[[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]], [[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]]]


@pytest.fixture
def late(tmp_path: Path) -> Run:
    """The second edge keeps an operation, the first one `none`; it went after the last step."""
    gone = [(1, FIRST, SKIP), (1, FIRST, CONV), (1, SECOND, NONE)]
    return run_of(tmp_path / "late", Stage(THREE, WALK, behind=gone))


@pytest.fixture
def grown(tmp_path: Path) -> Run:
    """`none` goes and comes again, `max_pool_3x3` comes; one of them is pruned."""
    other = [[[0.4, 0.3, 0.3], [0.3, 0.4, 0.3]]] * 2
    return run_of(
        tmp_path / "grown",
        Stage(THREE, WALK),
        Stage((SKIP, CONV, POOL), other, within=[(1, FIRST, POOL)]),
        Stage((NONE, SKIP), [[[0.7, 0.3], [0.2, 0.8]]] * 2),
    )


def weight_crosses(run: Run) -> set[tuple[str, str, int]]:
    frame = plots.weight_evolution_frame(run)
    return {(row.edge, row.op, int(row.x)) for row in frame[frame["pruned"]].itertuples()}


def heat_crosses(run: Run) -> set[tuple[str, str]]:
    crosses = [trace for trace in plots.heat_map(run).data if isinstance(trace, go.Scatter)]
    return {(edge, op) for trace in crosses for op, edge in zip(trace.x, trace.y, strict=True)}


def test_what_a_new_stage_leaves_out_is_in_the_timeline(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", stages=3, prune=False)
    frame = plots.pruning_timeline_frame(run)
    edges = run.trace.sizes["edge"]
    assert frame["op"].tolist() == ["dil_conv_5x5"] * edges + ["dil_conv_3x3"] * edges
    assert frame["step"].tolist() == [15] * edges + [30] * edges
    assert frame["epoch"].tolist() == [3] * edges + [6] * edges
    assert frame["left"].tolist() == [7] * edges + [6] * edges
    assert set(frame["reason"]) == {"the next stage leaves it out"}
    last = run.trace["mix"].sel(step=14, op="dil_conv_5x5")
    assert frame["weight"].tolist()[:edges] == pytest.approx(last.to_numpy().tolist())
    fig = plots.pruning_timeline(run)
    marks = [trace for trace in fig.data if trace.mode == "markers"]
    assert sum(len(trace.x) for trace in marks) == 2 * edges
    assert fig.layout.title.subtitle.text == "operations gone: 20 left out by a new stage"
    assert "Nothing was pruned in this run" not in [n.text for n in fig.layout.annotations]
    assert {(edge, op) for edge, op, _ in weight_crosses(run)} == heat_crosses(run)
    assert heat_crosses(run) == set(zip(frame["edge"], frame["op"], strict=True))


def test_what_a_stage_brings_along_is_counted_among_what_is_left(grown: Run) -> None:
    frame = plots.pruning_timeline_frame(grown)
    own = frame[frame["edge"] == FIRST]
    assert list(zip(own["step"], own["op"], own["left"], strict=True)) == [
        (2, NONE, 3),  # of four, max_pool_3x3 among them
        (3, POOL, 2),
        (4, CONV, 2),  # none is there again
    ]
    assert own["reason"].tolist()[1] == "a rule"
    other = frame[frame["edge"] == SECOND]
    assert list(zip(other["step"], other["op"], other["left"], strict=True)) == [
        (2, NONE, 3),
        (4, CONV, 3),
        (4, POOL, 2),
    ]
    assert plots.pruning_timeline(grown).layout.title.subtitle.text == (
        "operations gone: 1 pruned, 5 left out by a new stage"
    )


def test_an_operation_that_comes_again_has_a_cross_and_a_gap(grown: Run) -> None:
    expected = {(FIRST, NONE, 1), (FIRST, POOL, 2), (FIRST, CONV, 3)}
    assert {cross for cross in weight_crosses(grown) if cross[0] == FIRST} == expected
    lines = plots.weight_evolution(grown).data
    (line,) = [t for t in lines if (t.meta, t.name, t.mode) == (FIRST, NONE, "lines")]
    np.testing.assert_allclose(line.y, [0.5, 0.6, np.nan, 0.7, 0.7], rtol=1e-6)
    frame = plots.weight_evolution_frame(grown, points=2)
    assert len(frame[frame["pruned"]]) == len(weight_crosses(grown))


def test_the_heat_map_crosses_what_a_later_stage_brought_and_lost(grown: Run) -> None:
    assert heat_crosses(grown) == {(edge, op) for edge in (FIRST, SECOND) for op in (CONV, POOL)}


def test_what_goes_in_the_first_step_is_a_point_with_its_cross(tmp_path: Path) -> None:
    walk = [[[0.0, 0.4, 0.6], [0.2, 0.3, 0.5]], WALK[1]]
    run = run_of(tmp_path / "run", Stage(THREE, walk, within=[(0, FIRST, NONE)]))
    assert (
        weight_crosses(run)
        == {(FIRST, NONE, 0)}
        == {
            (edge, op, step)
            for edge, op, step in run.prunings[["edge", "op", "step"]].itertuples(index=False)
        }
    )
    frame = plots.weight_evolution_frame(run)
    own = frame[(frame["edge"] == FIRST) & (frame["op"] == NONE)]
    assert own["value"].tolist() == pytest.approx([1 / 3])
    first = frame[(frame["edge"] == FIRST) & (frame["x"] == 0) & (frame["op"] != NONE)]
    assert sorted(first["rank"]) == [1, 2]  # among what is alive
    epochs = plots.weight_evolution_frame(run, x="epoch")
    assert epochs[epochs["pruned"]][["edge", "op", "x"]].to_numpy().tolist() == [[FIRST, NONE, 0]]
    crosses = [t for t in plots.weight_evolution(run).data if t.mode == "markers"]
    assert [(t.meta, t.name, list(t.x)) for t in crosses] == [(FIRST, NONE, [0])]


def test_prunings_after_the_last_step_are_in_every_count(late: Run) -> None:
    assert late.trace["alive"].isel(step=-1).all()
    assert late.latest["alive"].to_numpy().tolist() == [[True, False, False], [False, True, True]]
    np.testing.assert_allclose(late.latest["mix"], [[1, 0, 0], [0, 1 / 3, 2 / 3]], rtol=1e-6)
    line = analysis.summary(late)
    assert (line["alive_per_edge"], line["pruned_share"]) == (1.5, 0.5)
    (row,) = comparison.runs_frame([late]).to_dict("records")
    assert row["alive_per_edge"] == 1.5
    assert comparison.per_epoch(late, "alive_share").tolist() == [0.5]
    table = plots.summary_table_frame(late).set_index("name")["value"]
    assert table["pruned"] == "50 % of all candidates"
    alive = plots.alive_frame(late)
    assert list(zip(alive["step"], alive["alive"], strict=True)) == [(0, 6), (1, 3)]
    assert alive["alive"].iloc[-1] == plots.cost_frame(late)["alive"].iloc[-1]
    assert "3 operations alive on 2 edges" in progress(late).text
    assert "at the end, its prunings included" in (plots.dominance(late).layout.title.subtitle.text)


def test_prunings_after_the_last_step_are_in_every_picture(late: Run) -> None:
    gone = {(FIRST, SKIP), (FIRST, CONV), (SECOND, NONE)}
    assert {(edge, op) for edge, op, _ in weight_crosses(late)} == heat_crosses(late) == gone
    states = plots.cells_frame(late).set_index("edge")["state"]
    assert states.to_dict() == {
        SECOND: "chosen",
        FIRST: "pruned away",
        "normal:2→out": "output",
    }


def test_an_operation_that_is_alone_weighs_one_in_every_picture(late: Run) -> None:
    assert analysis.margins(late).to_numpy()[-1].tolist() == pytest.approx([1, 1 / 3])
    cells = plots.cells_frame(late).set_index("edge")["weight"]
    assert cells[SECOND] == pytest.approx(2 / 3)
    heat = plots.heat_map_frame(late).set_index(["step", "edge", "op"])["value"]
    assert heat[1, FIRST].to_dict() == {NONE: 1.0}
    ends = plots.support_frame(late).set_index(["measure", "step"])
    assert ends.loc[("support", 1), "mean"] == 1.5
    weights = analysis.dominance(late).groupby("step")["mean_weight"].sum()
    assert weights.tolist() == pytest.approx([1, 1])


def test_prunings_in_the_middle_are_behind_their_own_step(tmp_path: Path) -> None:
    after = [[0.7, 0.0, 0.3], [0.1, 0.3, 0.6]]
    run = run_of(tmp_path / "run", Stage(THREE, [WALK[0], after], behind=[(0, FIRST, SKIP)]))
    assert analysis.alive_share(run).to_numpy().tolist() == pytest.approx([5 / 6, 5 / 6])
    assert run.trace["alive"].sum(["edge", "op"]).values.tolist() == [6, 5], "the record stays"
    assert plots.alive_frame(run)["alive"].tolist() == [5, 5]
    heat = plots.heat_map_frame(run).set_index(["step", "edge", "op"])["value"]
    assert heat[0, FIRST].to_dict() == pytest.approx({NONE: 5 / 7, CONV: 2 / 7})
    assert heat[0, SECOND].to_dict() == pytest.approx({NONE: 0.2, SKIP: 0.3, CONV: 0.5})


def test_weights_that_need_not_sum_to_one_stay_as_they_are(tmp_path: Path) -> None:
    gates = [[[0.5, 0.5, 0.0], [0.9, 0.8, 0.7]]]  # the first edge's sum to one by chance
    run = run_of(tmp_path / "run", Stage(THREE, gates, behind=[(0, FIRST, SKIP)]))
    assert run.latest["mix"].sel(edge=FIRST).to_numpy().tolist() == [0.5, 0.0, 0.0]


def test_a_stage_that_has_just_begun_is_the_latest(tmp_path: Path) -> None:
    events = list(events_of(Stage(THREE, WALK), Stage((SKIP, CONV), [])))
    (begins,) = [n for n, e in enumerate(events) if isinstance(e, StageStarted) and n]
    list(record(iter(events[: begins + 1]), tmp_path / "run"))
    run = open_run(tmp_path / "run")
    assert (
        run.latest["alive"].sel(op=[NONE, SKIP, CONV]).to_numpy().tolist()
        == [[False, True, True]] * 2
    )
    assert plots.alive_frame(run).to_dict("list") == {
        "step": [0, 1, 2],
        "kind": ["normal"] * 3,
        "alive": [6, 6, 4],
    }
    assert plots.pruning_timeline_frame(run)["left"].tolist() == [2, 2]


def test_shares_of_a_space_that_grows_are_of_all_candidates_so_far(grown: Run) -> None:
    assert analysis.alive_share(grown).max() <= 1
    assert 0 <= analysis.summary(grown)["pruned_share"] <= 1
    assert plots.cost_frame(grown)["alive_share"].max() <= 1


def test_the_share_alive_is_of_the_candidates_of_the_stages_so_far(grown: Run) -> None:
    share = analysis.alive_share(grown).to_numpy()
    assert share.tolist() == [1, 1, 6 / 8, 5 / 8, 4 / 8, 4 / 8]
    assert comparison.per_epoch(grown, "alive_share").tolist() == share[1::2].tolist()
    assert plots.cost_frame(grown)["alive_share"].tolist() == share[1::2].tolist()


def test_a_mean_weight_is_of_the_candidates_of_the_stages_so_far(grown: Run) -> None:
    frame = analysis.dominance(grown).pivot_table(
        index="step", columns="op", values="mean_weight", dropna=False
    )
    assert frame[POOL].isna().tolist() == [True, True, False, False, False, False]
    assert frame[POOL].tolist()[2:] == pytest.approx([0.35, 0.15, 0, 0])  # at last it is left out
    assert frame[NONE].tolist()[1:] == pytest.approx([0.35, 0, 0, 0.45, 0.45])
    assert plots.dominance(grown).layout.yaxis2.title.text.endswith("where a candidate")


def test_what_went_after_the_last_step_decides_and_ends_the_curves(late: Run) -> None:
    decided = analysis.decision_step(late).set_index("edge")
    assert decided.loc[FIRST, "op"] == NONE
    assert analysis.entropy(late).sel(edge=FIRST).to_numpy()[-1] == 0
    assert late.trace["alive"].to_numpy()[-1].all(), "the record stays as it was"
    ends = analysis.none_and_skip(late).set_index("kind").loc["all"]
    for name in ("none_share", "skip_share", "alive_share"):
        assert comparison.per_epoch(late, name)[-1] == pytest.approx(ends[name])


def test_the_last_step_has_a_width(late: Run) -> None:
    frame = plots.dominance_frame(late)
    for area in (line for line in plots.dominance(late).data if line.stackgroup):
        own = frame[frame["op"] == area.name].set_index("step")["share"]
        assert area.x[-1] == own.index[-1] + 1
        assert area.y[-1] == area.y[-2] == pytest.approx(own.iloc[-1])
