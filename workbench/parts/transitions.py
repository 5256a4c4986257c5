"""Between stages: what a new supernet takes over from the old one."""

from __future__ import annotations

from torch import nn


def keep_weights(old: nn.Module, new: nn.Module) -> None:
    """Copy every weight; batch-norm statistics start anew, they belong to the old stage's inputs.

    Both supernets are of one space and have the same operations alive.
    """
    weights = dict(old.named_parameters())
    for name, weight in new.named_parameters():
        weight.data.copy_(weights[name].data)
