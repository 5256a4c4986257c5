"""Architecture parameters: what is dead weighs nothing and does not move."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from workbench.arch import Arch
from workbench.parts.arch_optimizers import Adam
from workbench.parts.relaxations import Entmax, Sigmoid, Softmax
from workbench.protocols import Relaxation
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


# One call for all cells


@dataclass(frozen=True)
class Calls:
    """A relaxation that samples and remembers the shapes it was called with."""

    row_sum = "one"
    inner: Relaxation = Softmax()
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        self.shapes.append(tuple(logits.shape))
        return self.inner.mix(logits, alive, t)

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        return self.mix(logits + torch.randn(logits.shape, generator=generator), alive, t)


def three_kinds() -> Space:
    """Kinds of 2, 5 and 5 edges with 5, 3 and 5 columns; the last with fewer candidates on one."""
    ops = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    cells = (
        CellShape("first", 2, 1, (ops,) * 2),
        CellShape("second", 2, 2, (ops[:3],) * 5),
        CellShape("third", 2, 2, (*(ops,) * 4, ops[1:])),
    )
    return Space("darts", cells, (Layer("first", 2, reduction=False),), 2)


def test_cells_of_equally_many_columns_are_mixed_in_one_call() -> None:
    calls = Calls()
    arch(darts(), calls).mix(0.0)
    assert calls.shapes == [(28, 8)]
    arch(darts(), calls).mixtures(0.0, torch.Generator())
    assert calls.shapes == 2 * [(28, 8)]


def test_cells_of_other_columns_are_mixed_in_a_call_of_their_own() -> None:
    calls = Calls()
    own = arch(three_kinds(), calls)
    for rows in (own.mix(0.0), own.mixtures(0.0, torch.Generator())):
        assert list(rows) == ["first", "second", "third"]
        assert [tuple(row.ops.shape) for row in rows.values()] == [(2, 5), (5, 3), (5, 5)]
    assert calls.shapes == 2 * [(5, 3), (7, 5)]


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid(), *map(Entmax, (1.5, 2, 3, 4))])
def test_a_stacked_cell_is_mixed_as_if_it_came_alone(relaxation: Relaxation) -> None:
    own = arch(darts(), relaxation)
    own.prune({"normal": some_dead((14, 8)), "reduce": some_dead((14, 8)).flip(0)})
    incoming = torch.randn(14, 8, generator=torch.Generator().manual_seed(2))
    mixtures = own.mixtures(0.5, torch.Generator())
    for kind, mixture in own.mix(0.5).items():
        alone = relaxation.mix(own.alpha[kind], own.alive[kind], 0.5)
        assert torch.equal(mixture.ops, alone)
        assert torch.equal(mixtures[kind].ops, alone.float())
        got, want = (
            torch.autograd.grad(rows, own.alpha[kind], incoming, retain_graph=True)[0]
            for rows in (mixtures[kind].ops, alone.float())
        )
        assert torch.equal(got, want)


@pytest.mark.parametrize("order", [1.2, 2.5])
def test_a_fractional_power_of_stacked_rows_differs_in_the_last_digit_at_most(order: float) -> None:
    """Torch takes powers of whole vectors and of what is left of a tensor by different code."""
    own = arch(darts(), Entmax(order))
    for kind, mixture in own.mix(0.5).items():
        alone = Entmax(order).mix(own.alpha[kind].detach(), own.alive[kind], 0.5)
        torch.testing.assert_close(mixture.ops, alone, rtol=0, atol=1e-15)
        assert torch.equal(mixture.ops == 0, alone == 0)


def test_a_relaxation_that_samples_draws_for_every_cell() -> None:
    own = arch(darts(), Calls())
    for rows in own.alpha.values():
        rows.data.zero_()
    first, again = (own.mixtures(0.0, torch.Generator().manual_seed(3)) for _ in range(2))
    assert not torch.equal(first["normal"].ops, first["reduce"].ops)
    assert all(torch.equal(first[kind].ops, again[kind].ops) for kind in own.space.kinds)
