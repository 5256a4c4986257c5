"""ASAP: a temperature that falls, and what falls below its share goes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from tests.tiny import READABLE, SPACES, prunings, searched, shrunk, steps
from workbench import methods
from workbench.parts.arch_optimizers import Adam
from workbench.parts.pruners import BelowShare
from workbench.parts.schedules import scalar_at
from workbench.protocols import Clock

STAGE = methods.asap.stages[0]


def test_alphas_move_once_the_temperature_is_below_one() -> None:
    assert STAGE.epochs == 50
    assert STAGE.pruner == BelowShare(0.4, grace_epochs=10)
    for epoch in range(50):
        temperature = scalar_at(STAGE.relaxation.temperature, epoch / 50)
        assert temperature == pytest.approx(1.6 * 0.95**epoch)
        moves = "arch" in STAGE.schedule(Clock(0, epoch, 50, 0, 1))
        assert moves == (temperature < 1.0)


def test_a_shorter_search_keeps_the_shape() -> None:
    ten = methods.asap.lasting(10).stages[0]
    assert (ten.schedule.warmup_epochs, ten.pruner.grace_epochs) == (2, 2)
    assert scalar_at(ten.relaxation.temperature, 2 / 10) < 1.0


@pytest.mark.parametrize("space", SPACES)
def test_what_weighs_too_little_goes_until_an_edge_has_one_operation(space: str) -> None:
    fast = replace(Adam(lr=0.3), weight_decay=0.0)
    method = shrunk(methods.asap.but(arch_optimizer=fast), epochs=10, batch_size=12)
    events = searched(method, SPACES[space], machine=READABLE)
    gone = prunings(events)
    assert gone
    assert all(event.clock.epoch >= 2 for event in gone)
    assert all(event.reason == "the BelowShare rule" for event in gone)
    told = steps(events)
    for before, after in itertools.pairwise(told):
        for kind in SPACES[space].kinds:
            assert not (after.alive[kind] & ~before.alive[kind]).any()
            assert after.alive[kind].any(dim=1).all()
    for kind, alive in told[-1].alive.items():
        single = told[-1].mix[kind][alive.sum(dim=1) == 1]
        assert len(single)
        torch.testing.assert_close(single.amax(dim=1), torch.ones(len(single)))
    genes = [(cell.kind, gene) for cell in events[-1].genotype.cells for gene in cell.genes]
    for kind, gene in genes:
        shape = SPACES[space].cell(kind)
        edge = shape.edges.index((gene.src, gene.dst))
        assert told[-1].alive[kind][edge, shape.columns.index(gene.op)]
