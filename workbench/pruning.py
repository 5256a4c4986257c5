"""Take out of a running search what its pruner ruled out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.arch import Arch
from workbench.engine import FastSupernet
from workbench.events import Held, Pruned
from workbench.protocols import Clock, Holding, Rows
from workbench.spaces.space import CellShape
from workbench.spaces.supernet import Supernet


def spared(old: Rows, new: Rows) -> dict[str, Tensor]:
    """Operations that a pruner keeps against its rule, where it says so.

    `old` and `new` are `alive` before and after it spoke.
    """
    if not isinstance(new, Holding):
        return {kind: torch.zeros_like(mask) for kind, mask in old.items()}
    return {kind: new.held[kind] & new[kind] & mask for kind, mask in old.items()}


def anything_new(old: Rows, new: Rows, held: Rows) -> bool:
    """Whether anything was pruned or `held`: where nothing was, all that the device is asked."""
    return bool(torch.stack([(mask & ~new[k] | held[k]).any() for k, mask in old.items()]).any())


def verdict(
    clock: Clock, cell: CellShape, before: Rows, old: Rows, new: Rows, held: Rows, rule: str
) -> list[Pruned | Held]:
    """What happens to the operations of one kind of cell.

    `before` are the last mixing weights above 0, `old` and `new` are `alive` before and after
    the pruner spoke, `held` are operations that are held from now on.
    """
    kind, names = cell.kind, cell.edge_names
    events: list[Pruned | Held] = [
        Pruned(clock, names[edge], cell.columns[op], float(before[kind][edge, op]), rule)
        for edge, op in (old[kind] & ~new[kind]).nonzero().tolist()
    ]
    for edge, op in held[kind].nonzero().tolist():
        reason = "among the last operations into its node"
        events.append(Held(clock, names[edge], cell.columns[op], reason))
    return events


def remove(
    net: Supernet | FastSupernet,
    arch: Arch,
    optimizer: torch.optim.Optimizer,
    arch_optimizer: torch.optim.Optimizer,
    alive: Rows,
) -> None:
    """Mask dead operations, delete their modules, and forget them in both optimizers."""
    arch.prune(alive)
    arch.forget_dead(arch_optimizer)
    shapes: dict[Tensor, torch.Size] = {weight: weight.shape for weight in net.parameters()}
    for weight, kept in net.drop(arch.alive).items():
        _shrink(optimizer.state[weight], kept, shapes[weight])
    left = {id(weight) for weight in net.parameters()}
    for group in optimizer.param_groups:
        group["params"] = [weight for weight in group["params"] if id(weight) in left]
    for weight in [weight for weight in optimizer.state if id(weight) not in left]:
        del optimizer.state[weight]


def _shrink(state: dict[str, object], kept: Tensor, shape: torch.Size) -> None:
    """Keep of the optimizer state of a weight of `shape` what belongs to the numbers left of it."""
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape == shape:
            state[name] = value[kept]


def count_weights(net: nn.Module) -> int:
    """How many numbers the weights of `net` are."""
    return sum(weight.numel() for weight in net.parameters())
