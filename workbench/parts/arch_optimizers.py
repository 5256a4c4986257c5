"""Architecture optimizers: the geometry of an alpha step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Adam:
    """Adam with L2 in the gradient (not decoupled); defaults of DARTS, arXiv:1806.09055."""

    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"`Adam(lr={self.lr})` needs a positive learning rate")

    def __call__(self, params: Sequence[Tensor]) -> torch.optim.Optimizer:
        """A torch Adam of `params`."""
        return torch.optim.Adam(
            params, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay
        )
