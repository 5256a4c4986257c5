"""What operations cost, the penalty's growth, and where a search stops."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from workbench.events import EpochEnded
from workbench.parts.flops import FlopsBelow, FlopsPenalty, _macs
from workbench.parts.transitions import IndividualCells
from workbench.protocols import Clock, Mixture, Rows, View
from workbench.spaces.darts import darts
from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.network import cost
from workbench.spaces.space import Space

TWO = IndividualCells(("skip_connect", "sep_conv_3x3", "nor_conv_3x3"))
SPACES = {
    "darts": TWO(darts(channels=4, cells=4, nodes=2), None),
    "nasbench201": TWO(nasbench201(channels=4, cells_per_stage=2), None),
}
BOTH = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
CPU, CLOCK = torch.device("cpu"), Clock(0, 0, 9, 0, 9)


def everything(space: Space) -> dict[str, Tensor]:
    return {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}


def halves(space: Space) -> dict[str, Tensor]:
    return {kind: 0.5 * mask for kind, mask in everything(space).items()}


def view(
    space: Space,
    *,
    pruned: Sequence[int] = (),
    macs: Sequence[int] = (),
    alive: Rows | None = None,
) -> View:
    """After epochs that pruned so many operations, or whose network cost so much."""
    left, ended = sum(int(mask.sum()) for mask in everything(space).values()), []
    for count in pruned:
        left -= count
        ended.append(EpochEnded(CLOCK, {}, 0.0, 0, alive=left))
    ended += [EpochEnded(CLOCK, {}, 0.0, 0, macs=each) for each in macs]
    return View(CLOCK, space, {}, {}, alive or everything(space), ended=tuple(ended))


def test_lambda_follows_the_published_dynamic() -> None:
    space, script = SPACES["darts"], [0, 0, 5, 0]
    found = [FlopsPenalty().strength(view(space, pruned=script[:n])) for n in range(5)]
    assert found == pytest.approx([0.0, 2e-5, 6e-5, 3e-5, 5e-5], rel=1e-12)


def test_exactly_as_many_as_asked_are_enough_and_one_less_is_not() -> None:
    rule, space = FlopsPenalty(first=1.0, factor=3.0, count=2), SPACES["darts"]
    assert [rule.strength(view(space, pruned=[n])) for n in (0, 1, 2, 3)] == [3.0, 3.0, 0.0, 0.0]
    assert rule.strength(view(space, pruned=[0, 2, 0])) == 3.0 / 3.0 + 3.0


@BOTH
def test_the_penalty_is_the_sum_over_nodes_by_hand(space: Space) -> None:
    draw = torch.Generator().manual_seed(0)
    alive = {k: torch.rand(m.shape, generator=draw) > 0.3 for k, m in everything(space).items()}
    mix = {
        k: torch.rand(m.shape, generator=draw, dtype=torch.float64) * m for k, m in alive.items()
    }
    want = 0.0
    for cell in space.cells:
        for node in range(cell.inputs, cell.inputs + cell.nodes):
            into = [i for i, (_, dst) in enumerate(cell.edges) if dst == node]
            weights = mix[cell.kind][into][alive[cell.kind][into]]
            if len(weights):
                want += (1 + len(weights) * weights / weights.sum()).log().sum()
    rows = {kind: Mixture(each) for kind, each in mix.items()}
    told = view(space, pruned=[0, 0], alive=alive)
    torch.testing.assert_close(FlopsPenalty()(told, rows), 6e-5 * torch.as_tensor(want))


@BOTH
def test_equal_shares_have_no_gradient_and_unequal_ones_drift_apart(space: Space) -> None:
    told = view(space, pruned=[0])
    for tilt, sign in ((0.0, 0), (0.3, 1), (-0.3, -1)):
        alpha = {kind: torch.zeros(len(m), 2).double() for kind, m in everything(space).items()}
        for rows in alpha.values():
            rows[:, 0] += tilt
            rows.requires_grad_()
        mix = {kind: Mixture(rows.sigmoid()) for kind, rows in alpha.items()}
        grads = torch.autograd.grad(FlopsPenalty(first=1.0)(told, mix), list(alpha.values()))
        for grad in grads:
            if sign == 0:
                torch.testing.assert_close(grad, torch.zeros_like(grad))
            else:  # a descent step widens the tilt
                assert (-grad[:, 0] * sign > 0).all()
                assert (-grad[:, 1] * sign < 0).all()


@pytest.mark.parametrize("size", [8, 9, 32])
@BOTH
def test_the_cost_of_operations_is_what_they_add_to_a_network(space: Space, size: int) -> None:
    def macs(full: bool) -> int:
        cells = tuple(
            CellGenes(
                cell.kind,
                cell.inputs,
                cell.nodes,
                tuple(Gene(op, *edge) for edge in cell.edges for op in cell.columns if full),
                cell.outputs,
            )
            for cell in space.cells
        )
        return cost(Genotype(cells), channels=4, cells=space.depth, size=(size, size)).macs

    total = sum(float(_macs(space, cell, size, CPU).sum()) for cell in space.cells)
    assert 1e6 * total == pytest.approx(macs(True) - macs(False), rel=1e-6)


def test_mu_presses_harder_on_what_costs_more() -> None:
    space = SPACES["darts"]
    told, mix = view(space, pruned=[0]), {k: Mixture(m) for k, m in halves(space).items()}
    plain, dear = FlopsPenalty()(told, mix), FlopsPenalty(mu=1.0)(told, mix)
    macs = sum(float(_macs(space, cell, 32, CPU).sum()) for cell in space.cells)
    log2 = torch.tensor(2.0).log()  # every term: n of one nth each
    torch.testing.assert_close(dear - plain, 2e-5 * macs * log2)


def test_costs_of_a_kind_add_up_over_its_cells() -> None:
    shared, own = darts(channels=4, cells=4, nodes=2), SPACES["darts"]
    shared = shared.restricted(own.columns)
    apart = sum(_macs(own, cell, 32, CPU) for cell in own.cells if cell.kind.startswith("normal"))
    torch.testing.assert_close(_macs(shared, shared.cell("normal"), 32, CPU), apart)


def test_a_search_stops_below_its_bound_and_not_at_it() -> None:
    space = SPACES["darts"]
    assert FlopsBelow(100.0)(view(space)) is None
    assert FlopsBelow(100.0)(view(space, macs=[99, 100])) is None
    reason = FlopsBelow(5e6)(view(space, macs=[6_000_000, 4_000_000]))
    assert reason == "4 million multiply-accumulates, below 5"


def test_a_share_is_of_the_first_epochs_network() -> None:
    rule, space = FlopsBelow(macs=None, share=0.5), SPACES["darts"]
    assert rule(view(space, macs=[100])) is None
    assert rule(view(space, macs=[100, 50])) is None
    assert rule(view(space, macs=[100, 70, 49]))
    assert rule(view(space, macs=[60, 49])) is None


@pytest.mark.parametrize(
    ("build", "settings", "message"),
    [
        (FlopsPenalty, {"first": 0.0}, r"first=0\.0.*a positive number"),
        (FlopsPenalty, {"factor": 1.0}, "a number above 1"),
        (FlopsPenalty, {"count": 0}, "at least 1 operation"),
        (FlopsPenalty, {"mu": -1.0}, "0 or more"),
        (FlopsPenalty, {"size": 0}, "at least 1 pixel"),
        (FlopsBelow, {"macs": None}, "needs one of `macs` and `share`"),
        (FlopsBelow, {"share": 0.5}, "needs one of `macs` and `share`"),
        (FlopsBelow, {"macs": 0.0}, "needs a positive number"),
        (FlopsBelow, {"macs": None, "share": 1.5}, r"a share in \(0, 1\]"),
    ],
)
def test_what_cannot_be_is_refused(build: type, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)
