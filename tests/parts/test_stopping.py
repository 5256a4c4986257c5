"""When a search ends early: scripted epochs, and the searches that stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from tests.tiny import READABLE, SPACES, assert_same, searched, shrunk, steps, trajectory
from workbench import methods
from workbench.events import EpochEnded, Stopped
from workbench.parts.stopping import EigenvalueRise, ModelSize, SkipCount, StableRanking
from workbench.protocols import Clock, StopRule, View
from workbench.spaces.darts import darts
from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import Space

NAMES = ("darts_plus", "darts_plus_ranking", "robust_darts")


def view(space: Space, **fields: object) -> View:
    """A view of whatever a rule reads."""
    alive = {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}
    return View(Clock(0, 0, 50, 0, 50), space, {}, {}, alive, **fields)


def stops_after(rule: StopRule, space: Space, field: str, script: Sequence[object]) -> int | None:
    """After how many epochs of a script the rule stops, asked after every one."""
    told = (rule(view(space, **{field: script[:n]})) for n in range(1, len(script) + 1))
    return next((n for n, reason in enumerate(told, start=1) if reason), None)


def derived(normal: Sequence[str], reduce: Sequence[str]) -> EpochEnded:
    """An epoch whose genotype has these operations in its cells of one node."""
    cells = (("normal", normal), ("reduce", reduce))
    genes = [
        CellGenes(kind, 2, 1, tuple(Gene(op, i, 2) for i, op in enumerate(ops)), (2,))
        for kind, ops in cells
    ]
    return EpochEnded(Clock(0, 0, 1, 0, 1), {}, 0.0, 0, Genotype(tuple(genes)))


CONV, SKIP = "sep_conv_3x3", "skip_connect"


def test_two_skips_in_the_normal_cell_stop_and_in_the_reduction_cell_do_not() -> None:
    none, one, two = [CONV, CONV], [CONV, SKIP], [SKIP, SKIP]
    space = darts(nodes=1)
    script = [derived(*x) for x in ((none, two), (one, two), (none, none), (two, one), (two, two))]
    assert stops_after(SkipCount(), space, "ended", script) == 4
    assert stops_after(SkipCount(most=2), space, "ended", script) is None
    assert stops_after(SkipCount(most=0), space, "ended", script) == 2
    assert stops_after(SkipCount(grace_epochs=4), space, "ended", script) == 5


def mixes(space: Space, orders: Sequence[Sequence[int]]) -> list[dict[str, torch.Tensor]]:
    """Weights whose rows rise in each of these orders of the columns."""
    (cell,) = space.cells
    rows = [torch.tensor(order, dtype=torch.float32).argsort().float() for order in orders]
    return [{cell.kind: row.expand(len(cell.edges), -1)} for row in rows]


def test_a_ranking_of_convolutions_that_stands_still_stops_whatever_the_others_do() -> None:
    space = nasbench201(nodes=1)  # none, skip, 1x1, 3x3, pool
    rises = (0, 1, 2, 3, 4), (4, 1, 2, 0, 3)  # from lowest to highest: 1x1 before 3x3
    falls = (0, 1, 4, 3, 2), (1, 0, 3, 4, 2)
    script = mixes(space, [rises[0], *falls, rises[0], rises[1], rises[0], rises[1]])
    assert script[4]["cell"][0].tolist() == [3, 1, 2, 4, 0]
    assert stops_after(StableRanking(patience_epochs=2), space, "history", script) == 6
    assert stops_after(StableRanking(patience_epochs=10), space, "history", script) is None


def test_ten_epochs_of_patience_are_eleven_equal_rankings() -> None:
    space = nasbench201(nodes=1)
    assert stops_after(StableRanking(), space, "history", mixes(space, [range(5)] * 20)) == 11


def test_one_learnable_operation_has_no_ranking_to_stand_still() -> None:
    space = nasbench201(nodes=1, ops=("none", "skip_connect", "nor_conv_3x3"))
    script = mixes(space, [range(3)] * 20)
    assert stops_after(StableRanking(), space, "history", script) is None


def measured(values: Sequence[float]) -> list[EpochEnded]:
    return [
        EpochEnded(Clock(0, epoch, 50, 0, 50), {"hessian_eigenvalue": value}, 0.0, 0)
        for epoch, value in enumerate(values)
    ]


def test_an_eigenvalue_that_rises_by_more_than_the_factor_over_delta_stops() -> None:
    space = darts()
    slow = [1.05**epoch for epoch in range(50)]  # 1.22 in four epochs
    fast = [1.08**epoch for epoch in range(50)]  # 1.36
    assert stops_after(EigenvalueRise(), space, "ended", measured(slow)) is None
    # e - delta is 10 first when e is 14, whose window ends with epoch 16, the 17th
    assert stops_after(EigenvalueRise(), space, "ended", measured(fast)) == 17
    late = [1.0] * 30 + [2.0] * 20
    # two of five epochs at 2 against none of five: 1.4; one of five is 1.2
    assert stops_after(EigenvalueRise(), space, "ended", measured(late)) == 32
    assert "epoch 25" in str(EigenvalueRise()(view(space, ended=measured(late[:32]))))
    spike = [1.0] * 20 + [2.4] + [1.0] * 29  # one epoch is averaged away
    assert stops_after(EigenvalueRise(), space, "ended", measured(spike)) is None
    alone = EigenvalueRise(window_epochs=1)
    assert stops_after(alone, space, "ended", measured(spike)) == 21


def test_eigenvalues_that_are_not_positive_have_no_ratio() -> None:
    up = measured([-1.0] * 20 + [1.0] * 20)
    # the earlier window's mean is positive when three of its five epochs are: from epoch 22 on
    assert stops_after(EigenvalueRise(), darts(), "ended", up) == 22 + 4 + 1
    assert stops_after(EigenvalueRise(), darts(), "ended", measured([-1.0, -2.0] * 20)) is None
    with pytest.raises(ValueError, match="HessianEigenvalue"):
        EigenvalueRise()(view(darts(), ended=[replace(up[0], scalars={})]))


@pytest.mark.parametrize(
    "build",
    [
        lambda: SkipCount(most=-1),
        lambda: StableRanking(patience_epochs=0),
        lambda: EigenvalueRise(window_epochs=0),
        lambda: EigenvalueRise(delta_epochs=0),
        lambda: EigenvalueRise(factor=0.0),
    ],
)
def test_an_impossible_rule_is_refused(build) -> None:
    with pytest.raises(ValueError, match="needs"):
        build()


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_that_never_fires_leaves_darts_as_it_is(name) -> None:
    method = methods.named()[name].but(stop=None)
    plain = searched(shrunk(methods.darts, epochs=2), SPACES["darts"], machine=READABLE)
    ours = searched(shrunk(method, epochs=2), SPACES["darts"], machine=READABLE)
    told = [
        {key: value for key, value in state.items() if key != "hessian_eigenvalue"}
        for state in trajectory(ours)
    ]
    assert_same(trajectory(plain), told)


@pytest.mark.parametrize(
    "rule", [SkipCount(most=0), StableRanking(1), EigenvalueRise(1, 0, 1, factor=1e-9)]
)
def test_what_is_derived_is_of_the_epoch_that_stops(rule) -> None:
    parent = methods.robust_darts if isinstance(rule, EigenvalueRise) else methods.darts
    stage = replace(shrunk(parent, epochs=30).stages[0], stop=rule, batch_size=24)
    space = darts(channels=4, cells=3, nodes=1, ops=("skip_connect", CONV, "sep_conv_5x5"))
    method = replace(parent, stages=(stage,))
    events = searched(method, space, machine=READABLE)
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert isinstance(events[-2], Stopped)
    assert len(ended) < 30
    assert events[-1].genotype == ended[-1].genotype


def test_epochs_of_the_rules_follow_the_stage() -> None:
    rule = methods.robust_darts.lasting(25).stages[0].stop
    assert rule == EigenvalueRise(window_epochs=2, start_epochs=5, delta_epochs=2)
    assert methods.darts_plus_ranking.lasting(5).stages[0].stop == StableRanking(1)


# The size of the network


SIZED_AT = Clock(0, 0, 10, 0, 100)


def sized(*sizes: int | None) -> View:
    """After so many epochs, whose derived networks had these sizes."""
    ended = tuple(EpochEnded(SIZED_AT, {}, 1.0, 1, parameters=size) for size in sizes)
    return View(SIZED_AT, SPACES["darts"], {}, {}, {}, ended=ended)


def test_a_script_stops_at_the_first_epoch_that_is_small_enough() -> None:
    sizes, rule = (900, 1000, 501, 500, 499, 700), ModelSize(500)
    reasons = [rule(sized(*sizes[: n + 1])) for n in range(len(sizes))]
    assert [reason is not None for reason in reasons] == [False] * 3 + [True, True, False]
    assert "500 parameters" in reasons[3]


def test_without_a_size_nothing_stops() -> None:
    assert ModelSize()(sized(3, 2, 1)) is None


@pytest.mark.parametrize("state", [sized(), sized(None)])
def test_before_there_is_a_network_nothing_stops(state: View) -> None:
    assert ModelSize(10**9)(state) is None


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`ModelSize\(parameters=0\)` needs 1 or more"):
        ModelSize(0)


def test_a_search_ends_with_the_epoch_whose_network_is_small_enough() -> None:
    method = shrunk(methods.darts, epochs=2, batch_size=12)
    whole = searched(method, SPACES["darts"])
    sizes = [event.parameters for event in whole if isinstance(event, EpochEnded)]
    assert len(sizes) == 2
    for size, epochs in ((sizes[0], 1), (min(sizes) - 1, 2)):
        events = searched(method.but(stop=ModelSize(size)), SPACES["darts"])
        stops = [replace(event.clock, step=0) for event in events if isinstance(event, Stopped)]
        assert stops == [Clock(0, 0, 2, 0, 4)] * (2 - epochs)
        assert len(steps(events)) == 2 * epochs
