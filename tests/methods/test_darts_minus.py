"""DARTS-: an auxiliary skip that fades out."""

from __future__ import annotations

import pytest
import torch

from tests.spaces.supernets import TINY, images, mixed, rows_of, search_cells, supernet, weights
from tests.tiny import READABLE, SPACES, searched, shrunk
from workbench import methods
from workbench.parts.edges import AuxiliarySkip, WeightedSum
from workbench.parts.schedules import Linear, scalar_at
from workbench.spaces.darts import darts
from workbench.spaces.ops import FactorizedReduce
from workbench.spaces.space import Space
from workbench.spaces.supernet import Supernet

EDGE = methods.darts_minus.stages[0].edge
SPACE = pytest.mark.parametrize("space", TINY.values(), ids=TINY)


def aided(space: Space, like: Supernet) -> Supernet:
    """The same weights, with auxiliary skips."""
    net = Supernet(space, edge=EDGE, classes=3)
    own = net.state_dict()
    given = like.state_dict()
    for name in own:
        plain = name.replace(".edge.", ".")
        if plain in given:
            own[name] = given[plain]
    net.load_state_dict(own)
    return net


def test_beta_is_linear_from_one_to_nothing() -> None:
    assert EDGE == AuxiliarySkip(Linear(1.0, 0.0), WeightedSum)
    betas = [scalar_at(EDGE.beta, epoch / 50) for epoch in (0, 1, 25, 49, 50)]
    assert betas == pytest.approx([1.0, 0.98, 0.5, 0.02, 0.0])


@SPACE
def test_at_the_end_the_forward_is_that_of_darts(space: Space) -> None:
    plain = supernet(space)
    net, mixtures = aided(space, plain), mixed(rows_of(space))
    torch.testing.assert_close(net(images(), mixtures, 1.0), plain(images(), mixtures, 1.0))
    assert not torch.allclose(net(images(), mixtures, 0.9), plain(images(), mixtures, 0.9))


def test_the_weights_more_are_those_of_the_factorised_reductions() -> None:
    """A reduction of c channels has c²; 8 edges of stride 2 at 32 and 8 at 64 channels."""
    net, plain = Supernet(darts(), edge=EDGE), Supernet(darts(), edge=WeightedSum)
    extra = [edge.skip for cell in search_cells(net) for edge in cell.edges]
    reductions = [skip for skip in extra if isinstance(skip, FactorizedReduce)]
    assert len(reductions) == 16
    more = weights(net) - weights(plain)
    assert more == sum(weights(skip) for skip in reductions) == 8 * 32**2 + 8 * 64**2
    assert not any(skip.norm.affine for skip in reductions)


@pytest.mark.parametrize("space", SPACES)
def test_the_auxiliary_skip_has_no_alpha_and_is_in_no_genotype(space: str) -> None:
    ops = tuple(
        op for op in SPACES[space].columns if op in ("none", "sep_conv_3x3", "nor_conv_3x3")
    )
    only = SPACES[space].restricted(ops)
    events = searched(shrunk(methods.darts_minus), only, machine=READABLE)
    for cell in events[-1].genotype.cells:
        assert {gene.op for gene in cell.genes} <= set(ops) - {"none"}
    for kind, rows in events[0].alpha.items():
        assert rows.shape == (len(only.cell(kind).edges), 2)
