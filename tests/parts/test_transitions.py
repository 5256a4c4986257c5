"""What a new stage searches in, and what its supernet takes over."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workbench.parts.edges import WeightedSum
from workbench.parts.transitions import IndividualCells, keep_weights
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.resize import individual
from workbench.spaces.space import SpaceError
from workbench.spaces.supernet import Supernet


def supernet(seed: int) -> Supernet:
    torch.manual_seed(seed)
    return Supernet(darts(channels=2, cells=2, nodes=2), edge=WeightedSum)


def test_weights_are_copied_and_not_shared() -> None:
    old, new = supernet(0), supernet(1)
    keep_weights(old, new)
    for before, after in zip(old.parameters(), new.parameters(), strict=True):
        assert torch.equal(before, after)
        assert before.data_ptr() != after.data_ptr()
        assert after.requires_grad


def test_batch_norm_statistics_start_anew() -> None:
    old, new = supernet(0), supernet(1)
    old(torch.randn(4, 3, 8, 8), old.uniform_mixtures())
    keep_weights(old, new)
    norms = [m for m in new.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((norm.running_mean == 0).all() and norm.num_batches_tracked == 0 for norm in norms)
    images = torch.randn(4, 3, 8, 8)
    uniform = old.uniform_mixtures()
    assert torch.equal(old(images, uniform), new(images, uniform))


def test_cells_of_their_own_keep_what_the_space_has_of_the_operations_named() -> None:
    space = darts(channels=2, cells=4)
    assert IndividualCells()(space, None) == individual(space)
    two = IndividualCells(("sep_conv_3x3", "nor_conv_3x3", "skip_connect"))
    assert two(space, None) == individual(space.restricted(("skip_connect", "sep_conv_3x3")))
    assert two(nasbench201(), None).columns == ("skip_connect", "nor_conv_3x3")
    again = two(two(space, None), None)
    assert again == two(space, None)
    with pytest.raises(SpaceError, match="needs one or more"):
        IndividualCells(("nor_conv_3x3",))(space, None)


@pytest.mark.parametrize("cells", [3, 8, 20])
def test_cells_of_their_own_go_without_what_is_named(cells: int) -> None:
    found = IndividualCells(without=("none", "nor_conv_7x7"))(darts(cells=cells), None)
    assert len(found.kinds) == cells
    for cell in found.cells:
        assert len(cell.edges) == 14
        assert cell.columns == darts().columns[1:]
    both = IndividualCells(("none", "skip_connect"), without=("none",))
    assert both(nasbench201(), None).columns == ("skip_connect",)
