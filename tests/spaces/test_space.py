"""Search spaces as data."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from workbench.spaces.darts import OPS, darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import CellShape, Space, SpaceError


@pytest.mark.parametrize(
    ("cells", "reductions"),
    [(8, [2, 5]), (20, [6, 13]), (14, [4, 9]), (5, [1, 3]), (11, [3, 7]), (17, [5, 11])],
)
def test_reductions_stand_at_a_third_and_two_thirds(cells: int, reductions: list[int]) -> None:
    layers = darts(cells=cells).layers
    assert [i for i, layer in enumerate(layers) if layer.reduction] == reductions
    assert [i for i, layer in enumerate(layers) if layer.kind == "reduce"] == reductions


def test_reductions_double_the_channels() -> None:
    space = darts(channels=16, cells=8)
    assert [layer.channels for layer in space.layers] == [16, 16, 32, 32, 32, 64, 64, 64]
    assert space.stem_channels == 48
    assert (space.channels, space.depth) == (16, 8)


def test_a_darts_cell_has_fourteen_edges_grouped_by_node() -> None:
    cell = darts().cell("reduce")
    assert cell.edges[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert [sum(dst < node for _, dst in cell.edges) for node in (2, 3, 4, 5)] == [0, 2, 5, 9]
    assert len(cell.edges) == 14
    assert cell.edge_names[2] == "reduce:0→3"
    assert cell.columns == OPS
    assert cell.outputs == (2, 3, 4, 5)


def test_nasbench201_has_seventeen_layers_and_six_edges() -> None:
    space = nasbench201()
    assert len(space.layers) == 17
    assert [i for i, layer in enumerate(space.layers) if layer.kind is None] == [5, 11]
    assert [layer.channels for layer in space.layers] == [16] * 5 + [32] * 6 + [64] * 6
    assert space.cell("cell").edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert space.cell("cell").outputs == (3,)
    assert (space.channels, space.depth, space.kinds) == (16, 5, ("cell",))


def test_columns_are_the_ordered_union_of_candidates() -> None:
    cell = CellShape("cell", 1, 2, (("b", "a"), ("a",), ("c", "b")))
    assert cell.columns == ("b", "a", "c")
    assert cell.candidates == ((True, True, False), (False, True, False), (True, False, True))


def test_a_restricted_space_keeps_its_own_order() -> None:
    space = darts().restricted(("sep_conv_3x3", "none"))
    assert space.columns == ("none", "sep_conv_3x3")
    assert space.layers == darts().layers
    assert space == darts(ops=("none", "sep_conv_3x3"))


def test_addresses_of_edges_are_unique() -> None:
    for space in (darts(), nasbench201()):
        assert len(set(space.edge_names)) == len(space.edge_names)


@pytest.mark.parametrize(
    "build",
    [
        lambda: darts(channels=0),
        lambda: darts(cells=0),
        lambda: darts(nodes=0),
        lambda: darts(ops=()),
        lambda: darts(ops=("none", "none")),
        lambda: nasbench201(channels=0),
        lambda: nasbench201(cells_per_stage=0),
        lambda: nasbench201(nodes=0),
        lambda: CellShape("cell", 1, 3, (("none",),) * 5),
        lambda: darts().restricted(("nor_conv_3x3",)),
        lambda: darts().restricted(()),
        lambda: darts().cell("cell"),
    ],
)
def test_an_impossible_space_is_refused(build: Callable[[], object]) -> None:
    with pytest.raises(SpaceError):
        build()


def test_spaces_are_values() -> None:
    assert darts() == darts()
    assert hash(darts()) == hash(darts())
    assert darts() != darts(nodes=3)
    assert isinstance(nasbench201(), Space)
