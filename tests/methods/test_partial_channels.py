"""PC-DARTS and its GAEA form: sizes, warm-up, and who moves the edge weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.spaces.supernets import weights
from tests.tiny import READABLE, SPACES, searched, shrunk, start, steps, tiny_data
from workbench import methods
from workbench.events import StageStarted
from workbench.parts.edges import PartialChannels
from workbench.protocols import Clock
from workbench.search import search
from workbench.spaces.darts import darts
from workbench.spaces.supernet import Supernet
from workbench.trace import open_run, record

BOTH = pytest.mark.parametrize("space", SPACES)
STAGE = methods.pc_darts.stages[0]


def test_the_figures_are_those_of_the_released_code() -> None:
    assert (STAGE.epochs, STAGE.batch_size, STAGE.train_portion) == (50, 256, 0.5)
    rates = [STAGE.weight_optimizer.lr_at(progress) for progress in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([0.1, 0.05, 0.0])
    adam = STAGE.arch_optimizer([torch.zeros(1, requires_grad=True)]).param_groups[0]
    assert (adam["lr"], adam["betas"], adam["weight_decay"]) == (6e-4, (0.5, 0.999), 1e-3)
    assert STAGE.edge == PartialChannels(k=4)


@pytest.mark.parametrize("name", ["pc_darts", "gaea_pc_darts"])
def test_the_supernet_of_16_channels_and_8_cells_has_299578_weights(name: str) -> None:
    stage = getattr(methods, name).stages[0]
    assert weights(Supernet(darts(), edge=stage.edge)) == 299_578


def test_alphas_move_from_epoch_15_on() -> None:
    for epoch in range(50):
        moves = "arch" in STAGE.schedule(Clock(0, epoch, 50, 0, 1))
        assert moves == (epoch >= 15)
    assert "arch" in methods.gaea_pc_darts.stages[0].schedule(Clock(0, 0, 50, 0, 1))


@BOTH
def test_alphas_betas_and_genotype_stay_in_the_warm_up_and_move_after_it(space: str) -> None:
    method = shrunk(methods.pc_darts, epochs=4, batch_size=12)  # one epoch of warm-up, two steps
    events = searched(method, SPACES[space], machine=READABLE)
    first = next(event for event in events if isinstance(event, StageStarted))
    told = steps(events)
    for kind in SPACES[space].kinds:
        for event in told[:2]:
            assert torch.equal(event.alpha[kind], first.alpha[kind])
            assert torch.equal(event.edges[kind], told[0].edges[kind])
        assert not torch.equal(told[2].alpha[kind], first.alpha[kind])
        weighed = [len(event.edges[kind]) for event in told]
        assert set(weighed) == {len(SPACES[space].cell(kind).edges)}
        assert not torch.equal(told[-1].edges[kind], told[0].edges[kind])


@BOTH
def test_a_run_folder_holds_the_edge_weights(space: str, tmp_path: Path) -> None:
    method = shrunk(methods.pc_darts, epochs=2)
    events = list(record(search(method, SPACES[space], tiny_data(), machine=READABLE), tmp_path))
    weights = open_run(tmp_path).trace["edge_weight"]
    into = weights.groupby(["kind", "dst"]).sum()
    assert (abs(into - 1) < 1e-6).sum() == sum(cell.nodes for cell in SPACES[space].cells) * len(
        steps(events)
    )


@pytest.mark.parametrize("name", ["pc_darts", "gaea_pc_darts"])
def test_betas_are_the_architecture_optimizers(name: str) -> None:
    run = start(shrunk(getattr(methods, name)), SPACES["darts"], machine=READABLE)
    held = {id(x) for group in run.arch_optimizer.param_groups for x in group["params"]}
    assert {id(beta) for beta in run.arch.beta.values()} <= held
    assert len(held) == 4


@BOTH
def test_gaea_starts_from_equal_edges_and_keeps_alphas_and_betas_on_the_simplex(space: str) -> None:
    method = shrunk(methods.gaea_pc_darts, epochs=2)
    run = start(method, SPACES[space], machine=READABLE)
    for cell in SPACES[space].cells:
        share = [1 / dst for _, dst in cell.edges]
        weights = run.arch.mix(0.0)[cell.kind].edges
        torch.testing.assert_close(weights, torch.tensor(share))
    for event in steps(searched(method, SPACES[space], machine=READABLE)):
        for kind, rows in event.alpha.items():
            assert torch.equal(rows > 0, event.alive[kind])
            torch.testing.assert_close(rows.sum(dim=1), torch.ones(len(rows)))
            assert (event.edges[kind] > 0).all()


def test_channels_that_partial_channels_cannot_divide_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"`PartialChannels\(k=4\)` needs channels divisible by k"):
        start(shrunk(methods.pc_darts), darts(channels=6, cells=3, nodes=1), machine=READABLE)
