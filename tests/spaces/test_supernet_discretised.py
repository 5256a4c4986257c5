"""The supernet on its way to a network: dropped operations, one-hot mixing weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.spaces.supernets import (
    TINY,
    images,
    mixed,
    rows_of,
    search_cells,
    supernet,
    unequal_space,
    weights,
)
from workbench.parts.derivations import EdgeArgmax
from workbench.protocols import Mixture
from workbench.spaces.darts import OPS
from workbench.spaces.network import Network
from workbench.spaces.space import Space
from workbench.spaces.supernet import SearchCell, Supernet


def random_alive(space: Space, seed: int) -> dict[str, Tensor]:
    """About half of the operations, one or more on every edge."""
    draw = torch.Generator().manual_seed(seed)
    out = {}
    for cell in space.cells:
        chance = torch.rand(len(cell.edges), len(cell.columns), generator=draw)
        out[cell.kind] = (chance > 0.5) | (chance == chance.max(dim=1, keepdim=True).values)
    return out


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


def test_dropping_reads_columns_by_the_names_of_candidates() -> None:
    space = unequal_space()
    net = supernet(space)
    alive = {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}
    before = weights(net)
    net.drop(alive)
    assert weights(net) == before
    alive["normal"][0, space.columns.index("skip_connect")] = False
    alive["normal"][2, space.columns.index("dil_conv_5x5")] = False
    net.drop(alive)
    cell = next(cell for cell in search_cells(net) if cell.kind == "normal")
    assert list(cell.edges[0].ops) == ["sep_conv_3x3"]
    assert list(cell.edges[2].ops) == list(OPS[4:7])
    assert list(cell.edges[3].ops) == list(OPS)


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
