"""Spaces of later stages: deeper, with fewer operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.parts.growth import Grow
from workbench.protocols import Clock, Mixture, View
from workbench.spaces.darts import OPS, darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.resize import individual
from workbench.spaces.space import Space


def view(space: Space, mix: dict[str, Tensor] | None = None) -> View:
    draw = torch.Generator().manual_seed(0)
    rows = mix or {
        cell.kind: torch.rand(len(cell.edges), len(cell.columns), generator=draw)
        * torch.tensor(cell.candidates)
        for cell in space.cells
    }
    alive = {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}
    return View(Clock(0, 0, 1, 0, 1), space, {}, {k: Mixture(r) for k, r in rows.items()}, alive)


def test_the_first_stage_is_the_space_itself() -> None:
    assert Grow()(darts(), None) == darts()
    assert Grow(keep=5)(darts(), None) == darts()
    assert Grow(deeper=2)(darts(cells=5), None) == darts(cells=7)


def test_five_cells_become_eleven_and_seventeen() -> None:
    first = darts(cells=5)
    second = Grow(6, keep=5)(first, view(first))
    third = Grow(12, keep=3)(first, view(second))
    assert [space.depth for space in (first, second, third)] == [5, 11, 17]
    assert second.layers == darts(cells=11).layers
    assert third.layers == darts(cells=17).layers


def test_every_edge_keeps_its_heaviest_operations_in_their_order() -> None:
    space = darts()
    mix = {kind: torch.zeros(14, 8) for kind in space.kinds}
    mix["normal"][0] = torch.tensor([0.3, 0.0, 0.1, 0.2, 0.0, 0.05, 0.0, 0.35])
    mix["reduce"][5, 4:] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    grown = Grow(keep=3)(space, view(space, mix))
    assert grown.cell("normal").ops[0] == ("none", "skip_connect", "dil_conv_5x5")
    assert grown.cell("reduce").ops[5] == ("sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
    assert grown.cell("normal").ops[1] == OPS[:3]  # ties: the lower index
    assert grown.layers == space.layers


def test_candidates_of_a_later_stage_are_among_those_of_an_earlier_one() -> None:
    first = darts()
    second = Grow(keep=5)(first, view(first))
    third = Grow(keep=3)(first, view(second))
    for kind in first.kinds:
        for all_, five, three in zip(
            first.cell(kind).ops, second.cell(kind).ops, third.cell(kind).ops, strict=True
        ):
            assert (len(all_), len(five), len(three)) == (8, 5, 3)
            assert set(three) < set(five) < set(all_)
    assert Grow(keep=None)(first, view(second)).cells == second.cells


def test_nasbench201_grows_by_a_third_in_each_stage_and_keeps_what_it_has() -> None:
    first = nasbench201(cells_per_stage=2)
    second = Grow(6, keep=5)(first, view(first))
    third = Grow(7, keep=3)(first, view(second))
    assert [space.depth for space in (second, third)] == [4, 5]
    assert second.cells == first.cells
    assert {len(ops) for ops in third.cell("cell").ops} == {3}


def test_cells_of_their_own_are_refused_before_the_first_step() -> None:
    """A first stage, which does not grow, would be trained in vain."""
    space = individual(darts(cells=3))
    with pytest.raises(ValueError, match="`Grow` needs cells that share alphas"):
        Grow()(space, None)
    with pytest.raises(ValueError, match="`Grow` needs cells that share alphas"):
        Grow(1)(space, view(space))


@pytest.mark.parametrize("settings", [{"deeper": -1}, {"keep": 0}])
def test_growth_is_not_negative_and_leaves_something(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="`Grow"):
        Grow(**settings)
