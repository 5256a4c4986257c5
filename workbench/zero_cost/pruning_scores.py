"""Scores that were made to prune weights at initialisation, added up over a whole network.

As "Zero-Cost Proxies for Lightweight NAS" reads them: Abdelfattah et al., ICLR 2021,
arXiv:2101.08134.  `w` are the weights of convolutions and fully connected layers, without biases
and batch norms; L is the mean cross-entropy of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.protocols import Batch, Pictures
from workbench.zero_cost.scratch import layer_weights, layers, scratch


@dataclass(frozen=True)
class GradNorm:
    """sum over layers of |dL/dw|, the Euclidean norm of each layer's gradient."""

    needs_labels: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net` on `batch`."""
        with scratch(net, generator) as copied:
            slopes = _slopes(_loss(copied, batch), layer_weights(copied))
            return sum(float(slope.norm()) for slope in slopes)


@dataclass(frozen=True)
class Plain:
    """sum w dL/dw: saliency with its sign."""

    needs_labels: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net` on `batch`."""
        with scratch(net, generator) as copied:
            weights = layer_weights(copied)
            return _total(weights, _slopes(_loss(copied, batch), weights))


@dataclass(frozen=True)
class Snip:
    """sum |w dL/dw|: how much the loss is felt to change when weights are taken out.

    Lee et al., SNIP, ICLR 2019, arXiv:1810.02340.
    """

    needs_labels: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net` on `batch`."""
        with scratch(net, generator) as copied:
            weights = layer_weights(copied)
            slopes = _slopes(_loss(copied, batch), weights)
            pairs = zip(weights, slopes, strict=True)
            return sum(float((w.detach() * g).abs().sum()) for w, g in pairs)


@dataclass(frozen=True)
class Grasp:
    """-sum w (H g), with g = dL/dw and H the Hessian: what weights do for the gradient's flow.

    One double backward; H is never formed.

    Wang et al., GraSP, ICLR 2020, arXiv:2002.07376; the sign and the temperature of 1 are those of
    arXiv:2101.08134, one batch is used for both passes.
    """

    needs_labels: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net` on `batch`."""
        with scratch(net, generator) as copied:
            weights = layer_weights(copied)
            slopes = _slopes(_loss(copied, batch), weights, create_graph=True)
            flow = torch.stack([(g * g.detach()).sum() for g in slopes]).sum()
            return -_total(weights, _slopes(flow, weights))


@dataclass(frozen=True)
class Fisher:
    """Half the mean over the batch of the sum over channels of (sum_hw a dL/da)².

    a are the outputs of convolutions and fully connected layers.

    Turner et al., BlockSwap, ICLR 2020, arXiv:1906.04113.
    """

    needs_labels: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net` on `batch`."""
        with scratch(net, generator) as copied:
            layer_weights(copied)  # says so if there is no layer
            with _outputs(copied) as maps:
                loss = _loss(copied, batch)
            total = 0.0
            for a, slope in zip(maps, _slopes(loss, maps), strict=True):
                channels = (
                    (a.detach() * slope).reshape(*a.shape[:2], -1).sum(dim=2)
                )  # (batch, channels)
                total += 0.5 * float(channels.square().mean(dim=0).sum())
            return total


@dataclass(frozen=True)
class Synflow:
    """sum |w| dR/d|w| where R is the sum of logits for a picture of ones, with |w| for every w.

    The flow through every path, in float64; batch norms are taken out.  Nothing of the batch
    counts but the shape of a picture.

    Tanaka et al., SynFlow, NeurIPS 2020, arXiv:2006.05467.
    """

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net`."""
        with scratch(net, generator) as copied:
            _take_out_norms(copied)
            copied.double()
            with torch.no_grad():
                for weight in copied.parameters():
                    weight.abs_()
            weights = layer_weights(copied)
            flow = copied(torch.ones_like(batch.images[:1], dtype=torch.float64)).sum()
            return _total(weights, _slopes(flow, weights))


@dataclass(frozen=True)
class L2Norm:
    """sum over layers of |w|, the Euclidean norm of each layer's weights."""

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net`; the batch is not looked at."""
        return sum(float(weight.detach().norm()) for weight in layer_weights(net))


def _loss(net: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(net(batch.images), batch.labels)


def _slopes(value: Tensor, inputs: list[Tensor], *, create_graph: bool = False) -> list[Tensor]:
    if not value.requires_grad:
        return [torch.zeros_like(x) for x in inputs]  # a linear net's gradient does not move
    return list(
        torch.autograd.grad(value, inputs, create_graph=create_graph, materialize_grads=True)
    )


def _total(weights: list[Tensor], slopes: list[Tensor]) -> float:
    return sum(float((w.detach() * g).sum()) for w, g in zip(weights, slopes, strict=True))


@contextmanager
def _outputs(net: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what every layer puts out; others get a copy, which they may write into."""
    seen: list[Tensor] = []

    def keep(layer: nn.Module, inputs: object, output: Tensor) -> Tensor:
        seen.append(output)
        return output.clone()

    handles = [layer.register_forward_hook(keep) for layer in layers(net)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _take_out_norms(net: nn.Module) -> None:
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, nn.Identity())
