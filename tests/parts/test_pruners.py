"""What a pruner takes away and what it holds."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from workbench.parts.pruners import BelowShare, ExactZeros
from workbench.parts.relaxations import Entmax
from workbench.protocols import Clock, Mixture, View
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import Space

SPACE = nasbench201()  # columns: none, skip, 1x1, 3x3, pool; edges 01, 02, 12, 03, 13, 23


def everything(space: Space) -> dict[str, Tensor]:
    return {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}


def view(mix: Tensor, alive: Tensor | None = None, epoch: int = 0) -> View:
    mask = everything(SPACE) if alive is None else {"cell": alive}
    clock = Clock(0, epoch, 5, epoch, 5)
    return View(clock, SPACE, {"cell": torch.zeros(6, 5)}, {"cell": Mixture(mix)}, mask)


def share(mix: Tensor, alive: Tensor | None = None, epoch: int = 0, **settings: object) -> Tensor:
    return BelowShare(**settings)(view(mix, alive, epoch))["cell"]


def prune(mix: Tensor, alive: Tensor | None = None, **settings: object) -> Tensor:
    return ExactZeros(**settings)(view(mix, alive))["cell"]


def test_an_exact_zero_goes_and_a_tiny_weight_stays() -> None:
    mix = torch.full((6, 5), 0.2, dtype=torch.float64)
    mix[2, 3], mix[4, 1], mix[5, 0] = 0.0, 1e-300, 0.0
    alive = prune(mix)
    assert (~alive).nonzero().tolist() == [[2, 3], [5, 0]]


def test_none_goes_like_any_other_operation() -> None:
    mix = torch.tensor([0.0, 0.25, 0.25, 0.25, 0.25]).expand(6, 5)
    assert not prune(mix)[:, 0].any()
    assert prune(mix)[:, 1:].all()


@pytest.mark.parametrize("hold", [True, False])
def test_what_is_gone_stays_gone_and_inputs_are_left_alone(hold: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    alive = torch.ones(6, 5, dtype=torch.bool)
    for _ in range(20):
        mix = torch.rand(6, 5, generator=draw) * (torch.rand(6, 5, generator=draw) > 0.3)
        before = alive.clone()
        new = prune(mix, alive, hold=hold)
        assert torch.equal(alive, before)
        assert not (new & ~alive).any()
        alive = new
    assert alive.sum() < 12


def one_node_lost() -> Tensor:
    """`none` alone on both edges into node 2; a zero elsewhere too."""
    mix = torch.full((6, 5), 0.2)
    mix[1:3] = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])
    mix[3] = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])
    return mix


def test_the_last_operations_into_a_node_are_held() -> None:
    alive = prune(one_node_lost())
    assert alive[1:3].all()
    assert alive[3].tolist() == [True, False, False, False, False]  # node 3 has other inputs


def test_only_what_was_alive_is_held() -> None:
    before = torch.ones(6, 5, dtype=torch.bool)
    before[1, 1:] = False
    before[2, 1] = False
    alive = prune(one_node_lost(), before)
    assert torch.equal(alive[1:3], before[1:3])


def test_without_hold_a_node_may_lose_everything() -> None:
    alive = prune(one_node_lost(), hold=False)
    assert alive[1:4].tolist() == 3 * [[True, False, False, False, False]]
    assert alive[[0, 4, 5]].all()


def test_one_useful_operation_into_a_node_lets_the_others_go() -> None:
    mix = one_node_lost()
    mix[2] = torch.tensor([0.9, 0.0, 0.0, 0.1, 0.0])
    alive = prune(mix)
    assert alive[1].tolist() == [True, False, False, False, False]
    assert alive[2].tolist() == [True, False, False, True, False]


def test_nothing_goes_in_grace_epochs() -> None:
    pruner = ExactZeros(grace_epochs=2)
    for epoch, gone in ((0, 0), (1, 0), (2, 12), (3, 12)):
        alive = pruner(view(torch.eye(5)[[1, 1, 1, 0, 0, 0]].clamp_min(0), epoch=epoch))["cell"]
        assert int((~alive).sum()) == gone


def test_every_kind_of_cell_is_pruned_by_its_own_weights() -> None:
    space = darts()
    mix = {kind: torch.full((14, 8), 0.125) for kind in space.kinds}
    mix["reduce"][3, 4] = 0.0
    rows: Mapping[str, Mixture] = {kind: Mixture(row) for kind, row in mix.items()}
    alive = ExactZeros()(View(Clock(0, 0, 1, 0, 1), space, {}, rows, everything(space)))
    assert alive["normal"].all()
    assert (~alive["reduce"]).nonzero().tolist() == [[3, 4]]


def test_entmax_always_leaves_an_operation_on_every_edge() -> None:
    draw = torch.Generator().manual_seed(0)
    alive, relaxation = torch.ones(6, 5, dtype=torch.bool), Entmax(3.0)
    for _ in range(30):
        logits = torch.randn(6, 5, generator=draw)
        alive = prune(relaxation.mix(logits, alive, 0.0), alive, hold=False)
        assert alive.any(dim=1).all()
    assert (alive.sum(dim=1) == 1).all()


# Below a share of the mean


def test_the_threshold_is_a_share_of_the_mean_weight_of_what_is_left() -> None:
    """0.4 / 5 = 0.08 with five operations, a fifth with two."""
    mix = torch.tensor([0.081, 0.079, 0.5, 0.3, 0.04]).expand(6, 5)
    assert share(mix)[0].tolist() == [True, False, True, True, False]
    assert share(mix, share=1.0)[0].tolist() == [False, False, True, True, False]
    two = torch.zeros(6, 5, dtype=torch.bool)
    two[:, 2:4] = True
    for weight, stays in ((0.199, False), (0.201, True)):
        mix = torch.tensor([0.0, 0.0, weight, 1 - weight, 0.0]).expand(6, 5)
        assert share(mix, two)[0].tolist() == [False, False, stays, True, False]


def test_eight_operations_go_below_five_hundredths() -> None:
    space = darts()
    row = torch.tensor([0.049, 0.051, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1])
    rows = {kind: Mixture(row.expand(14, 8)) for kind in space.kinds}
    alive = BelowShare()(View(Clock(0, 0, 1, 0, 1), space, {}, rows, everything(space)))
    assert (~alive["reduce"]).nonzero().tolist() == [[edge, 0] for edge in range(14)]


def test_the_best_of_an_edge_stays_and_what_is_gone_is_gone() -> None:
    draw = torch.Generator().manual_seed(0)
    alive, counts = torch.ones(6, 5, dtype=torch.bool), []
    for sharpness in range(1, 30):
        logits = torch.randn(6, 5, generator=draw) * sharpness
        mix = torch.softmax(logits.masked_fill(~alive, -torch.inf), dim=1)
        new = share(mix, alive)
        assert not (new & ~alive).any()
        assert new.gather(1, mix.argmax(dim=1, keepdim=True)).all()
        alive = new
        counts.append(int(alive.sum()))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 12


def test_shares_are_looked_at_after_epochs_and_not_in_grace() -> None:
    assert BelowShare().every == "epoch"
    mix = torch.eye(5)[[1, 2, 3, 1, 2, 3]]
    for epoch, left in ((0, 30), (1, 30), (2, 6)):
        assert int(share(mix, epoch=epoch, grace_epochs=2).sum()) == left


def test_the_last_operations_into_a_node_are_held_by_shares_too() -> None:
    alive = share(one_node_lost())
    assert alive[1:3].all()
    assert alive[3].tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("number", [0, 1.5])
def test_a_share_is_a_share(number: float) -> None:
    with pytest.raises(ValueError, match=rf"`BelowShare\(share={number}\)` needs a share in"):
        BelowShare(number)
