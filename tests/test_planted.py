"""A truth planted beforehand is found: one operation per edge, the planted one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.tiny import SPACES, Planted, prunings, searched, shrunk, steps
from workbench import methods
from workbench.events import Derived, SearchEvent
from workbench.method import Method
from workbench.parts.arch_optimizers import Adam
from workbench.spaces.space import Space

SEEDS = range(3)


def planted(space: Space, seed: int) -> dict[str, Tensor]:
    """A column for every edge `{kind: (edges,)}`, random but never `none`, nor all the same."""
    generator = torch.Generator().manual_seed(1000 + seed)
    for _ in range(100):
        plant = {}
        for cell in space.cells:
            useful = torch.tensor([i for i, op in enumerate(cell.columns) if op != "none"])
            draw = torch.randint(len(useful), (len(cell.edges),), generator=generator)
            plant[cell.kind] = useful[draw]
        if all(len(columns.unique()) > 1 for columns in plant.values()):
            return plant
    raise AssertionError("no plant with two different operations")


def looking_for(plant: dict[str, Tensor], method: Method = methods.entmax3_prune) -> Method:
    return shrunk(
        method.but(objective=Planted(plant, strength=3.0), arch_optimizer=Adam(lr=0.05)), epochs=5
    )


def alive_ops(space: Space, event: SearchEvent) -> dict[str, list[str]]:
    """What is alive on every edge, by name."""
    return {
        edge: [op for op, alive in zip(cell.columns, row, strict=True) if alive]
        for cell in space.cells
        for edge, row in zip(cell.edge_names, event.alive[cell.kind].tolist(), strict=True)
    }


def truth(space: Space, plant: dict[str, Tensor]) -> dict[str, str]:
    return {
        edge: cell.columns[column]
        for cell in space.cells
        for edge, column in zip(cell.edge_names, plant[cell.kind].tolist(), strict=True)
    }


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SPACES)
def test_pruning_ends_with_the_planted_operation_alone_on_every_edge(name, seed):
    space = SPACES[name]
    plant = planted(space, seed)
    events = searched(looking_for(plant), space, seed=seed)
    want = truth(space, plant)
    first, last = alive_ops(space, steps(events)[0]), alive_ops(space, steps(events)[-1])
    assert max(map(len, first.values())) > 1, "else there was nothing to choose"
    assert last == {edge: [op] for edge, op in want.items()}

    everything = {(edge, op) for c in space.cells for edge in c.edge_names for op in c.columns}
    told = [(event.edge, event.op) for event in prunings(events)]
    assert len(told) == len(set(told))
    assert set(told) == everything - set(want.items())

    derived = events[-1]
    assert isinstance(derived, Derived)
    found = {
        f"{cell.kind}:{gene.src}→{gene.dst}": gene.op
        for cell in derived.genotype.cells
        for gene in cell.genes
    }
    assert found == want
    assert all(entropy == 0 for entropy in derived.residual_entropy.values())


def test_an_edge_whose_truth_is_none_is_not_in_the_genotype():
    space = SPACES["nasbench201"]
    plant = planted(space, 0)
    plant["cell"][1] = space.cells[0].columns.index("none")
    events = searched(looking_for(plant), space)
    assert alive_ops(space, steps(events)[-1])["cell:0→2"] == ["none"]
    ends = [(gene.src, gene.dst) for gene in events[-1].genotype.cells[0].genes]
    assert ends == [(0, 1), (1, 2)]


@pytest.mark.parametrize("name", ["entmax2_prune", "entmax3_prune_single_level"])
def test_other_sparse_methods_find_the_plant_too(name):
    space = SPACES["nasbench201"]
    plant = planted(space, 1)
    events = searched(looking_for(plant, methods.named()[name]), space)
    assert alive_ops(space, steps(events)[-1]) == {e: [op] for e, op in truth(space, plant).items()}


def test_without_the_planted_term_the_search_does_not_know_it():
    space = SPACES["darts"]
    plant = planted(space, 0)
    method = looking_for(plant).but(objective=Planted(plant, strength=0.0))
    last = alive_ops(space, steps(searched(method, space))[-1])
    assert last != {edge: [op] for edge, op in truth(space, plant).items()}
