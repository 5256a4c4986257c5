"""How a walk judges a genotype."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from workbench.parts.scores import ShortTraining, Untrained
from workbench.protocols import Batch
from workbench.spaces.genotype import Genotype
from workbench.zero_cost import proxies

GENOTYPE = Genotype.parse("|skip_connect~0|")


@dataclass
class FakeBench:
    """Remembers what it is asked for."""

    generator: torch.Generator = field(default_factory=torch.Generator)
    asked: list[tuple[object, ...]] = field(default_factory=list)

    def network(self, genotype: Genotype) -> nn.Module:
        self.asked.append(("network", genotype))
        return nn.Linear(1, sum(each[0] == "network" for each in self.asked), bias=False)

    def pictures(self, count: int) -> Batch:
        self.asked.append(("pictures", count))
        return Batch(torch.zeros(count, 1), torch.zeros(count))

    def noise(self, count: int) -> Batch:
        self.asked.append(("noise", count))
        return Batch(torch.ones(count, 1), torch.zeros(count))

    def accuracy(self, genotype: Genotype, *, epochs: int, batch_size: int, lr: float) -> float:
        self.asked.append(("accuracy", genotype, epochs, batch_size, lr))
        return 0.25


def proxy(pictures: str, higher: bool) -> object:
    """A score that is the number of a network's weights."""

    def measure(net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        return float(sum(weight.numel() for weight in net.parameters()))

    class Sizes(SimpleNamespace):
        def __call__(self, *given: Tensor) -> float:
            return measure(*given)

    return Sizes(pictures=pictures, higher_is_better=higher, needs_labels=False)


def test_a_short_training_is_the_held_out_accuracy() -> None:
    bench = FakeBench()
    assert ShortTraining(epochs=3, batch_size=7, lr=0.5)(GENOTYPE, bench) == 0.25
    assert bench.asked == [("accuracy", GENOTYPE, 3, 7, 0.5)]
    for wrong in ({"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}):
        with pytest.raises(ValueError, match="ShortTraining"):
            ShortTraining(**wrong)


def test_an_untrained_score_averages_networks_and_larger_is_better() -> None:
    bench = FakeBench()
    assert Untrained(proxy("data", True), 5, repeats=3)(GENOTYPE, bench) == 2.0  # of 1, 2, 3
    assert [each for each in bench.asked if each[0] != "network"] == [("pictures", 5)] * 3
    assert Untrained(proxy("data", False), 5)(GENOTYPE, FakeBench()) == -1.0
    noisy = FakeBench()
    Untrained(proxy("gaussian", True), 4)(GENOTYPE, noisy)
    assert ("noise", 4) in noisy.asked
    assert proxies.ntk_cond.higher_is_better is False
    with pytest.raises(ValueError, match=r"Untrained\(batch_size=0"):
        Untrained(proxies.mgm, batch_size=0)
