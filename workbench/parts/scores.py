"""Scores: how good a walk holds a genotype for; larger is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.spaces.genotype import Genotype

if TYPE_CHECKING:
    from workbench.protocols import Proxy
    from workbench.walk import Bench


@dataclass(frozen=True)
class ShortTraining:
    """Accuracy on the held-out images after a short training on the others.

    SGD, cosine from `lr` to 0, every candidate from weights of its own.  The width and depth are
    the search space's, so it is a smaller network than the one that is evaluated in the end.

    Args:
        epochs: passes over the weights' share of the training images.
        batch_size: images of a batch.
        lr: first learning rate.
    """

    epochs: int = 5
    batch_size: int = 64
    lr: float = 0.025

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.lr > 0:
            raise ValueError(f"`{self}` needs epochs and a batch of 1 or more and a rate above 0")

    def __call__(self, genotype: Genotype, bench: Bench) -> float:
        """The accuracy in [0, 1]."""
        return bench.accuracy(genotype, epochs=self.epochs, batch_size=self.batch_size, lr=self.lr)


@dataclass(frozen=True)
class Untrained:
    """A training-free score of the untrained network, negative where less is better.

    Args:
        proxy: a score of `workbench.zero_cost.proxies`.
        batch_size: pictures; the same ones for every candidate where they are the data's.
        repeats: networks, each at weights of its own, whose scores are averaged.
    """

    proxy: Proxy
    batch_size: int = 64
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.repeats < 1:
            raise ValueError(
                f"`Untrained(batch_size={self.batch_size}, repeats={self.repeats})` needs 1 "
                "picture and 1 network or more"
            )

    def __call__(self, genotype: Genotype, bench: Bench) -> float:
        """The mean score, such that larger is better."""
        noise = self.proxy.pictures == "gaussian"
        total = 0.0
        for _ in range(self.repeats):
            batch = bench.noise(self.batch_size) if noise else bench.pictures(self.batch_size)
            total += self.proxy(bench.network(genotype), batch, bench.generator)
        mean = total / self.repeats
        return mean if self.proxy.higher_is_better else -mean
