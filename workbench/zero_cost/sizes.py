"""How large a network is, as a score: what every other score has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from workbench.protocols import Batch, Pictures
from workbench.zero_cost.scratch import scratch


@dataclass(frozen=True)
class Parameters:
    """The number of weights."""

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net`; the batch is not looked at."""
        return float(sum(weight.numel() for weight in net.parameters()))


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one picture in convolutions and fully connected layers."""

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net`; of the batch only the shape of a picture counts."""
        with scratch(net, generator) as copied, torch.no_grad():
            copied.eval()
            with FlopCounterMode(display=False) as counter:
                copied(batch.images[:1])
        return float(counter.get_total_flops() // 2)
