"""Searches with sigmoids and samples: what their parts do together."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from tests.tiny import (
    READABLE,
    READABLE64,
    SPACES,
    Planted,
    Spy,
    assert_same,
    moved,
    searched,
    shrunk,
    start,
    steps,
    tiny_data,
    trajectory,
)
from workbench import methods
from workbench.bilevel import LiveBilevel, LiveTrial
from workbench.events import StageStarted
from workbench.method import Method
from workbench.methods import d_darts, darts, fair_darts, gdas, snas
from workbench.parts.arch_optimizers import Adam
from workbench.parts.regularizers import Ablation, ZeroOne
from workbench.protocols import Clock
from workbench.run import Run
from workbench.spaces.darts import OPS
from workbench.spaces.darts import darts as darts_space


def begun(method: Method, *, seed: int = 0) -> Run:
    """A run of the method on a few cells, about to begin."""
    method = shrunk(method, batch_size=12)
    stage, space = method.stages[0], darts_space(channels=4, cells=3, nodes=1)
    here = stage.reshape(space, None) if stage.reshape else space
    run = start(method, here, machine=READABLE64, seed=seed)
    run.last_batches = (run.train.next(), run.val.next())
    run.last_batches = tuple(b._replace(images=b.images.double()) for b in run.last_batches)
    return run


def pushed(run: Run) -> list[torch.Tensor]:
    """What the regularizers add to an architecture gradient."""
    bilevel = LiveBilevel(run, *run.last_batches)
    return list(bilevel.with_regularizers([torch.zeros_like(a) for a in bilevel.alphas]))


# FairDARTS and D-DARTS


def test_fair_darts_starts_at_a_half_without_a_push() -> None:
    run = begun(fair_darts)
    for mixture in run.mix.values():
        assert mixture.ops.shape == (2, 7)
        assert (mixture.ops == 0.5).all()
    assert not any(grad.any() for grad in pushed(run))
    for alpha in run.arch.parameters():
        torch.nn.init.constant_(alpha, 0.3)
    assert all((grad < 0).all() for grad in pushed(run))


@pytest.mark.parametrize("cells", [3, 8])
def test_d_darts_has_an_alpha_for_every_cell(cells: int) -> None:
    method = shrunk(d_darts.but(regularizers=()), batch_size=24)
    first = searched(method, darts_space(channels=4, cells=cells, nodes=1), machine=READABLE)[0]
    assert isinstance(first, StageStarted)
    assert len(first.alpha) == len(first.space.kinds) == cells
    assert all((rows == 0).all() and rows.shape == (2, 7) for rows in first.alpha.values())
    assert first.space.columns == OPS[1:]


def test_trying_to_leave_cells_out_leaves_no_trace() -> None:
    """Of weights, batch-norm statistics or random draws; and it says something."""
    run = begun(d_darts.but(regularizers=(Ablation(0.7),)))
    before = {name: value.clone() for name, value in run.net.state_dict().items()}
    state = run.generator.get_state()
    grads = pushed(run)
    assert all(grad.any() and grad.isfinite().all() for grad in grads)
    assert torch.equal(run.generator.get_state(), state)
    for name, value in run.net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_each_cell_is_pushed_by_its_own_term_in_a_search() -> None:
    """The slow way, from the losses themselves: a difference along every cell's own gradient."""
    run = begun(d_darts.but(regularizers=(Ablation(1.0),)))
    trial, kinds, eps = LiveTrial(run), run.space.kinds, 1e-5

    def terms(moved: str, by: float) -> dict[str, float]:
        with torch.no_grad():
            mix = {k: replace(m, ops=m.ops.clone()) for k, m in run.mix.items()}
            mix[moved].ops[0, 3] += by
            off = {k: replace(m, ops=torch.zeros_like(m.ops)) for k, m in mix.items()}
            whole = float(trial.loss(mix))
            gains = {k: float(trial.loss({**mix, k: off[k]})) - whole for k in kinds}
        mean = sum(gains.values()) / len(gains)
        return {k: -(gain - mean) / mean for k, gain in gains.items()}

    for kind, grad in zip(kinds, pushed(run), strict=True):
        slope = (terms(kind, eps)[kind] - terms(kind, -eps)[kind]) / (2 * eps)
        got = float(grad[0, 3]) / 0.25  # through the sigmoid, at a half
        assert got == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_without_the_gradient_of_ablation_d_darts_is_its_other_term_alone() -> None:
    method = shrunk(d_darts, batch_size=12)
    space = SPACES["darts"]
    released = method.but(regularizers=(ZeroOne(9.0, each_kind=True), Ablation(gradient=False)))
    alone = method.but(regularizers=(ZeroOne(9.0, each_kind=True),))
    runs = [searched(m, space, machine=READABLE) for m in (released, alone, method)]
    assert_same(trajectory(runs[0]), trajectory(runs[1]))
    with pytest.raises(AssertionError, match="differs"):
        assert_same(trajectory(runs[2]), trajectory(runs[1]))


# SNAS and GDAS


def test_an_alpha_step_of_snas_is_within_its_bound() -> None:
    method, space = shrunk(snas, batch_size=24), SPACES["darts"]
    steep = method.but(regularizers=(replace(snas.stages[0].regularizers[0], weight=1e6),))
    events = searched(steep, space, machine=READABLE64)
    rows = [e.alpha for e in events if isinstance(e, StageStarted)] + [
        e.alpha for e in steps(events)
    ]
    assert len(rows) == 3
    for before, after in pairwise(rows):
        step = torch.cat([(after[k] - before[k]).flatten() for k in before])
        assert float(step.norm()) == pytest.approx(3e-4 * 10, rel=1e-4)


def test_snas_starts_at_logarithms_of_about_one() -> None:
    run = begun(snas)
    for rows in run.arch.snapshot().values():
        assert (rows - 1).abs().max() < 0.05
        assert rows.std() > 1e-3


@pytest.mark.parametrize("method", [snas, gdas])
def test_every_pass_draws_anew(method: Method) -> None:
    spy = Spy(tiny_data())
    small = shrunk(method, epochs=2, batch_size=12).but(objective=spy)
    events = searched(small, SPACES["darts"], machine=READABLE)
    assert moved(events)
    draws = [torch.cat([rows for rows in p.mix.values()]) for p in spy.passes]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(draws) > 3
    for draw in draws:
        torch.testing.assert_close(draw.sum(1), torch.ones(len(draw)))
        assert (method is snas) != bool(((draw == 0) | (draw == 1)).all())


def test_gdas_moves_weights_before_alphas() -> None:
    spy = Spy(tiny_data())
    method = shrunk(gdas, batch_size=12).but(objective=spy)
    searched(method, SPACES["darts"], machine=READABLE)
    assert [p.moves_alphas for p in spy.passes] == [False, True, False, True]


def test_an_idle_operation_gets_no_gradient_of_its_own_in_gdas() -> None:
    """The chosen one's alone goes through the row, so a row of the alphas' gradient sums to 0."""
    run = begun(gdas)
    bilevel = LiveBilevel(run, *run.last_batches)
    run.clock = Clock(0, 0, 1, 0, 2)
    loss = bilevel.loss(bilevel.weights, bilevel.val)
    grads = torch.autograd.grad(loss, bilevel.alphas, materialize_grads=True)
    assert any(grad.any() for grad in grads)
    for grad in grads:
        assert grad.sum(1).abs().max() <= 1e-9 * grad.abs().max()


# A truth planted beforehand


@pytest.mark.parametrize(
    "name",
    ["fair_darts", "snas", "gdas"]
    + [pytest.param(name, marks=pytest.mark.long) for name in ("d_darts", "hou_jin")],
)
def test_a_planted_operation_comes_to_weigh_on_every_edge(name: str) -> None:
    """Through sigmoids and draws alike; of all the parts but the rate the method's own."""
    method, space = getattr(methods, name), darts_space(channels=4, cells=3, nodes=1)
    reshape = method.stages[0].reshape
    space = reshape(space, None) if reshape else space
    plant = {
        cell.kind: torch.tensor([1 + index, len(cell.columns) - 1 - index])
        for index, cell in enumerate(space.cells)
    }
    seek = method.but(
        objective=Planted(plant, strength=10.0), arch_optimizer=Adam(lr=0.1), regularizers=()
    )
    events = searched(shrunk(seek, epochs=12, batch_size=12), space, machine=READABLE)
    last = steps(events)[-1].mix
    for kind, columns in plant.items():
        weights = last[kind].gather(1, columns[:, None])[:, 0]
        assert (weights > 0.85).all()
        if name in ("snas", "gdas"):  # sigmoids of others may be as large
            assert torch.equal(last[kind].argmax(1), columns)
            ops = [space.cell(kind).columns[column] for column in columns.tolist()]
            assert [gene.op for gene in events[-1].genotype.cell(kind).genes] == ops


# Small pictures


@pytest.mark.parametrize("name", ["fair_darts", "d_darts", "snas"])
def test_a_small_form_is_of_its_method(name: str) -> None:
    whole, small = getattr(methods, name), getattr(methods, f"{name}_small")
    assert (small.stages[0].epochs, small.stages[0].batch_size) == (12, 64)
    assert small.stages[0].regularizers == whole.stages[0].regularizers
    assert small.paper == whole.paper
    assert small.stages[0].arch_optimizer.lr > 5e-3
    assert darts.stages[0].arch_optimizer.lr < 5e-3
