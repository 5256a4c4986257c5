"""How optimizers take their steps on a machine: in how many kernels, and where they count."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workbench.engine.machine import Machine

_HOW = ("fused", "foreach", "capturable")


def fitted(optimizer: torch.optim.Optimizer, machine: Machine) -> torch.optim.Optimizer:
    """`optimizer`, told how to step on `machine`; one that cannot be told stays as it is."""
    for group in optimizer.param_groups:
        # A host's count of steps would be captured as it is; of those that count on the device only
        # fused ones correct by it in more than float32.
        counts = machine.graphs and "capturable" in group
        if counts:
            group["capturable"] = True
        if "fused" in group and (machine.fused or counts):
            group["fused"], group["foreach"] = True, False
    return optimizer


def like(weight: Tensor, grad: Tensor) -> Tensor:
    """`grad`, its numbers in the order of those of `weight`.

    torch's fused steps go through memory: on a CPU they take the wrong numbers of one that lies
    otherwise, on a GPU they refuse it.
    """
    if grad.stride() == weight.stride():
        return grad
    return torch.empty_like(weight).copy_(grad)


def reloaded(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on with a saved state, which may be another machine's, and step as before it was loaded.

    Where steps are counted moves to where the optimizer looks for it.
    """
    own = [
        {name: group[name] for name in _HOW if name in group} for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, how in zip(optimizer.param_groups, own, strict=True):
        group.update(how)
        for weight in group["params"]:
            count = optimizer.state[weight].get("step") if weight in optimizer.state else None
            if isinstance(count, Tensor):
                there = weight.device if how.get("fused") or how.get("capturable") else "cpu"
                optimizer.state[weight]["step"] = count.to(there, torch.float32)
