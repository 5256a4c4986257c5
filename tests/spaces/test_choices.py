"""Genotypes as choices: every one as likely, one gene changed, one-hot rows."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from workbench.parts.derivations import EdgeArgmax
from workbench.protocols import Mixture
from workbench.spaces.choices import mutated, one_hot, random_genotype
from workbench.spaces.darts import darts
from workbench.spaces.genotype import Genotype
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.resize import individual
from workbench.spaces.space import Space, SpaceError

DARTS, NB201 = darts(), nasbench201()
BOTH = pytest.mark.parametrize("space", [DARTS, NB201, individual(darts(cells=3))])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chosen(space: Space, genotype: Genotype) -> dict[tuple[str, int, int], str]:
    """The operation of every edge, "none" where it has no gene."""
    out = {(cell.kind, *ends): "none" for cell in space.cells for ends in cell.edges}
    for cell in genotype.cells:
        out.update({(cell.kind, gene.src, gene.dst): gene.op for gene in cell.genes})
    return out


def differences(space: Space, a: Genotype, b: Genotype) -> list[tuple[str, str]]:
    old, new = chosen(space, a), chosen(space, b)
    return [(old[edge], new[edge]) for edge in old if old[edge] != new[edge]]


def test_random_operations_and_inputs_are_uniform() -> None:
    generator, count = seeded(), 600
    genotypes = [random_genotype(DARTS, generator) for _ in range(count)]
    genes = [gene for g in genotypes for cell in g.cells for gene in cell.genes]
    ops = Counter(gene.op for gene in genes)
    assert ops.keys() == set(DARTS.columns) - {"none"}
    assert chisquare(list(ops.values())).pvalue > 0.01
    for node in (3, 4, 5):  # node 2 hears both inputs, always
        sources = Counter(gene.src for gene in genes if gene.dst == node)
        assert len(sources) == node
        assert abs(sources[0] - 4 * count / node) < 5 * (4 * count / node) ** 0.5
    assert all(cell.paired for g in genotypes for cell in g.cells)
    assert all(len({*cell.genes}) == 8 for g in genotypes for cell in g.cells)


def test_a_random_cell_of_nasbench201_has_any_operation_on_any_edge_none_too() -> None:
    generator = seeded(1)
    seen = [chosen(NB201, random_genotype(NB201, generator)) for _ in range(500)]
    for edge in seen[0]:
        ops = Counter(each[edge] for each in seen)
        assert ops.keys() == set(NB201.columns)
        assert chisquare(list(ops.values())).pvalue > 0.001
    tiny = nasbench201(nodes=1, ops=("none", "skip_connect"))
    found = {str(random_genotype(tiny, generator)) for _ in range(30)}
    assert found == {"|none~0|", "|skip_connect~0|"}


@BOTH
def test_a_mutation_changes_one_gene_and_stays_in_the_space(space: Space) -> None:
    generator = seeded(2)
    genotype = random_genotype(space, generator)
    kinds = Counter()
    for _ in range(200):
        child = mutated(space, genotype, generator)
        changed = differences(space, genotype, child)
        for cell in space.cells:
            for gene in child.cell(cell.kind).genes:
                assert gene.op in cell.ops[cell.edges.index((gene.src, gene.dst))]
        if len(changed) == 2:  # an input: the gene has left one edge for another
            assert sorted(changed[0]) == sorted(changed[1])
            assert "none" in changed[0]
        else:
            assert len(changed) == 1
        if space.family == "darts":
            assert all(cell.paired for cell in child.cells)
        kinds[len(changed)] += 1
        genotype = child
    if space.family == "darts":
        assert 70 < kinds[2] < 130  # a fair coin
    else:
        assert kinds == {1: 200}


def test_a_space_of_one_genotype_cannot_be_mutated() -> None:
    only = darts(nodes=1, ops=("none", "skip_connect"))
    with pytest.raises(SpaceError, match="one genotype"):
        mutated(only, random_genotype(only, seeded()), seeded())


@BOTH
def test_one_hot_rows_derive_the_genotype(space: Space) -> None:
    genotype = random_genotype(space, seeded(3))
    rows = one_hot(space, genotype)
    alive = {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}
    assert all((each.sum(dim=1) == 1).all() for each in rows.values())
    mix = {kind: Mixture(each) for kind, each in rows.items()}
    assert EdgeArgmax()(space, mix, alive) == genotype
    without = space.restricted(tuple(op for op in space.columns if op != "none"))
    bare = one_hot(without, random_genotype(without, seeded(3)))
    want = {2: 8, 1: 6}[space.cells[0].inputs]  # genes of a cell; all edges have one in the latter
    assert all(int(each.sum()) == want for each in bare.values())
