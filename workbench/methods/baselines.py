"""What every honest table needs beside gradients: random and evolutionary search."""

from __future__ import annotations

from workbench.parts.proposals import RandomGenotypes, RegularizedEvolution
from workbench.parts.scores import ShortTraining
from workbench.walk import Walk

# What a search is worth is what it gains over this: over some seeds, the mean random genotype.
random_genotype = Walk(
    name="random_genotype",
    paper="arXiv:1902.07638",
    summary="One genotype drawn at random, as it is.",
    candidates=1,
    proposal=RandomGenotypes(),
    score=None,
)

# Equal cost: a first-order search of 50 epochs passes forward and backward over both halves of the
# training images in each, 100 passes over a half.  So do 20 candidates of 5 epochs; judging them
# adds 20 forward passes.  It counts passes: a candidate's pass costs less than the supernet's, on
# 8 of 14 edges and with one operation of 8 on each.  DARTS's own baseline trained 24 candidates for
# 100 epochs each.
random_search = random_genotype.but(
    name="random_search",
    summary="The best of 20 random genotypes by a short training: as many passes as DARTS.",
    candidates=20,
    score=ShortTraining(epochs=5),
)
random_search_small = random_search.but(  # 24 passes, as of 12 epochs
    name="random_search_small", candidates=8, score=ShortTraining(epochs=3)
)

# Published on tables with a population of 100 and samples of 10 (of 25 in AmoebaNet's own space,
# where 20,000 candidates were trained for 25 epochs each).  Here a candidate is trained: 1,000 of
# 5 epochs are 5,000 passes over a half, 50 searches' worth; `candidates` makes it cheaper.
regularized_evolution = Walk(
    name="regularized_evolution",
    paper="arXiv:1802.01548",
    summary="The best of a sample is mutated, the oldest dies; short trainings judge.",
    candidates=1000,
    proposal=RegularizedEvolution(population=100, sample=10),
    score=ShortTraining(epochs=5),
    round=50,
)
regularized_evolution_small = regularized_evolution.but(
    name="regularized_evolution_small",
    candidates=24,
    proposal=RegularizedEvolution(population=8, sample=3),
    score=ShortTraining(epochs=1),
    round=4,
)
