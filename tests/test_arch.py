"""Architecture parameters: what is dead weighs nothing and does not move."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.arch import Arch
from workbench.parts.arch_optimizers import Adam
from workbench.parts.relaxations import Entmax, Softmax
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import CellShape, Layer, Space

CPU = torch.device("cpu")


def arch(space: Space | None = None, relaxation: object = Softmax(), seed: int = 0) -> Arch:
    space = space or nasbench201()
    draw = torch.Generator().manual_seed(seed)
    alpha = {
        cell.kind: torch.randn(len(cell.edges), len(cell.columns), generator=draw)
        for cell in space.cells
    }
    return Arch(space, relaxation, alpha, CPU, torch.float32)


def step(arch: Arch, optimizer: torch.optim.Optimizer, seed: int = 1) -> None:
    draw = torch.Generator().manual_seed(seed)
    for rows in arch.parameters():
        rows.grad = torch.randn(rows.shape, generator=draw)
    arch.step(optimizer)


def some_dead(shape: tuple[int, int]) -> Tensor:
    alive = torch.ones(shape, dtype=torch.bool)
    alive[0, 1:4] = False
    alive[3, 0] = False
    return alive


def test_dead_logits_and_their_adam_state_do_not_move() -> None:
    own = arch()
    optimizer = Adam(lr=0.1, weight_decay=0.5)(own.parameters())
    for seed in range(5):  # momentum that would go on
        step(own, optimizer, seed)
    alive = some_dead((6, 5))
    own.prune({"cell": alive})
    before = own.snapshot()["cell"]
    for seed in range(20):
        step(own, optimizer, seed)
        state = optimizer.state[own.alpha["cell"]]
        for name in ("exp_avg", "exp_avg_sq"):
            assert (state[name][~alive] == 0).all()
            assert (state[name][alive] != 0).all()
    after = own.snapshot()["cell"]
    assert torch.equal(after[~alive], before[~alive])
    assert (after[alive] != before[alive]).all()


def test_living_logits_move_as_if_nothing_had_died() -> None:
    whole, pruned = arch(), arch()
    alive = some_dead((6, 5))
    pruned.prune({"cell": alive})
    for own in (whole, pruned):
        optimizer = Adam(lr=0.1)(own.parameters())
        for seed in range(3):
            step(own, optimizer, seed)
    assert torch.equal(whole.alpha["cell"][alive], pruned.alpha["cell"][alive])


def test_operations_that_are_no_candidate_are_dead_from_the_start() -> None:
    cell = CellShape("cell", 1, 2, (("skip_connect",), ("nor_conv_3x3", "none"), ("none",)))
    space = Space("nasbench201", (cell,), (Layer("cell", 2, reduction=False),), 2)
    own = arch(space)
    candidate = torch.tensor(cell.candidates)
    assert torch.equal(own.alive["cell"], candidate)
    assert (own.mix(0.0)["cell"].ops[~candidate] == 0).all()
    before = own.snapshot()["cell"]
    step(own, Adam(lr=0.1)(own.parameters()))
    assert torch.equal(own.alpha["cell"][~candidate], before[~candidate])
    assert (own.alpha["cell"][candidate] != before[candidate]).all()


def test_what_is_alive_never_grows() -> None:
    own, draw = arch(), torch.Generator().manual_seed(0)
    for _ in range(10):
        before = own.alive["cell"]
        asked = torch.rand(6, 5, generator=draw) > 0.2
        own.prune({"cell": asked})
        assert torch.equal(own.alive["cell"], before & asked)
    own.prune({"cell": torch.ones(6, 5, dtype=torch.bool)})
    assert torch.equal(own.alive["cell"], before & asked)


@pytest.mark.parametrize("relaxation", [Softmax(), Entmax(3.0)])
def test_both_faces_of_the_weights_agree_and_only_one_has_a_graph(relaxation: object) -> None:
    own = arch(darts(), relaxation)
    own.prune({kind: some_dead((14, 8)) for kind in own.space.kinds})
    mixtures = own.mixtures(0.5, torch.Generator())
    for kind, mixture in own.mix(0.5).items():
        assert not mixture.ops.requires_grad
        assert mixtures[kind].ops.requires_grad
        assert mixtures[kind].ops.dtype is torch.float32
        torch.testing.assert_close(mixtures[kind].ops, mixture.ops.float())
        assert (mixture.ops[~own.alive[kind]] == 0).all()
        assert (mixture.ops.sum(dim=1) - 1).abs().max() < 1e-6


def test_the_recorded_weights_keep_the_relaxations_precision() -> None:
    assert arch(relaxation=Entmax(2.0)).mix(0.0)["cell"].ops.dtype is torch.float64


def test_alphas_are_copies_in_the_order_of_kinds() -> None:
    space = darts()
    given = {kind: torch.full((14, 8), float(i)) for i, kind in enumerate(("reduce", "normal"))}
    own = Arch(space, Softmax(), given, CPU, torch.float32)
    assert [rows[0, 0].item() for rows in own.parameters()] == [1.0, 0.0]
    snapshot = own.snapshot()
    step(own, Adam()(own.parameters()))
    assert (given["normal"] == 1).all()
    assert (snapshot["normal"] == 1).all()
    assert not (own.alpha["normal"] == 1).any()
