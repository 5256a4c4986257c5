"""Pruning by shares of a node."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.parts.shares import WeakestShares
from workbench.parts.transitions import IndividualCells
from workbench.protocols import Clock, Mixture, View
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import Space

GOLD = IndividualCells(("skip_connect", "sep_conv_3x3"))(darts(channels=4, cells=3), None)
ONE = nasbench201(nodes=2, ops=("skip_connect", "nor_conv_1x1", "nor_conv_3x3"))  # 01, 02, 12


def everything(space: Space) -> dict[str, Tensor]:
    return {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}


def pruned(
    space: Space, mix: dict[str, Tensor], alive: dict[str, Tensor] | None = None, **settings: object
) -> dict[str, Tensor]:
    rows = {kind: Mixture(each) for kind, each in mix.items()}
    told = View(Clock(0, 0, 1, 0, 1), space, {}, rows, alive or everything(space))
    return WeakestShares(**settings)(told)


def one(rows: list[list[float]], **settings: object) -> list[list[bool]]:
    return pruned(ONE, {"cell": torch.tensor(rows)}, **settings)["cell"].tolist()


def test_every_operation_of_every_edge_can_be_pruned() -> None:
    """The unofficial code reaches the first edge into each node only."""
    reached = 0
    for cell in GOLD.cells:
        for edge in range(len(cell.edges)):
            for op in range(2):
                mix = {kind: torch.full((14, 2), 0.5) for kind in GOLD.kinds}
                mix[cell.kind][edge, op] = 1e-3
                alive = pruned(GOLD, mix)
                gone = {kind: (~mask).nonzero().tolist() for kind, mask in alive.items()}
                assert gone == {**{kind: [] for kind in GOLD.kinds}, cell.kind: [[edge, op]]}
                reached += 1
    assert reached == 3 * 14 * 2


def test_equal_weights_stay() -> None:
    mix = {kind: torch.full((14, 2), 0.5) for kind in GOLD.kinds}
    assert all(mask.all() for mask in pruned(GOLD, mix).values())


def test_all_at_or_below_the_low_share_go_and_as_many_more_as_asked_below_the_high_one() -> None:
    mix = {kind: torch.full((14, 2), 0.5) for kind in GOLD.kinds}
    for kind in GOLD.kinds:
        mix[kind][:2] = torch.tensor([[0.5, 0.5], [0.5, 0.004]])  # a share below 0.01
        mix[kind][9:12, 0] = 0.12  # shares between 0.01 and 0.05
    for count in (0, 4, 8, 20):
        alive = pruned(GOLD, mix, count=count)
        for mask in alive.values():
            assert not mask[1, 1]
        gone = sum(int((~mask).sum()) for mask in alive.values())
        assert gone == 3 + min(count, 9)


def test_the_smallest_of_all_cells_goes_first() -> None:
    mix = {kind: torch.full((14, 2), 0.5) for kind in GOLD.kinds}
    mix["normal_0"][0, 0], mix["reduce_1"][6, 1], mix["reduce_2"][13, 0] = 0.06, 0.09, 0.05
    gone = []
    for count in (1, 2, 3):
        alive = pruned(GOLD, mix, count=count)
        gone.append([kind for kind in GOLD.kinds if not alive[kind].all()])
    # Shares: 0.06 of 1.56, 0.09 of 3.59, 0.05 of 4.55.
    assert gone == [["reduce_2"], ["reduce_1", "reduce_2"], list(GOLD.kinds)]


def test_shares_are_counted_anew_after_each() -> None:
    """Two of 1 in 20: without the first the second is 1 in 19, which is more than 0.05."""
    rows = [[1.0, 1.0, 18.0], [1.0] * 3, [1.0] * 3]
    assert one(rows, low=0.0, high=0.0501)[0] == [False, True, True]
    assert one(rows, low=0.0501, high=0.0501)[0] == [False, False, True]


def test_an_edge_may_lose_all_but_a_node_never_does() -> None:
    rows = [[0.1, 0.2, 0.3], [0.001, 0.001, 0.001], [0.5, 0.6, 0.7]]
    assert one(rows) == [[True] * 3, [False] * 3, [True] * 3]
    alive = one(rows, low=0.9, high=0.99, count=50)
    assert alive == [[False, False, True], [False] * 3, [False, False, True]]


def test_what_is_gone_stays_gone_and_has_no_share() -> None:
    alive = {"cell": torch.tensor([[True, False, True]] + [[True] * 3] * 2)}
    before = alive["cell"].clone()
    mix = {"cell": torch.tensor([[0.06, 100.0, 0.94], [1.0] * 3, [1.0] * 3])}
    new = pruned(ONE, mix, alive)["cell"]
    assert torch.equal(alive["cell"], before)
    assert torch.equal(new, before)  # 0.06 of 1: the dead hundred does not count
    mix["cell"][0, 0] = 0.04
    assert pruned(ONE, mix, alive)["cell"][0].tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 0.1}, r"low=0\.1, high=0\.05.*0 <= low <= high < 1"),
        ({"high": 1.0}, "0 <= low <= high < 1"),
        ({"count": -1}, "0 or more operations"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeakestShares(**settings)
