"""What a walk looks at next: at random, or by evolution."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from workbench.parts.proposals import ElitistEvolution, RandomGenotypes, RegularizedEvolution
from workbench.spaces.choices import random_genotype
from workbench.spaces.genotype import Genotype
from workbench.spaces.nasbench201 import nasbench201
from workbench.walk import Proposal, Tried

SPACE = nasbench201(nodes=2)  # 5³ genotypes
WORTH = {"none": 0, "skip_connect": 1, "nor_conv_1x1": 2, "nor_conv_3x3": 4, "avg_pool_3x3": 3}
BEST = Genotype.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|")


def worth(genotype: Genotype) -> float:
    """A score that adds up, with one best genotype."""
    return float(sum(WORTH[gene.op] for gene in genotype.cells[0].genes))


def walked(proposal: Proposal, count: int, seed: int = 0) -> list[Tried]:
    generator, tried = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        genotype = proposal(SPACE, tried, generator)
        tried.append(Tried(genotype, worth(genotype)))
    return tried


def apart(a: Genotype, b: Genotype) -> int:
    """On how many edges two genotypes differ."""
    ops = [{(g.src, g.dst): g.op for g in each.cells[0].genes} for each in (a, b)]
    return sum(ops[0].get(e, "none") != ops[1].get(e, "none") for e in SPACE.cells[0].edges)


EVOLUTIONS = pytest.mark.parametrize(
    "proposal", [RegularizedEvolution(population=10, sample=4), ElitistEvolution(population=5)]
)


@EVOLUTIONS
def test_evolution_finds_the_best_of_an_additive_score(proposal: Proposal) -> None:
    for seed in range(3):
        tried = walked(proposal, 80, seed)
        assert max(tried, key=lambda each: each.score).genotype == BEST
    random = [max(t.score for t in walked(RandomGenotypes(), 80, seed)) for seed in range(20)]
    assert sum(score == 12.0 for score in random) < 20  # not so by chance alone


@EVOLUTIONS
def test_the_same_seed_walks_the_same_way(proposal: Proposal) -> None:
    assert walked(proposal, 40, 7) == walked(proposal, 40, 7)
    assert walked(proposal, 40, 7) != walked(proposal, 40, 8)


def test_the_first_population_is_random_search() -> None:
    first = walked(RandomGenotypes(), 10)
    assert walked(RegularizedEvolution(10, 4), 10) == first
    assert walked(ElitistEvolution(10), 10) == first


def test_the_oldest_dies_however_good_it_is() -> None:
    """The best genotype is the parent while it is young, and never once it is old."""
    poor = Genotype.parse("|none~0|+|none~0|none~1|")
    old = [Tried(BEST, 12.0), *[Tried(poor, 0.0)] * 3]
    generator = torch.Generator().manual_seed(0)
    rule = RegularizedEvolution(population=4, sample=4)
    near = Counter(apart(rule(SPACE, old, generator), BEST) for _ in range(100))
    assert near[1] > 40  # its children; the sample misses it with (3/4)⁴
    assert set(near) == {1, 2, 3}
    older = [*old, Tried(poor, 0.0)]
    assert all(apart(rule(SPACE, older, generator), poor) == 1 for _ in range(50))
    elite = ElitistEvolution(population=1)
    assert all(apart(elite(SPACE, older, generator), BEST) == 1 for _ in range(50))


def test_the_worst_dies_in_elitist_evolution() -> None:
    poor = Genotype.parse("|none~0|+|none~0|none~1|")
    generator = torch.Generator().manual_seed(0)
    tried = [Tried(BEST, 12.0), Tried(poor, 0.0), Tried(BEST, 12.0)]  # the worst is no oldest
    for _ in range(50):
        assert apart(ElitistEvolution(2)(SPACE, tried, generator), BEST) == 1


def test_a_sample_of_one_is_a_blind_walk_and_of_many_a_greedy_one() -> None:
    greedy = [walked(RegularizedEvolution(10, 10), 60, s)[-20:] for s in range(5)]
    blind = [walked(RegularizedEvolution(10, 1), 60, s)[-20:] for s in range(5)]
    means = [sum(t.score for w in each for t in w) / 100 for each in (greedy, blind)]
    assert means[0] > means[1] + 2


def test_random_proposals_forget_what_was_tried() -> None:
    generators = [torch.Generator().manual_seed(4) for _ in range(2)]
    found = [
        RandomGenotypes()(SPACE, tried, generator)
        for tried, generator in zip(([], [Tried(BEST, 1.0)] * 9), generators, strict=True)
    ]
    assert found[0] == found[1] == random_genotype(SPACE, torch.Generator().manual_seed(4))


def test_impossible_sizes_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"RegularizedEvolution\(population=3, sample=4\)"):
        RegularizedEvolution(population=3, sample=4)
    with pytest.raises(ValueError, match="sample of 1 or more"):
        RegularizedEvolution(population=3, sample=0)
    with pytest.raises(ValueError, match=r"ElitistEvolution\(population=0\)"):
        ElitistEvolution(population=0)
