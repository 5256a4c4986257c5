"""What brings the inputs of a cell to its width, and what of it is done a cell ahead."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from workbench.engine.geometry import channels_last
from workbench.engine.halves import factorized_reduce
from workbench.spaces.ops import FactorizedReduce


@dataclass
class Ahead:
    """What the next cell's `layer` makes of this one's nearer input, which is its farther one.

    Whatever both make of it is read from memory once, and so is what their gradients need of it.
    """

    layer: nn.Module
    made: Tensor | None = None


def preprocessed(
    layer: nn.Module, x: Tensor, ahead: Ahead | None = None, *, kernels: bool
) -> Tensor:
    """What `layer` makes of `x` `(batch, h, w, c)`, channels-last too.

    Args:
        ahead: gets what its own layer makes of it, where both can be done in one.
        kernels: whether CPU kernels may do it.
    """
    if kernels:
        from workbench.engine.unit import pays, units

        if pays(layer, x):
            both = [layer, *([ahead.layer] if ahead and pays(ahead.layer, x) else [])]
            made, *more = units(both, x)
            if ahead and more:
                ahead.made = more[0]
            return made
    if isinstance(layer, FactorizedReduce):
        return factorized_reduce(layer, x)
    return channels_last(layer(x.permute(0, 3, 1, 2)))
