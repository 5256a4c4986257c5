"""Candidates of a stage."""

from __future__ import annotations

import pytest

from workbench.parts.candidates import Without
from workbench.spaces.darts import OPS, darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import SpaceError


@pytest.mark.parametrize("space", [darts(), nasbench201()])
def test_an_operation_is_left_out_of_every_edge_and_nothing_else_changes(space: object) -> None:
    found = Without(("none",))(space, None)
    assert found.kinds == space.kinds
    assert found.layers == space.layers
    for cell in found.cells:
        assert "none" not in cell.columns
        assert ("none", *cell.columns) == space.cell(cell.kind).columns
        assert set(cell.ops) == {cell.columns}


def test_fair_darts_has_seven_operations() -> None:
    assert len(OPS) == 8
    assert Without(("none",))(darts(), None).columns == OPS[1:]


def test_what_the_space_does_not_have_is_not_missed() -> None:
    once = Without(("none",))(darts(), None)
    assert Without(("none", "nor_conv_3x3"))(once, None) == once


def test_an_edge_that_is_left_with_nothing_is_refused() -> None:
    with pytest.raises(SpaceError, match="needs one or more"):
        Without(OPS)(darts(), None)


def test_one_name_instead_of_a_tuple_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a tuple"):
        Without("none")
