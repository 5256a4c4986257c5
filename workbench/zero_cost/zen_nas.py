"""Zen-NAS's own Zen-score: how far a small change of the picture moves the maps before pooling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from workbench.protocols import Batch, Pictures
from workbench.spaces.skeleton import Head
from workbench.zero_cost.batch_norm import Source, batch_norm_variances, bn_term
from workbench.zero_cost.scratch import ProxyError, gaussian, scratch
from workbench.zero_cost.zen import normal_weights


@dataclass(frozen=True)
class ZenNas:
    """log E|f(x) - f(x + gamma e)| + sum over batch norms of log sqrt(mean_c var_c).

    x and e are standard normal, f are the maps that the head averages, |.| is the sum of absolute
    values, E the mean over the batch.  Weights are drawn anew, N(0, 1) as published.

    Args:
        gamma: size of the change.
        bn: "batch", variances of the pass of x; "running", running variances after the pass of
            x + gamma e, which is what the released code reads: averages that began at 1.
        weights: "normal", drawn anew, or the network's "own".

    Lin et al., Zen-NAS, ICCV 2021, arXiv:2102.01063.
    """

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "gaussian"

    gamma: float = 0.01
    bn: Source = "batch"
    weights: str = "normal"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise ValueError(
                f"`ZenNas(gamma={self.gamma})` must be a number above 0; 0.01 is usual"
            )
        if self.bn not in get_args(Source):
            raise ValueError(f"`ZenNas(bn={self.bn!r})`: choose {', '.join(get_args(Source))}")
        if self.weights not in ("normal", "own"):
            raise ValueError(f"`ZenNas(weights={self.weights!r})`: choose normal, own")

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net` on noise shaped like `batch.images`."""
        with scratch(net, generator) as copied, torch.no_grad():
            if self.weights == "normal":
                copied.apply(_anew)
            x = gaussian(batch.images, generator)
            moved = x + self.gamma * gaussian(x, generator)
            with pooled_maps(copied) as maps:
                with batch_norm_variances(copied) as first:
                    copied(x)
                with batch_norm_variances(copied, self.bn) as second:
                    copied(moved)
            here, there = maps
            change = (here - there).double().abs().flatten(1).sum(dim=1).mean()
            spread = bn_term(second if self.bn == "running" else first)
            return float(change.clamp_min(torch.finfo(change.dtype).tiny).log()) + float(spread)


def _anew(module: nn.Module) -> None:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.reset_parameters()
    normal_weights(module)


@contextmanager
def pooled_maps(net: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the maps that the head averages, one per pass inside the `with`.

    Raises:
        ProxyError: if the network has no `Head`.
    """
    heads = [module for module in net.modules() if isinstance(module, Head)]
    if len(heads) != 1:
        raise ProxyError(
            f"Zen-NAS's score reads the maps before pooling: it needs one `Head`, not {len(heads)}"
        )
    seen: list[Tensor] = []

    def before(head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    def behind(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(output)

    last = heads[0].last  # a NAS-Bench-201 head norms its maps before it averages them
    handle = (
        heads[0].register_forward_pre_hook(before)
        if last is None
        else last.register_forward_hook(behind)
    )
    try:
        yield seen
    finally:
        handle.remove()
