"""A stage's supernet as modules: at its first weights, and as a search has left it."""

from __future__ import annotations

import torch
from torch import nn

from workbench.data import Data
from workbench.engine import Machine
from workbench.method import Stage
from workbench.protocols import Rows
from workbench.spaces.space import Space
from workbench.spaces.supernet import Supernet


def first_supernet(stage: Stage, space: Space, data: Data, machine: Machine, seed: int) -> Supernet:
    """The readable supernet a stage starts from."""
    classes = len(data.classes)
    with machine.seeded(seed):
        net = Supernet(space, edge=stage.edge, in_channels=data.channels, classes=classes)
    net = net.to(machine.torch_device, machine.dtype)
    return net.to(memory_format=torch.channels_last) if machine.channels_last else net


def take_over(fresh: Supernet, net: nn.Module, alive: Rows) -> Supernet:
    """`fresh` with the state of `net`, which has only `alive` operations left."""
    fresh.drop(alive)
    fresh.load_state_dict(net.state_dict())
    return fresh
