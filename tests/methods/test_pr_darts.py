"""PR-DARTS: the released scripts' figures, and nine cycles from end to end."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from tests.tiny import READABLE, READABLE64, SPACES, play, searched, shrunk, start, steps, tiny_data
from workbench import methods
from workbench.events import Derived, SearchEvent, StageStarted
from workbench.method import Method
from workbench.parts.morphisms import (
    DARTS_LIKE,
    DEPTH_RESTRICTED,
    UNRESTRICTED,
    Primitives,
    PruneAndMorph,
)
from workbench.protocols import Clock
from workbench.search import search
from workbench.spaces.genotype import Genotype
from workbench.spaces.morph_ops import Limits, separable
from workbench.spaces.space import Space

NAMES = ("pr_darts", "pr_darts_depth_restricted", "pr_darts_unrestricted")
STAGES = methods.pr_darts.stages
EDGE_OPS = (4, 6, 6, 6, 6, 6, 4, 3, 2)  # after the last stage the best one is derived


@cache
def events_of(name: str, space: str) -> list[SearchEvent]:
    return searched(shrunk(getattr(methods, name), batch_size=12), SPACES[space], machine=READABLE)


def spaces(events: list[SearchEvent]) -> list[Space]:
    return [event.space for event in events if isinstance(event, StageStarted)]


def test_nine_cycles_of_100_epochs_with_their_graces() -> None:
    assert [stage.epochs for stage in STAGES] == [15, 15, *[10] * 7]
    assert sum(stage.epochs for stage in STAGES) == 100
    for stage, grace in zip(STAGES, [5, 5, *[3] * 7], strict=True):
        clocks = [Clock(0, epoch, stage.epochs, 0, 1) for epoch in range(stage.epochs)]
        only_weights = [stage.schedule(clock) == ("weights",) for clock in clocks]
        assert only_weights == [True] * grace + [False] * (stage.epochs - grace)


def test_the_learning_rate_falls_from_025_towards_01_in_every_cycle() -> None:
    for stage in STAGES:
        rates = [stage.weight_optimizer.lr_at(epoch / stage.epochs) for epoch in range(10)]
        assert rates[0] == pytest.approx(0.025)
        assert rates == sorted(rates, reverse=True)
        assert stage.weight_optimizer.lr_at(1.0) == pytest.approx(0.01)


def test_other_figures_of_the_scripts() -> None:
    for index, stage in enumerate(STAGES):
        assert stage.name == "search", "settings reach every cycle"
        assert stage.init is not None, "alphas start anew"
        assert (stage.carry is None) == (index == 0), "weights do not"
        group = stage.arch_optimizer([torch.zeros(1)]).param_groups[0]
        assert (group["lr"], group["betas"], group["weight_decay"]) == (6e-4, (0.5, 0.999), 1e-3)
        assert (stage.train_portion, stage.weight_optimizer.clip) == (0.5, 5.0)


@pytest.mark.parametrize(
    ("name", "limits"),
    list(zip(NAMES, (DARTS_LIKE, DEPTH_RESTRICTED, UNRESTRICTED), strict=True)),
)
def test_the_three_scripts_differ_in_their_limits_alone(name: str, limits: Limits) -> None:
    counts = [(3, 3)] * 5 + [(4, 0), (3, 0), (2, 0)]
    rules = [stage.reshape for stage in getattr(methods, name).stages]
    assert rules == [Primitives(), *[PruneAndMorph(*count, limits) for count in counts]]


def test_a_setting_reaches_every_cycle() -> None:
    assert {stage.epochs for stage in methods.pr_darts.but(epochs=2).stages} == {2}


def test_fewer_epochs_keep_the_proportion_of_cycles_and_graces() -> None:
    stages = methods.pr_darts.lasting(20).stages
    assert [stage.epochs for stage in stages] == [3, 3, *[2] * 7]
    assert [stage.schedule.warmup_epochs for stage in stages] == [1] * 9


@pytest.mark.parametrize(
    "name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.long) for name in NAMES[1:])]
)
def test_a_darts_edge_has_the_published_number_of_operations_unless_there_is_no_other_morph(
    name: str,
) -> None:
    full = 0
    for index, space in enumerate(spaces(events_of(name, "darts"))):
        for row in (row for cell in space.cells for row in cell.ops):
            full += len(row) == EDGE_OPS[index]
            if len(row) != EDGE_OPS[index]:
                limits = getattr(methods, name).stages[index].reshape.limits
                parents = [what for op in row[:3] if (what := separable(op))]
                assert {m.name for what in parents for m in what.morphs(limits).values()} <= {*row}
    assert full > 0.9 * 4 * len(EDGE_OPS)


@pytest.mark.parametrize(
    ("name", "space"),
    [
        pytest.param(name, space, marks=[pytest.mark.long] if name != NAMES[0] and other else [])
        for name in NAMES
        for other, space in enumerate(SPACES)
    ],
)
def test_every_edge_keeps_a_convolution_and_the_genotype_is_of_the_last_space(
    name: str, space: str
) -> None:
    events = events_of(name, space)
    for found in spaces(events):
        assert all(any(map(separable, row)) for cell in found.cells for row in cell.ops)
    assert isinstance(events[-1], Derived)
    genotype = events[-1].genotype
    assert Genotype.parse(str(genotype)) == genotype
    for cell in genotype.cells:
        shape = spaces(events)[-1].cell(cell.kind)
        assert all(g.op in shape.ops[shape.edges.index((g.src, g.dst))] for g in cell.genes)


@pytest.mark.parametrize("name", NAMES)
def test_candidates_are_kept_ones_and_morphs_of_kept_ones(name: str) -> None:
    found = spaces(events_of(name, "darts"))
    limits = [stage.reshape.limits for stage in getattr(methods, name).stages[1:]]
    for before, after, bounds in zip(found, found[1:], limits, strict=False):
        for cell in before.cells:
            for old, new in zip(cell.ops, after.cell(cell.kind).ops, strict=True):
                kept = [what for op in new if op in old and (what := separable(op))]
                children = {m.name for what in kept for m in what.morphs(bounds).values()}
                assert set(new) - set(old) <= children


def test_mixing_weights_are_0_where_an_edge_has_no_such_candidate() -> None:
    events = events_of("pr_darts", "darts")
    by_stage = spaces(events)
    widths = set()
    for event in steps(events):
        for cell in by_stage[event.clock.stage].cells:
            candidates = torch.tensor(cell.candidates)
            assert torch.equal(event.alive[cell.kind], candidates)
            assert (event.mix[cell.kind][~candidates] == 0).all()
            assert (event.mix[cell.kind][candidates] > 0).all()
            widths.add(len(cell.columns))
    assert len(widths) > 2, "edges go their own ways"


def test_the_same_seed_draws_the_same_operations_and_another_seed_others() -> None:
    method = shrunk(methods.pr_darts, batch_size=24)
    runs = [
        spaces(list(search(method, SPACES["darts"], tiny_data(), machine=READABLE, seed=seed)))
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_weights_go_on_from_cycle_to_cycle_and_alphas_do_not() -> None:
    method: Method = shrunk(methods.pr_darts, batch_size=24)
    space = Primitives()(SPACES["darts"], None)
    first = start(method, space, machine=READABLE64)
    play(first)
    rule = method.stages[1].reshape
    assert rule is not None
    second = start(
        method, rule(space, first.view(first.clock)), machine=READABLE64, index=1, before=first
    )
    old, new = dict(first.net.named_parameters()), dict(second.net.named_parameters())
    for kept in ("stem.first.0.weight", "head.classifier.0.bias", "blocks.0.preprocess.0.1.weight"):
        assert torch.equal(old[kept], new[kept])
    assert all(rows.abs().max() < 0.01 for rows in second.arch.snapshot().values())
