"""Objectives: what a search minimises on a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from workbench.protocols import Batch, BoundNet, Loss, Mixtures


@dataclass(frozen=True)
class CrossEntropy:
    """Mean cross-entropy (nats) of the labels; logs the accuracy in [0, 1]."""

    needs_data: ClassVar[bool] = True
    opens_net: ClassVar[bool] = False
    steady: ClassVar[bool] = True

    def __call__(
        self,
        net: BoundNet,
        mixtures: Mixtures,
        batch: Batch | None,
        t: float,
        generator: torch.Generator,
    ) -> Loss:
        """The loss on `batch`."""
        assert batch is not None, "this objective needs data"
        logits = net(batch.images, mixtures, t)
        accuracy = (logits.detach().argmax(dim=1) == batch.labels).float().mean()
        return Loss(functional.cross_entropy(logits, batch.labels), {"accuracy": accuracy})
