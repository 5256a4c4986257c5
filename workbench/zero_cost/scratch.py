"""Where a score works: a copy of the network, so that the network stays as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from workbench.errors import WorkbenchError


class ProxyError(WorkbenchError):
    """A training-free score that a network, or a batch, cannot be given."""


@contextmanager
def scratch(net: nn.Module, generator: torch.Generator) -> Iterator[nn.Module]:
    """A copy of `net` in training mode, every weight free to move and without a gradient.

    Training mode, because batch norms of an untrained network have no statistics but the batch's.
    Inside, gradients are on and whatever the copy draws (dropout) follows `generator`; afterwards
    torch's global random state is what it was.  Costs a second copy of the weights.
    """
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    devices = {weight.device for weight in net.parameters() if weight.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)), torch.enable_grad():
        torch.manual_seed(seed)
        copied = copy.deepcopy(net).train()
        for weight in copied.parameters():
            weight.requires_grad_(True)
            weight.grad = None
        yield copied


def weights_of(net: nn.Module) -> list[Tensor]:
    """Every weight of a network.

    Raises:
        ProxyError: if it has none.
    """
    weights: list[Tensor] = list(net.parameters())
    if not weights:
        raise ProxyError("the network has no weights to score")
    return weights


def layer_weights(net: nn.Module) -> list[Tensor]:
    """The weights of convolutions and fully connected layers, without biases and batch norms.

    Raises:
        ProxyError: if it has no such layer.
    """
    weights: list[Tensor] = [layer.weight for layer in layers(net)]
    if not weights:
        raise ProxyError("the network has no convolution and no fully connected layer to score")
    return weights


def layers(net: nn.Module) -> list[nn.modules.conv._ConvNd | nn.Linear]:
    """The convolutions and fully connected layers, in the order they are registered."""
    return [m for m in net.modules() if isinstance(m, (nn.modules.conv._ConvNd, nn.Linear))]


def gaussian(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, shaped and placed like a tensor."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
