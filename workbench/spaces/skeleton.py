"""What a supernet and a derived network share: stem, order of cells, preprocessing, head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from workbench.spaces.ops import Activation, FactorizedReduce, conv
from workbench.spaces.space import Layer


@dataclass(frozen=True)
class Place:
    """Where a block stands.

    `c_before` and `c_previous` are the channels of the farther and nearer block before it;
    `after_reduction` says that the nearer one halved the map.
    """

    layer: Layer
    c_before: int
    c_previous: int
    after_reduction: bool


def places(
    layers: Sequence[Layer], stem_channels: tuple[int, int], outputs: Callable[[str], int]
) -> Iterator[Place]:
    """The blocks in order; `outputs(kind)` is how many nodes that kind concatenates.

    `stem_channels` are the channels of the farther and nearer input of the first block; a stem
    that halves between them (ImageNet's) is one whose two numbers come with `after_reduction`.
    """
    before, previous = stem_channels
    after_reduction = False
    for layer in layers:
        yield Place(layer, before, previous, after_reduction)
        width = layer.channels * (outputs(layer.kind) if layer.kind else 1)
        before, previous, after_reduction = previous, width, layer.reduction


def preprocess(place: Place, affine: bool, activation: Activation) -> nn.ModuleList:
    """Bring both inputs of a DARTS cell to its width, and the farther one to the nearer's size."""
    channels = place.layer.channels
    far = (
        FactorizedReduce(place.c_before, channels, affine, activation)
        if place.after_reduction
        else conv(place.c_before, channels, 1, 1, affine, activation)
    )
    return nn.ModuleList([far, conv(place.c_previous, channels, 1, 1, affine, activation)])


class ResidualBlock(nn.Module):
    """NAS-Bench-201's reduction: two ReLU-conv-BN units beside average pooling and a 1×1 conv."""

    def __init__(self, c_in: int, c_out: int, activation: Activation) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv(c_in, c_out, 3, 2, True, activation), conv(c_out, c_out, 3, 1, True, activation)
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(c_in, c_out, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, c_out, ceil(h/2), ceil(w/2))`."""
        return self.shortcut(x) + self.branch(x)


class Stem(nn.Module):
    """The first convolutions: returns what the first cell sees as its farther and nearer input."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kind: Literal["small", "imagenet"],
        activation: Activation,
    ) -> None:
        super().__init__()
        if kind == "small":
            self.first = _stem_conv(in_channels, channels, 1)
            self.second = None
            return
        self.first = nn.Sequential(
            _stem_conv(in_channels, channels // 2, 2),
            activation(),
            _stem_conv(channels // 2, channels, 2),
        )
        self.second = nn.Sequential(activation(), _stem_conv(channels, channels, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Two maps; the same one twice, except on ImageNet where the nearer is half the size."""
        far = self.first(images)
        return far, far if self.second is None else self.second(far)


def _stem_conv(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out))


class Head(nn.Module):
    """Global average pooling and a linear classifier, or several fully connected layers.

    Args:
        hidden: widths of fully connected layers before the last one; paper A uses three.
        norm: batch norm and activation first, as NAS-Bench-201 does.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        norm: bool = False,
        hidden: Sequence[int] = (),
        activation: Activation = nn.ReLU,
    ) -> None:
        super().__init__()
        self.last = nn.Sequential(nn.BatchNorm2d(channels), activation()) if norm else None
        widths = [channels, *hidden, classes]
        layers: list[nn.Module] = []
        for index, (c_in, c_out) in enumerate(pairwise(widths)):
            layers += [activation()] if index else []
            layers.append(nn.Linear(c_in, c_out))
        self.classifier = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(batch, classes)` of features `(batch, c, h, w)`."""
        x = x if self.last is None else self.last(x)
        return self.classifier(x.mean(dim=(2, 3)))
