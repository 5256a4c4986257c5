"""Every space by name: what its edges may hold, and that it builds, searches and derives."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import READABLE, READABLE64, assert_same, searched, shrunk, trajectory
from workbench import methods
from workbench.engine import Machine
from workbench.parts.edges import WeightedSum
from workbench.probes import HessianEigenvalue
from workbench.spaces.darts import OPS, darts
from workbench.spaces.named import SPACES, named
from workbench.spaces.network import Network
from workbench.spaces.resize import individual
from workbench.spaces.robust import s1
from workbench.spaces.space import Space, SpaceError
from workbench.spaces.supernet import Supernet

SKIP, MAX, AVG = "skip_connect", "max_pool_3x3", "avg_pool_3x3"
SEP, DIL3, DIL5 = "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5"
EVERY = pytest.mark.parametrize("name", SPACES)


def weights(space: Space) -> int:
    with torch.device("meta"):
        net = Supernet(space, edge=WeightedSum)
    return sum(weight.numel() for weight in net.parameters())


def test_s1_has_the_published_pair_on_every_edge():
    normal, reduce = (cell.ops for cell in named("s1").cells)
    assert normal == (
        (SKIP, DIL3), (SKIP, DIL5),
        (SKIP, DIL5), (SKIP, SEP), (SKIP, DIL3),
        (MAX, SKIP), (SKIP, SEP), (SKIP, SEP), (SKIP, DIL3),
        (SKIP, SEP), (MAX, SKIP), (SKIP, DIL3), (DIL3, DIL5), (DIL3, DIL5),
    )  # fmt: skip
    assert reduce == (
        (MAX, AVG), (MAX, DIL3),
        (MAX, AVG), (MAX, AVG), (SKIP, DIL5),
        (MAX, AVG), (MAX, SEP), (SKIP, DIL3), (SKIP, DIL5),
        (MAX, AVG), (MAX, AVG), (SKIP, DIL5), (SKIP, DIL5), (SKIP, DIL5),
    )  # fmt: skip
    assert [cell.ops[:5] for cell in named("s1", nodes=2).cells] == [normal[:5], reduce[:5]]
    with pytest.raises(SpaceError, match="1 to 4 nodes"):
        s1(nodes=5)


@pytest.mark.parametrize(
    ("name", "ops"),
    [
        ("darts", OPS),
        ("s2", (SKIP, SEP)),
        ("s3", ("none", SKIP, SEP)),
        ("s4", ("noise", SEP)),
        ("fair_darts", OPS[1:]),
        ("gold", (SKIP, SEP)),
        ("darts_individual", OPS),
    ],
)
def test_every_edge_has_the_spaces_candidates(name, ops):
    space = named(name)
    assert {edge for cell in space.cells for edge in cell.ops} == {ops}
    assert all(len(cell.edges) == 14 for cell in space.cells)


def test_s1_to_s4_are_stacked_as_darts():
    for name in ("s1", "s2", "s3", "s4", "fair_darts"):
        space = named(name)
        assert (space.layers, space.stem_channels) == (darts().layers, darts().stem_channels)
        assert space.kinds == ("normal", "reduce")


def test_supernets_weigh_what_their_operations_do():
    assert weights(named("darts")) == 1_930_618
    assert weights(named("fair_darts")) == weights(named("darts_individual")) == 1_930_618
    assert weights(named("s2")) == weights(named("s3"))  # `none` weighs nothing
    # a skip on one of 8 edges of stride 2 has c times c weights, in cells of 32 and 64 channels
    assert weights(named("s2")) - weights(named("s4")) == 8 * (32 * 32 + 64 * 64)
    separable = sum(14 * (2 * 9 * c + 2 * c * c) for c in (16, 16, 32, 32, 32, 64, 64, 64))
    skeleton = weights(darts(ops=("none",)))
    assert weights(named("s4")) == skeleton + separable


def test_gold_has_cells_of_their_own_14_deep_and_36_wide():
    space = named("gold")
    assert (len(space.kinds), space.depth, space.channels) == (14, 14, 36)
    assert sum(len(cell.edges) * len(cell.columns) for cell in space.cells) == 14 * 14 * 2
    assert named("gold", channels=16, cells=8).channels == 16
    assert individual(named("s2", channels=36, cells=14)) == space


@EVERY
def test_a_named_space_has_the_sizes_that_are_asked_for(name):
    space = named(name, channels=8, cells=3, nodes=2)
    assert (space.channels, space.depth, {cell.nodes for cell in space.cells}) == (8, 3, {2})
    assert named(name) == SPACES[name]()


@EVERY
def test_a_named_space_builds_searches_and_derives(name):
    space = named(name, channels=4, cells=3 if name != "nasbench201" else 1, nodes=2)
    genotype = searched(shrunk(methods.darts, batch_size=24), space, machine=READABLE)[-1].genotype
    assert tuple(cell.kind for cell in genotype.cells) == space.kinds
    for genes in genotype.cells:
        shape = space.cell(genes.kind)
        for gene in genes.genes:
            assert gene.op in shape.ops[shape.edges.index((gene.src, gene.dst))]
    net = Network(genotype, channels=4, cells=space.depth, in_channels=1)
    assert net(torch.ones(2, 1, 8, 8))[0].isfinite().all()


@pytest.mark.parametrize("name", ["s1", "s3", "gold"])
def test_both_supernets_search_it_alike(name):
    space = named(name, channels=4, cells=3, nodes=2)
    method = shrunk(methods.darts, batch_size=24)
    readable = searched(method, space, machine=READABLE64)
    fast = searched(method, space, machine=Machine("cpu", "float64", engine="batched"))
    assert_same(trajectory(readable), trajectory(fast), atol=1e-10)


def test_noise_is_the_same_for_a_seed_and_whoever_looks_on():
    space = named("s4", channels=4, cells=3, nodes=1)
    method = shrunk(methods.darts, epochs=2, batch_size=12)
    watched = method.but(measures=(HessianEigenvalue(3),), stop=lambda view: tried(view))

    def tried(view) -> None:
        view.trial.evaluate(view.mix)
        view.trial.loss(view.mix)

    plain, seen = (searched(m, space, machine=READABLE) for m in (method, watched))
    for event in seen:
        if hasattr(event, "scalars"):
            event.scalars.pop("hessian_eigenvalue", None)
    assert_same(trajectory(plain), trajectory(seen))
