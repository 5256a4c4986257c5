"""The contract of a training-free score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from workbench.protocols import Batch

Pictures = Literal["data", "gaussian"]  # what a score's paper feeds the network


class Proxy(Protocol):
    """A score of a network that nobody trained.

    It leaves the network as it was, weights, statistics, mode and hooks, also when it fails; the
    same generator state gives the same score.  `pictures` is what its paper feeds: a caller hands
    over a batch of them.  A score that does not need labels does not look at them.
    """

    @property
    def needs_labels(self) -> bool:
        """Whether it reads the batch's labels."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger score promises the better network."""
        ...

    @property
    def pictures(self) -> Pictures:
        """Pictures of the data, or noise."""
        ...

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net`, which returns logits `(batch, classes)`; one device holds all."""
        ...
