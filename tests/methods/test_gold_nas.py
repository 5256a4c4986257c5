"""GOLD-NAS as a whole: alphas of each cell, what removal means, and costs that only fall."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.tiny import READABLE, READABLE64, prunings, searched, shrunk, start
from workbench import methods
from workbench.events import EpochEnded, StageStarted, Stopped
from workbench.method import differences
from workbench.parts.arch_optimizers import HeavyBall
from workbench.parts.flops import FlopsBelow, FlopsPenalty
from workbench.parts.relaxations import Sigmoid
from workbench.protocols import Mixture
from workbench.spaces.darts import darts
from workbench.spaces.genotype import Gene
from workbench.spaces.nasbench201 import nasbench201

GOLD, SMALL = methods.gold_nas, darts(channels=4, cells=3, nodes=2)


def fierce(epochs: int) -> object:
    """GOLD-NAS that prunes within a few tiny epochs."""
    stage = methods.gold_nas_small.stages[0]
    return shrunk(
        methods.gold_nas_small.but(
            regularizers=(FlopsPenalty(first=1.0),),
            pruner=replace(stage.pruner, high=0.2),
            arch_optimizer=HeavyBall(lr=3.0),
        ),
        epochs=epochs,
        batch_size=16,
    )


def test_every_cell_of_the_published_supernet_has_alphas_for_two_operations_an_edge() -> None:
    space = GOLD.stages[0].reshape(darts(channels=36, cells=14), None)
    assert len(space.kinds) == 14
    assert sum(len(cell.edges) * len(cell.columns) for cell in space.cells) == 14 * 14 * 2
    assert space.columns == ("skip_connect", "sep_conv_3x3")
    other = GOLD.stages[0].reshape(nasbench201(), None)
    assert other.columns == ("skip_connect", "nor_conv_3x3")
    assert len(other.kinds) == 15


def test_all_alphas_start_at_zero_and_weigh_one_half() -> None:
    first = next(e for e in searched(shrunk(GOLD), SMALL, machine=READABLE))
    assert isinstance(first, StageStarted)
    for kind in first.space.kinds:
        assert (first.alpha[kind] == 0).all()
        assert (first.mix[kind] == 0.5).all()


def test_removal_is_what_the_released_code_does_by_a_large_negative_alpha() -> None:
    """-10,000 weighs exactly 0; so does what is not alive; the outputs are the same."""
    draw = torch.Generator().manual_seed(0)
    run = start(shrunk(GOLD), GOLD.stages[0].reshape(SMALL, None), machine=READABLE64)
    alive = {k: torch.rand(m.shape, generator=draw) > 0.3 for k, m in run.arch.alive.items()}
    masked, sunk = {}, {}
    for kind, rows in run.arch.snapshot().items():
        moved = rows + torch.randn(rows.shape, generator=draw, dtype=rows.dtype)
        low = torch.where(alive[kind], moved, moved - 1e4)
        masked[kind] = Mixture(Sigmoid().mix(moved, alive[kind], 0.0))
        sunk[kind] = Mixture(low.sigmoid())
        assert (sunk[kind].ops[~alive[kind]] == 0).all()
        assert torch.equal(masked[kind].ops, sunk[kind].ops)
    images = torch.randn(4, 1, 8, 8, generator=draw, dtype=torch.float64)
    want = run.net(images, sunk, 0.0)
    run.net.drop(alive)
    torch.testing.assert_close(run.net(images, masked, 0.0), want, rtol=0, atol=1e-12)


def test_costs_only_fall_and_what_is_alive_is_derived() -> None:
    events = searched(fierce(6), SMALL, machine=READABLE)
    ended = [event for event in events if isinstance(event, EpochEnded)]
    macs, alive = [e.macs for e in ended], [e.alive for e in ended]
    assert macs == sorted(macs, reverse=True)
    assert alive == sorted(alive, reverse=True)
    assert macs[0] > macs[-1]
    assert len(prunings(events)) == 3 * 5 * 2 - alive[-1] > 4
    for event in ended:
        assert sum(len(cell.genes) for cell in event.genotype.cells) == event.alive
    gone = {(event.edge, event.op) for event in prunings(events)}
    final, both = events[-1].genotype, 0
    for cell in next(e for e in events if isinstance(e, StageStarted)).space.cells:
        found = final.cell(cell.kind)
        for name, edge in zip(cell.edge_names, cell.edges, strict=True):
            left = [op for op in cell.columns if (name, op) not in gone]
            assert [op for op in cell.columns if Gene(op, *edge) in found.genes] == left
            both += len(left) == 2
        assert all(found.into(node) for node in range(2, 4))
    assert both > 0  # an edge may keep two operations


def test_the_search_stops_where_the_network_is_cheap_enough() -> None:
    events = searched(shrunk(GOLD, epochs=3), SMALL, machine=READABLE)
    stopped = [event for event in events if isinstance(event, Stopped)]
    assert [event.clock.epoch for event in stopped] == [0]  # tiny: below 240 million at once
    assert "below 240" in stopped[0].reason


def test_for_small_data_only_the_penalty_and_the_bound_are_others() -> None:
    small = methods.gold_nas_small
    fields = {difference.field for difference in differences(GOLD, small)}
    assert fields == {"epochs", "batch_size", "regularizers", "stop"}
    assert small.stages[0].regularizers == (FlopsPenalty(first=1000 * 1e-5),)
    assert small.stages[0].stop == FlopsBelow(macs=None, share=0.5)
