"""Linear regions as TE-NAS counts them: of small crops of the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from workbench.protocols import Batch, Pictures
from workbench.zero_cost.activation_scores import relu_patterns
from workbench.zero_cost.scratch import scratch


@dataclass(frozen=True)
class CropRegions:
    """How many linear pieces of the network small grey crops of the batch fall into.

    Like `LinearRegions`, of pictures as they are: neighbouring pixels are alike, so fewer pieces
    are met than crops are taken, where Gaussian ones of a few pixels all differ.

    Args:
        samples: crops, each of a random picture, channel and place.
        side: their height and width in pixels.

    Chen et al., TE-NAS, ICLR 2021, arXiv:2102.11535.
    """

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    samples: int = 3000
    side: int = 3

    def __post_init__(self) -> None:
        if self.samples < 2 or self.side < 1:
            raise ValueError(
                f"`CropRegions(samples={self.samples}, side={self.side})` needs 2 or more crops "
                "of 1 pixel or more"
            )

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The count for `net`, which takes one channel."""
        places = batch.images.unfold(2, self.side, 1).unfold(3, self.side, 1)
        places = places.flatten(0, 3)  # (pictures × channels × rows × columns, side, side)
        picks = torch.randint(
            len(places), (self.samples,), generator=generator, device=places.device
        )
        with scratch(net, generator) as copied:
            codes = torch.cat(relu_patterns(copied, places[picks][:, None]), dim=1)
        return float(len(torch.unique(codes, dim=0)))
