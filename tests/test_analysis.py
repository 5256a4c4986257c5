"""Known answers on searches made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes import fake_events, fake_run, fake_space
from workbench import analysis, comparison
from workbench.events import EpochEnded, StageStarted, Stepped
from workbench.plots import dominance
from workbench.protocols import Clock
from workbench.trace import Run, open_run, record
from workbench.trace.folder import read_sealed, write_sealed

OPS = ("none", "skip_connect", "sep_conv_3x3")
EDGES = ("normal:0→2", "normal:1→2")

# step by step: both edges' mixing weights
WALK = [
    [[0.6, 0.3, 0.1], [0.2, 0.4, 0.4]],
    [[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]],
    [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]],
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]],
]


def made_by_hand(
    path: Path, walk: Sequence[object], candidates: Sequence[Sequence[bool]] = ((True,) * 3,) * 2
) -> Run:
    """A run of one node whose mixing weights are `walk`; what is zero is not alive."""
    space = fake_space(("normal",), 1, OPS)
    clocks = [Clock(0, 0, 1, step, len(walk)) for step in range(len(walk))]
    even, alive = torch.full((2, 3), 1 / 3), torch.tensor(candidates)
    zeros = {"normal": torch.zeros(2, 3)}
    start = StageStarted(
        Clock(0, 0, 1, 0, len(walk)), space, zeros, {"normal": even}, {"normal": alive}, 9
    )
    steps = []
    for clock, values in zip(clocks, walk, strict=True):
        mix = torch.tensor(values)
        steps.append(Stepped(clock, {}, zeros, {"normal": mix}, {"normal": mix > 0}))
    ended = EpochEnded(start.clock, {}, 1.0, 1, parameters=70, macs=80)
    list(record(iter([start, *steps, ended]), path, meta={"method": "by hand"}))
    return open_run(path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return made_by_hand(tmp_path / "run", WALK)


def test_dominance_counts_leaders_and_the_first_column_wins_a_tie_of_some(run: Run) -> None:
    frame = analysis.dominance(run)
    assert list(frame.columns) == ["step", "epoch", "kind", "op", "share", "mean_weight"]
    share = frame.pivot_table(index="step", columns="op", values="share")[list(OPS)].to_numpy()
    assert share.tolist() == [[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 0.5], [0, 0.5, 0]]
    weight = frame.pivot_table(index="step", columns="op", values="mean_weight")[list(OPS)]
    np.testing.assert_allclose(weight.to_numpy(), np.mean(WALK, axis=1), rtol=1e-6)


def test_a_mean_weight_is_over_the_edges_of_which_the_operation_is_a_candidate(
    tmp_path: Path,
) -> None:
    walk = [[[0.6, 0.0, 0.4], [0.2, 0.6, 0.2]], [[0.6, 0.0, 0.4], [0.5, 0.0, 0.5]]]
    run = made_by_hand(tmp_path / "run", walk, [[True, False, True], [True, True, True]])
    frame = analysis.dominance(run).pivot_table(index="step", columns="op", values="mean_weight")
    assert frame[list(OPS)].loc[0].tolist() == pytest.approx([0.4, 0.6, 0.3])
    assert frame["skip_connect"].tolist() == pytest.approx([0.6, 0])  # pruned at last
    share = analysis.dominance(run).pivot_table(index="step", columns="op", values="share")
    assert share["skip_connect"].tolist() == [0.5, 0]  # of both edges
    ends = analysis.none_and_skip(
        made_by_hand(tmp_path / "one", walk[:1], [[True, False, True]] * 2)
    )
    assert ends["skip_weight"].isna().all()
    assert ends["none_weight"].tolist() == pytest.approx([0.4, 0.4])


def test_dominance_over_all_is_the_mean_of_kinds_with_as_many_edges(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    kinds = analysis.dominance(run).groupby(["step", "op"])[["share", "mean_weight"]].mean()
    whole = analysis.dominance(run, by="all").set_index(["step", "op"])[["share", "mean_weight"]]
    np.testing.assert_allclose(whole.sort_index().to_numpy(), kinds.sort_index().to_numpy(), 1e-6)
    sums = analysis.dominance(run).groupby(["step", "kind"])["share"].sum()
    np.testing.assert_allclose(sums.to_numpy(), 1.0)


def test_entropy_is_zero_when_decided_and_unknown_when_nothing_is_left(run: Run) -> None:
    entropy = analysis.entropy(run)
    assert entropy.dims == ("step", "edge")
    first = -sum(p * math.log(p) for p in (0.6, 0.3, 0.1))
    np.testing.assert_allclose(entropy.sel(step=0, edge=EDGES[0]), first, rtol=1e-6)
    np.testing.assert_allclose(entropy.sel(step=2, edge=EDGES[0]), math.log(2), rtol=1e-6)
    assert entropy.sel(step=2, edge=EDGES[1]).item() == 0
    assert math.isnan(entropy.sel(step=3, edge=EDGES[1]).item())


def test_entropy_does_not_depend_on_the_scale_of_the_weights(tmp_path: Path) -> None:
    run = made_by_hand(tmp_path / "run", [[[2.0, 2.0, 2.0], [0.5, 0.5, 0.0]]])
    np.testing.assert_allclose(analysis.entropy(run).to_numpy(), [[math.log(3), math.log(2)]])


def test_support_counts_exact_zeros_as_gone(run: Run) -> None:
    frame = analysis.support(run)
    counts = frame.pivot_table(index="step", columns="edge", values="support")[list(EDGES)]
    assert counts.to_numpy().tolist() == [[3, 3], [3, 3], [2, 1], [1, 0]]
    assert (frame["alive"] == frame["support"]).all()


def test_margins_are_the_lead_over_the_second(run: Run) -> None:
    margins = analysis.margins(run).to_numpy()
    expected = [[0.3, 0.0], [0.2, 0.5], [0.0, 1.0], [1.0, np.nan]]
    np.testing.assert_allclose(margins, expected, atol=1e-7)


def test_rank_switches_count_changes_of_the_leader(run: Run) -> None:
    frame = analysis.rank_switches(run)
    assert frame["edge"].tolist() == list(EDGES)
    assert frame["switches"].tolist() == [3, 2]  # none skip (nobody) skip; skip sep sep (nobody)


def test_the_decision_step_is_the_first_of_the_last_leader(tmp_path: Path) -> None:
    back = [[0.5, 0.5, 0.1], [0.0, 0.0, 1.0]]
    run = made_by_hand(tmp_path / "run", [*WALK[:2], back])
    frame = analysis.decision_step(run)
    assert frame["op"].tolist() == ["none", "sep_conv_3x3"]
    assert frame["step"].tolist() == [2, 1]
    steady = made_by_hand(tmp_path / "steady", WALK[:1] * 4)
    assert analysis.decision_step(steady)["step"].tolist() == [0, 0]


def test_an_edge_without_operations_is_decided_for_none_of_them(run: Run) -> None:
    frame = analysis.decision_step(run)
    assert frame["step"].tolist() == [3, 3]
    assert frame["op"].isna().tolist() == [False, True]


def test_none_and_skip_describe_the_end(run: Run) -> None:
    frame = analysis.none_and_skip(run).set_index("kind")
    assert frame.index.tolist() == ["normal", "all"]
    for kind in frame.index:
        row = frame.loc[kind]
        assert (row["none_share"], row["skip_share"]) == (0.0, 0.5)
        assert (row["none_weight"], row["skip_weight"]) == (0.0, 0.5)
        assert (row["alive"], row["alive_share"]) == (1, 1 / 6)


def test_an_edge_whose_weights_all_are_equal_is_led_by_nobody(tmp_path: Path) -> None:
    walk = [[[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]], [[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]]
    run = made_by_hand(tmp_path / "run", walk)
    share = analysis.dominance(run).pivot_table(index="step", columns="op", values="share")
    assert share[list(OPS)].to_numpy().tolist() == [[0, 0, 0], [0.5, 0, 0]]
    end = analysis.none_and_skip(run).iloc[-1]
    assert (end["none_share"], end["tied_share"]) == (0.5, 0.5)
    assert analysis.decision_step(run)["op"].isna().tolist() == [True, False]
    said = dominance(run).layout.title.subtitle.text
    assert "all weights are equal on 50 % of edges: nobody leads them" in said


def test_a_search_that_has_not_moved_is_led_by_nobody(tmp_path: Path) -> None:
    run = made_by_hand(tmp_path / "run", [])
    assert analysis.summary(run)["none_share"] == 0
    assert analysis.none_and_skip(run)["tied_share"].tolist() == [1, 1]


def test_a_walk_says_that_unused_edges_are_nones(tmp_path: Path) -> None:
    meta = {"method": {"name": "random_search", "proposal": "RandomGenotypes()"}}
    said = "an edge that the best genotype leaves out counts as none's"
    assert said in dominance(fake_run(tmp_path / "walk", meta=meta)).layout.title.subtitle.text
    assert said not in dominance(fake_run(tmp_path / "run")).layout.title.subtitle.text


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        ([], 12.0),  # its last step so far
        ([5.0], 12.0),  # what the first epoch did behind its last step is in the next one's times
        ([5.0, 40.0], 45.0),  # 40 s of the second epoch behind 5 of the first
        ([5.0, 4.0], 12.0),  # the second one began late: something lay between them
        ([2.0, 12.0], 15.0),  # the first one ended with its last step at the soonest
        ([5.0, math.nan], 12.0),
    ],
)
def test_search_time_has_what_an_epoch_does_behind_its_last_step(
    tmp_path: Path, ended: list[float], expected: float
) -> None:
    run = fake_run(tmp_path / "run", epochs=2, steps_per_epoch=3, evaluated=False)
    clock = ("step", [1.0, 2.0, 3.0, 10.0, 11.0, 12.0])
    known = {"trace": run.trace.assign_coords(seconds=clock)}
    known["epochs"] = run.epochs.iloc[: len(ended)].assign(seconds=ended)
    vars(run).update(known)
    assert analysis.summary(run)["seconds"] == expected
    assert analysis.summary(run.at_epoch_ends())["seconds"] == expected
    assert comparison.runs_frame([run])["seconds"].tolist() == [expected]


def test_a_recorded_search_counts_what_follows_its_last_step(tmp_path: Path) -> None:
    events = list(fake_events(epochs=1))
    ended = [replace(e, seconds=46.0) if isinstance(e, EpochEnded) else e for e in events]
    list(record(iter(ended), tmp_path / "run"))
    run = open_run(tmp_path / "run")
    assert float(run.trace["seconds"][-1]) < 46
    assert analysis.summary(run)["seconds"] == 46


def test_a_space_without_none_has_no_share_of_it(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", ops=("skip_connect", "sep_conv_3x3"))
    assert (analysis.none_and_skip(run)["none_share"] == 0).all()


def test_the_alive_share_is_of_the_first_stages_candidates(tmp_path: Path, run: Run) -> None:
    assert analysis.alive_share(run).to_numpy().tolist() == [1.0, 1.0, 0.5, 1 / 6]
    staged = fake_run(tmp_path / "staged", stages=2, prune=False)
    assert set(analysis.alive_share(staged).to_numpy().tolist()) == {1.0, 7 / 8}


def test_the_summary_says_what_is_known(tmp_path: Path, run: Run) -> None:
    line = analysis.summary(run)
    assert line["method"] == "by hand"
    assert line["space"] is None
    assert line["test_accuracy"] is None
    assert line["genotype"] is None
    assert (line["steps"], line["epochs"]) == (4, 1)
    assert (line["parameters"], line["macs"]) == (70, 80)
    assert line["alive_per_edge"] == 0.5
    assert line["pruned_share"] == pytest.approx(5 / 6)
    whole = fake_run(tmp_path / "whole")
    line = analysis.summary(whole)
    assert whole.genotype is not None
    assert line["genotype"] == str(whole.genotype)
    assert line["op_counts"] == whole.genotype.op_counts()
    assert (line["parameters"], line["test_accuracy"]) == (54321, pytest.approx(80 / 89))


@pytest.mark.parametrize("died", [False, True])
def test_nothing_fails_before_the_first_step(tmp_path: Path, *, died: bool) -> None:
    run = fake_run(tmp_path / "run", epochs=0, evaluated=False)
    if died:
        (run.path / "events.jsonl").unlink()
        header = read_sealed(run.path / "run.json")
        write_sealed(run.path / "run.json", {**header, "events": 0, "steps": {}})
        run = run.refresh()
    assert analysis.dominance(run).empty
    assert analysis.support(run).empty
    assert analysis.decision_step(run).empty
    assert analysis.entropy(run).size == analysis.margins(run).size == 0
    assert (analysis.rank_switches(run)["switches"] == 0).all()
    assert analysis.alive_share(run).size == 0
    assert analysis.none_and_skip(run).iloc[-1]["alive_share"] == (0.0 if died else 1.0)
    assert analysis.summary(run)["steps"] == 0
