"""The readable supernet: what it weighs, how it is stacked and how it mixes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from tests.spaces.supernets import (
    TINY,
    images,
    mixed,
    norms,
    rows_of,
    search_cells,
    supernet,
    unequal_space,
    weights,
)
from workbench.parts.edges import WeightedSum
from workbench.protocols import Mixture, OpFactory
from workbench.spaces.darts import OPS, darts
from workbench.spaces.ops import FactorizedReduce
from workbench.spaces.space import CellShape, Layer, Space
from workbench.spaces.supernet import Supernet


class Recorder(nn.Module):
    """A mixed edge that only notes what it was given."""

    def __init__(self, ops: Mapping[str, OpFactory], channels: int, stride: int) -> None:
        super().__init__()
        self.names, self.channels, self.stride = tuple(ops), channels, stride
        self.seen: list[tuple[list[float], float]] = []

    def forward(self, x: Tensor, row: Tensor, t: float) -> Tensor:
        self.seen.append((row.tolist(), t))
        return x[:, :, :: self.stride, :: self.stride]


# What it weighs


def test_the_darts_supernet_weighs_what_the_published_one_does() -> None:
    with torch.device("meta"):
        net = Supernet(darts(), edge=WeightedSum)
        larger = Supernet(darts(), edge=WeightedSum, classes=100)
    assert weights(net) == 1_930_618
    assert weights(larger) == 1_953_748
    cells = [45_888, 46_144, 144_000, 137_856, 139_904, 484_608, 460_032, 468_224]
    assert [weights(block) for block in net.blocks] == cells
    assert (weights(net.stem), weights(net.head)) == (1_296 + 96, 2_570)


def test_only_the_stem_of_929_batch_norms_has_scale_and_shift() -> None:
    with torch.device("meta"):
        net = Supernet(darts(), edge=WeightedSum)
    assert len(norms(net)) == 929
    assert [norm for norm in norms(net) if norm.affine] == norms(net.stem)
    assert len(norms(net.stem)) == 1


@pytest.mark.parametrize(
    ("cells", "ops", "count"), [(5, 8, 1_275_834), (11, 5, 887_226), (17, 3, 228_474)]
)
def test_restricted_supernets_weigh_what_the_stages_of_p_darts_do(
    cells: int, ops: int, count: int
) -> None:
    with torch.device("meta"):
        net = Supernet(darts(cells=cells).restricted(OPS[:ops]), edge=WeightedSum)
    assert weights(net) == count


def test_batch_norms_in_nasbench201_cells_have_no_scale_and_pools_have_none() -> None:
    net = supernet(TINY["nasbench201"])
    for cell in search_cells(net):
        assert len(norms(cell)) == 2 * len(cell.edges)  # of the two convolutions
        assert not any(norm.affine for norm in norms(cell))


# How it is stacked


def test_only_edges_from_the_inputs_of_reduction_cells_have_a_stride() -> None:
    net = Supernet(darts(channels=2, cells=8), edge=Recorder)
    for cell in search_cells(net):
        strides = [edge.stride for edge in cell.edges]
        inputs = [src < 2 for src, _ in cell.shape.edges]
        assert strides == [2 if cell.kind == "reduce" and near else 1 for near in inputs]


def test_the_farther_input_is_factorised_only_after_a_reduction() -> None:
    net = Supernet(darts(channels=2, cells=8), edge=Recorder)
    halved = [isinstance(cell.preprocess[0], FactorizedReduce) for cell in search_cells(net)]
    assert [index for index, is_halved in enumerate(halved) if is_halved] == [3, 6]
    assert not any(isinstance(cell.preprocess[1], FactorizedReduce) for cell in search_cells(net))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_any_size_and_number_of_channels_goes_in(name: str, size: tuple[int, int]) -> None:
    net = Supernet(TINY[name], edge=WeightedSum, in_channels=1, classes=5)
    assert net(torch.randn(2, 1, *size), net.uniform_mixtures()).shape == (2, 5)


@pytest.mark.parametrize("name", TINY)
def test_uniform_mixtures_are_equal_and_sum_to_one(name: str) -> None:
    for mixture in supernet(TINY[name]).uniform_mixtures().values():
        torch.testing.assert_close(mixture.ops.sum(dim=1), torch.ones(len(mixture.ops)))
        assert (mixture.ops == mixture.ops[0, 0]).all()


# How it mixes


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", TINY)
def test_a_cell_is_the_sum_over_edges_of_the_weighted_sum_over_operations(name: str) -> None:
    cell = next(search_cells(supernet(TINY[name])))
    rows = rows_of(TINY[name])[cell.kind].detach()
    inputs = [torch.randn(2, TINY[name].stem_channels, 6, 6) for _ in range(2)]
    states = inputs[-1:]
    if len(cell.preprocess):
        states = [layer(x) for layer, x in zip(cell.preprocess, inputs, strict=True)]
    for node in range(cell.shape.inputs, cell.shape.inputs + cell.shape.nodes):
        total = torch.zeros(())
        for edge, (src, dst) in enumerate(cell.shape.edges):
            for op, weight in zip(cell.shape.columns, rows[edge], strict=True):
                if dst == node:
                    total = total + weight * cell.edges[edge].ops[op](states[src])
        states.append(total)
    want = torch.cat([states[node] for node in cell.shape.outputs], dim=1)
    torch.testing.assert_close(cell(inputs, rows, None, 0.0), want, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", TINY)
def test_an_edge_weight_multiplies_the_edges_row(name: str) -> None:
    net, rows = supernet(TINY[name]), rows_of(TINY[name])
    beta = {kind: torch.rand(len(row)) for kind, row in rows.items()}
    weighted = {kind: Mixture(row, beta[kind]) for kind, row in rows.items()}
    folded = {kind: Mixture(row * beta[kind][:, None]) for kind, row in rows.items()}
    out = net(images(), weighted)
    torch.testing.assert_close(out, net(images(), folded), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(out, net(images(), mixed(rows)))


@pytest.mark.parametrize("name", TINY)
def test_every_operation_but_none_moves_the_output(name: str) -> None:
    net, rows = supernet(TINY[name]), rows_of(TINY[name])
    net(images(), mixed(rows)).square().sum().backward()
    for cell in TINY[name].cells:
        none = cell.columns.index("none")
        grad = rows[cell.kind].grad
        assert (grad[:, none] == 0).all()
        assert (grad[:, [i for i in range(len(cell.columns)) if i != none]] != 0).all()


def test_edges_are_given_their_own_candidates_and_progress() -> None:
    cell = CellShape("cell", 1, 2, (("b", "a"), ("a", "c"), ("c",)))
    ops = {"a": "none", "b": "skip_connect", "c": "nor_conv_1x1"}
    cell = CellShape("cell", 1, 2, tuple(tuple(ops[op] for op in row) for row in cell.ops), "last")
    space = Space("nasbench201", (cell,), (Layer("cell", 2, reduction=False),), 2)
    net = Supernet(space, edge=Recorder)
    rows = torch.tensor([[0.0, 1.0, 2.0], [10.0, 11.0, 12.0], [20.0, 21.0, 22.0]])
    net(images(), {"cell": Mixture(rows)}, 0.25)
    assert cell.columns == ("skip_connect", "none", "nor_conv_1x1")
    edges = next(search_cells(net)).edges
    assert [edge.names for edge in edges] == list(cell.ops)
    assert [edge.seen for edge in edges] == [
        [([0.0, 1.0], 0.25)],
        [([11.0, 12.0], 0.25)],
        [([22.0], 0.25)],
    ]


def test_the_weight_of_an_operation_that_is_no_candidate_is_ignored() -> None:
    space = unequal_space()
    net, rows = supernet(space), rows_of(space)
    out = net(images(), mixed(rows))
    candidate = torch.tensor(space.cells[0].candidates)
    assert not candidate.all()
    changed = {kind: torch.where(candidate, row, 7.0) for kind, row in rows.items()}
    assert torch.equal(net(images(), mixed(changed)), out)
    out.square().sum().backward()
    assert all((row.grad[~candidate] == 0).all() for row in rows.values())
