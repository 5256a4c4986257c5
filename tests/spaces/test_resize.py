"""Spaces made from spaces."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import SPACES, searched, shrunk
from workbench import methods
from workbench.spaces.darts import darts
from workbench.spaces.genotype import CellGenes, Gene, Genotype, GenotypeError
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.network import Network
from workbench.spaces.resize import individual, resized
from workbench.spaces.space import SpaceError

BOTH = pytest.mark.parametrize("name", SPACES)


def test_a_resized_space_is_the_space_built_at_that_size():
    assert resized(darts(channels=16, cells=8), channels=4, cells=5) == darts(channels=4, cells=5)
    wider = resized(nasbench201(channels=2, cells_per_stage=1), channels=16, cells=5)
    assert wider == nasbench201()
    ops = ("none", "skip_connect")
    assert resized(darts(ops=ops), cells=3).columns == ops


def test_individual_cells_are_kinds_of_their_own_with_the_shapes_they_had():
    space = individual(darts(channels=4, cells=8))
    assert space.kinds == (
        "normal_0", "normal_1", "reduce_2", "normal_3",
        "normal_4", "reduce_5", "normal_6", "normal_7",
    )  # fmt: skip
    assert [layer.reduction for layer in space.layers] == [
        k.startswith("reduce") for k in space.kinds
    ]
    assert individual(space) == space
    with pytest.raises(SpaceError, match="of their own"):
        resized(space, cells=3)


@BOTH
def test_a_search_of_individual_cells_ends_with_genes_for_each_that_build_at_any_depth(name):
    space = individual(SPACES[name])
    genotype = searched(shrunk(methods.darts), space)[-1].genotype
    assert tuple(cell.kind for cell in genotype.cells) == space.kinds
    assert Genotype.parse(str(genotype)) == genotype
    for cells in (space.depth, 5, 8):
        net = Network(genotype, channels=4, cells=cells, in_channels=1)
        assert net(torch.ones(2, 1, 8, 8))[0].isfinite().all()


def test_a_deeper_stack_repeats_the_cells_of_each_row_between_the_reductions():
    space = individual(darts(channels=4, cells=8, nodes=1))
    genotype = searched(shrunk(methods.darts), space)[-1].genotype
    blocks = Network(genotype, channels=4, cells=14, in_channels=1).blocks
    kinds = [block.genes.kind for block in blocks]
    assert kinds == [
        "normal_0", "normal_1", "normal_0", "normal_1", "reduce_2",
        "normal_3", "normal_4", "normal_3", "normal_4", "reduce_5",
        "normal_6", "normal_7", "normal_6", "normal_7",
    ]  # fmt: skip


def test_a_stack_of_one_or_two_cells_of_their_own_is_built_at_its_depth_alone():
    for cells in (1, 2):
        space = individual(darts(channels=4, cells=cells, nodes=1))
        genes = (Gene("sep_conv_3x3", 0, 2),)
        found = Genotype(tuple(CellGenes(c.kind, 2, 1, genes, c.outputs) for c in space.cells))
        net = Network(found, channels=4, cells=cells, in_channels=1)
        logits, _ = net(torch.zeros(2, 1, 8, 8))
        assert logits.shape == (2, 10)
        with pytest.raises(GenotypeError, match="no cell to stand"):
            Network(found, channels=4, cells=3 + cells)
