"""Proposals: which genotype a walk looks at next, from what it has tried so far."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from workbench.spaces.choices import mutated, random_genotype
from workbench.spaces.genotype import Genotype
from workbench.spaces.space import Space

if TYPE_CHECKING:
    from workbench.walk import Tried


@dataclass(frozen=True)
class RandomGenotypes:
    """Any genotype of the space, each as likely; earlier ones may come again.

    Li and Talwalkar, Random Search and Reproducibility for NAS, arXiv:1902.07638.
    """

    def __call__(
        self, space: Space, tried: Sequence[Tried], generator: torch.Generator
    ) -> Genotype:
        """The next genotype."""
        return random_genotype(space, generator)


@dataclass(frozen=True)
class RegularizedEvolution:
    """The best of `sample` random members of the population, mutated; the oldest member dies.

    The population is the last `population` genotypes tried, whatever they scored, so that nobody
    survives by having been lucky once.  The first `population` ones are random.

    Args:
        population: members.
        sample: drawn with replacement for each tournament.

    Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019,
    arXiv:1802.01548.  Differs: no mutation that changes nothing (there one in twenty `[mem]`), and
    a changed input never doubles the node's other one.
    """

    population: int = 100
    sample: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.sample <= self.population:
            raise ValueError(
                f"`RegularizedEvolution(population={self.population}, sample={self.sample})` needs "
                "a sample of 1 or more, and no more than the population; 100 and 10 are usual"
            )

    def __call__(
        self, space: Space, tried: Sequence[Tried], generator: torch.Generator
    ) -> Genotype:
        """The next genotype."""
        if len(tried) < self.population:
            return random_genotype(space, generator)
        alive = tried[-self.population :]
        picks = torch.randint(len(alive), (self.sample,), generator=generator).tolist()
        parent = max((alive[pick] for pick in picks), key=lambda each: each.score)
        return mutated(space, parent.genotype, generator)


@dataclass(frozen=True)
class ElitistEvolution:
    """A random member of the population, mutated; the worst member dies.

    The population is the best `population` genotypes of all that were tried; the first ones are
    random.

    Args:
        population: members.

    As Zen-NAS does (Lin et al., ICCV 2021, arXiv:2102.01063).  Differs: it begins with one
    network, and bounds its cost.
    """

    population: int = 256

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ValueError(
                f"`ElitistEvolution(population={self.population})` needs 1 member or more"
            )

    def __call__(
        self, space: Space, tried: Sequence[Tried], generator: torch.Generator
    ) -> Genotype:
        """The next genotype."""
        if len(tried) < self.population:
            return random_genotype(space, generator)
        best = heapq.nlargest(self.population, tried, key=lambda each: each.score)
        pick = int(torch.randint(len(best), (), generator=generator))
        return mutated(space, best[pick].genotype, generator)
