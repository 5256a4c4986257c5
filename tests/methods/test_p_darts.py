"""P-DARTS: the paper's figures, and three stages from end to end."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from tests.spaces.supernets import weights
from tests.tiny import READABLE, SPACES, searched, shrunk, steps
from workbench import methods
from workbench.events import Derived, SearchEvent, StageStarted, Stepped
from workbench.parts.edges import WeightedSum
from workbench.parts.schedules import scalar_at
from workbench.protocols import Clock
from workbench.spaces.darts import OPS, darts
from workbench.spaces.supernet import Supernet

BOTH = pytest.mark.parametrize("space", SPACES)
STAGES = methods.p_darts.stages


@cache
def events_of(space: str) -> list[SearchEvent]:
    method = shrunk(methods.p_darts_small, epochs=3, batch_size=12)
    return searched(method, SPACES[space], machine=READABLE)


def started(space: str) -> list[StageStarted]:
    return [event for event in events_of(space) if isinstance(event, StageStarted)]


def test_three_stages_of_25_epochs_have_the_released_figures() -> None:
    for stage in STAGES:
        assert (stage.name, stage.epochs, stage.batch_size) == ("search", 25, 96)
        rates = [stage.weight_optimizer.lr_at(progress) for progress in (0.0, 1.0)]
        assert rates == pytest.approx([0.025, 0.0])
        assert stage.arch_optimizer.lr == 6e-4
        moves = ["arch" in stage.schedule(Clock(0, epoch, 25, 0, 1)) for epoch in range(25)]
        assert moves == [False] * 10 + [True] * 15
        assert stage.init is not None, "alphas start anew"
        assert stage.carry is None, "and so do weights"


def test_dropout_falls_in_the_warm_up_and_by_a_fifth_in_the_exponent_after_it() -> None:
    assert STAGES[0].edge is WeightedSum, "no dropout, so the fast supernet will do"
    for stage, rate in zip(STAGES[1:], (0.4, 0.7), strict=True):
        for epoch in range(25):
            want = rate * ((25 - epoch) / 25 if epoch < 10 else math.exp(-0.2 * (epoch - 10)))
            assert scalar_at(stage.edge.rate, epoch / 25) == pytest.approx(want)


@pytest.mark.parametrize(
    ("stage", "cells", "ops", "count"),
    [(0, 5, 8, 1_275_834), (1, 11, 5, 887_226), (2, 17, 3, 228_474)],
)
def test_the_stages_supernets_have_their_known_sizes(
    stage: int, cells: int, ops: int, count: int
) -> None:
    """As if the first operations of the list had been kept on every edge."""
    space = darts(cells=cells, ops=OPS[:ops])
    assert STAGES[stage].reshape.keep in (None, ops)
    assert darts(cells=5 + STAGES[stage].reshape.deeper).depth == cells
    assert weights(Supernet(space, edge=STAGES[stage].edge)) == count


@BOTH
def test_each_stage_is_deeper_with_fewer_operations_on_every_edge(space: str) -> None:
    first, second, third = (event.space for event in started(space))
    assert first == SPACES[space]
    more = (1, 2) if space == "darts" else (1, 1)
    assert (second.depth - first.depth, third.depth - first.depth) == more
    for kind in first.kinds:
        rows = zip(first.cell(kind).ops, second.cell(kind).ops, third.cell(kind).ops, strict=True)
        for before, between, after in rows:
            assert set(after) <= set(between) <= set(before)
            assert (len(between), len(after)) == (min(5, len(before)), 3)


@BOTH
def test_a_stage_keeps_what_weighed_most_at_the_end_of_the_one_before(space: str) -> None:
    for index in (0, 1):
        last = [e for e in steps(events_of(space)) if e.clock.stage == index][-1]
        before, after = (started(space)[i].space for i in (index, index + 1))
        for cell in before.cells:
            for row, ops in zip(last.mix[cell.kind], after.cell(cell.kind).ops, strict=True):
                weight = dict(zip(cell.columns, row.tolist(), strict=True))
                dropped = [op for op in cell.columns if weight[op] > 0 and op not in ops]
                assert all(weight[a] >= weight[b] for a in ops for b in dropped)


@BOTH
def test_alphas_start_anew_and_wait_for_the_warm_up_to_end(space: str) -> None:
    for index, event in enumerate(started(space)):
        told = [e for e in steps(events_of(space)) if e.clock.stage == index]
        assert {e.clock.epoch for e in told} == {0, 1, 2}
        for kind, alpha in event.alpha.items():
            assert alpha.abs().max() < 0.01
            early = [e for e in told if e.clock.epoch == 0]
            assert all(torch.equal(e.alpha[kind], alpha) for e in early)
            assert not torch.equal(told[-1].alpha[kind], alpha)


@BOTH
def test_the_genotype_has_two_skips_or_fewer_and_no_none(space: str) -> None:
    derived = events_of(space)[-1]
    assert isinstance(derived, Derived)
    genes = derived.genotype.cells[0].genes
    assert sum(gene.op == "skip_connect" for gene in genes) <= 2
    assert all(gene.op != "none" for gene in genes)
    assert {gene.dst for gene in genes} == {dst for _, dst in SPACES[space].cells[0].edges}


@BOTH
def test_a_search_with_dropout_happens_twice_the_same(space: str) -> None:
    method = shrunk(methods.p_darts_small, batch_size=12)
    last = replace(method, stages=(replace(method.stages[2], reshape=None),))
    one, two = (searched(last, SPACES[space], machine=READABLE) for _ in range(2))
    losses = [
        [e.scalars["loss_train"] for e in run if isinstance(e, Stepped)] for run in (one, two)
    ]
    assert losses[0] == losses[1]
    plain = replace(last, stages=(replace(last.stages[0], edge=STAGES[0].edge),))
    other = [e.scalars["loss_train"] for e in searched(plain, SPACES[space], machine=READABLE)
             if isinstance(e, Stepped)]  # fmt: skip
    assert losses[0] != other
