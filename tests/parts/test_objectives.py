"""What a search minimises."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from workbench.parts.objectives import CrossEntropy
from workbench.protocols import Batch


def test_cross_entropy_is_the_mean_in_nats_and_logs_the_accuracy() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [1.0, 1.5]], requires_grad=True)
    batch = Batch(torch.zeros(4, 3, 2, 2), torch.tensor([0, 1, 0, 1]))
    seen = []

    def net(*arguments: object) -> torch.Tensor:
        seen.append(arguments)
        return logits

    loss = CrossEntropy()(net, {}, batch, 0.5, torch.Generator())
    assert seen == [(batch.images, {}, 0.5)]
    torch.testing.assert_close(loss.value, functional.cross_entropy(logits, batch.labels))
    assert loss.logs["accuracy"].item() == 0.75
    assert loss.value.requires_grad
    assert not loss.logs["accuracy"].requires_grad
    assert CrossEntropy.needs_data


def test_equal_logits_cost_the_logarithm_of_the_classes() -> None:
    batch = Batch(torch.zeros(2, 3, 2, 2), torch.tensor([3, 7]))
    loss = CrossEntropy()(lambda *_: torch.zeros(2, 10), {}, batch, 0.0, torch.Generator())
    assert loss.value.item() == pytest.approx(math.log(10))
