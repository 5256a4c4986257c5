"""The readable supernet: what it weighs, how it mixes, and what dropping operations leaves."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from workbench.parts.derivations import EdgeArgmax
from workbench.parts.edges import WeightedSum
from workbench.protocols import Mixture, OpFactory
from workbench.spaces.darts import OPS, darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.network import Network
from workbench.spaces.ops import FactorizedReduce
from workbench.spaces.space import CellShape, Layer, Space
from workbench.spaces.supernet import SearchCell, Supernet

TINY = {
    "darts": darts(channels=2, cells=3, nodes=2),
    "nasbench201": nasbench201(channels=2, cells_per_stage=1),
}


def weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def supernet(space: Space, seed: int = 0) -> Supernet:
    torch.manual_seed(seed)
    return Supernet(space, edge=WeightedSum, classes=3)


def images(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def rows_of(space: Space, seed: int = 0) -> dict[str, Tensor]:
    """Random mixing weights `(edges, ops)`, leaves of a graph."""
    draw = torch.Generator().manual_seed(seed)
    return {
        cell.kind: torch.rand(len(cell.edges), len(cell.columns), generator=draw).requires_grad_()
        for cell in space.cells
    }


def mixed(rows: Mapping[str, Tensor]) -> dict[str, Mixture]:
    return {kind: Mixture(row) for kind, row in rows.items()}


def random_alive(space: Space, seed: int) -> dict[str, Tensor]:
    """About half of the operations, one or more on every edge."""
    draw = torch.Generator().manual_seed(seed)
    out = {}
    for cell in space.cells:
        chance = torch.rand(len(cell.edges), len(cell.columns), generator=draw)
        out[cell.kind] = (chance > 0.5) | (chance == chance.max(dim=1, keepdim=True).values)
    return out


def search_cells(net: Supernet) -> Iterator[SearchCell]:
    return (block for block in net.blocks if isinstance(block, SearchCell))


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


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
    ops = (OPS[3:5], OPS[:2], OPS[4:], OPS, OPS[3:4])
    cells = tuple(CellShape(kind, 2, 2, ops) for kind in ("normal", "reduce"))
    space = Space("darts", cells, TINY["darts"].layers, TINY["darts"].stem_channels)
    net, rows = supernet(space), rows_of(space)
    out = net(images(), mixed(rows))
    candidate = torch.tensor(cells[0].candidates)
    assert not candidate.all()
    changed = {kind: torch.where(candidate, row, 7.0) for kind, row in rows.items()}
    assert torch.equal(net(images(), mixed(changed)), out)
    out.square().sum().backward()
    assert all((row.grad[~candidate] == 0).all() for row in rows.values())


# What dropping leaves


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TINY)
def test_a_pruned_supernet_equals_the_masked_supernet(name: str, seed: int) -> None:
    space = TINY[name]
    alive = random_alive(space, seed)
    masked = supernet(space, seed)
    pruned = copy.deepcopy(masked)
    pruned.drop(alive)
    grads = []
    for net in (masked, pruned):
        rows = rows_of(space, seed)
        out = net(images(), mixed({kind: row * alive[kind] for kind, row in rows.items()}))
        out.square().sum().backward()
        grads.append((out, rows))
    (out, rows), (want, wanted) = grads
    assert torch.equal(out, want)
    for kind in rows:
        assert torch.equal(rows[kind].grad, wanted[kind].grad)
    full = dict(masked.named_parameters())
    for key, weight in pruned.named_parameters():
        torch.testing.assert_close(weight.grad, full[key].grad, rtol=1e-12, atol=1e-12)
    buffers = dict(masked.named_buffers())
    for key, value in pruned.named_buffers():
        assert torch.equal(value, buffers[key])


@pytest.mark.parametrize("name", TINY)
def test_a_dropped_operation_is_gone_and_never_called(name: str) -> None:
    space = TINY[name]
    net, alive = supernet(space), random_alive(space, 5)
    calls: dict[tuple[str, int, str], int] = {}
    gone = 0
    for cell in search_cells(net):
        for index, edge in enumerate(cell.edges):
            for column, op in enumerate(cell.shape.columns):
                key = (cell.kind, index, op)
                calls[key] = 0

                def count(*_: object, key: tuple[str, int, str] = key) -> None:
                    calls[key] += 1

                edge.ops[op].register_forward_hook(count)
                gone += 0 if alive[cell.kind][index, column] else weights(edge.ops[op])
    before = weights(net)
    net.drop(alive)
    net(images(), net.uniform_mixtures())
    assert gone > 0
    assert weights(net) == before - gone
    for cell in space.cells:
        called = [
            [calls[cell.kind, i, op] > 0 for op in cell.columns] for i in range(len(cell.edges))
        ]
        assert torch.equal(torch.tensor(called), alive[cell.kind])


def test_dropping_twice_is_dropping_once() -> None:
    space, net = TINY["darts"], supernet(TINY["darts"])
    net.drop(random_alive(space, 1))
    once = weights(net)
    net.drop(random_alive(space, 1))
    assert weights(net) == once


# What it has in common with the derived network


def without_pool_norms(net: Supernet) -> Supernet:
    for cell in search_cells(net):
        for edge in cell.edges:
            for op in edge.ops:
                if "pool" in op and isinstance(edge.ops[op], nn.Sequential):
                    edge.ops[op] = edge.ops[op][0]
    return net


def transplant(net: Supernet, network: Network) -> None:
    """Copy a supernet's weights into its derived network; scales stay 1 and shifts 0."""
    pairs = [(net.stem, network.stem), (net.head, network.head)]
    for block, derived in zip(net.blocks, network.blocks, strict=True):
        if not isinstance(block, SearchCell):
            pairs.append((block, derived))
            continue
        pairs.append((block.preprocess, derived.preprocess))
        for gene, op in zip(derived.genes.genes, derived.ops, strict=True):
            edge = block.edges[block.shape.edges.index((gene.src, gene.dst))]
            pairs.append((edge.ops[gene.op], op))
    for old, new in pairs:
        assert not new.load_state_dict(old.state_dict(), strict=False).unexpected_keys


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", TINY)
def test_a_one_hot_supernet_is_the_derived_network(name: str, seed: int) -> None:
    space = TINY[name]
    net = without_pool_norms(supernet(space, seed))
    one_hot = {
        kind: Mixture(nn.functional.one_hot(row.argmax(dim=1), row.shape[1]).to(row.dtype))
        for kind, row in rows_of(space, seed).items()
    }
    everything = {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}
    genotype = EdgeArgmax()(space, one_hot, everything)
    network = Network(genotype, channels=2, cells=space.depth, classes=3)
    transplant(net, network)
    out, _ = network(images())
    torch.testing.assert_close(net(images(), one_hot), out, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_a_one_hot_pool_is_normed_in_the_supernet_only() -> None:
    space = TINY["darts"].restricted(("max_pool_3x3",))
    net = supernet(space)
    uniform = net.uniform_mixtures()
    before = net(images(), uniform)
    assert not torch.allclose(before, without_pool_norms(net)(images(), uniform))
