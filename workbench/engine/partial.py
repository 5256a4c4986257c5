"""Cells whose operations see the first 1/k of the channels: what the others do.

A node is `shuffle(concat(mixed, rest))`: `mixed` is the sum of operations, of c/k channels, `rest`
the sum over its edges of the channels that pass by, each times its edge's own weight, which stands
last in the edge's row.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from workbench.engine.layout import Layout


def passing(layout: Layout, x: Tensor, source: int) -> Tensor:
    """What of the map `x` `(batch, c, h, w)` of a source goes past its edges' operations."""
    rest = x[:, layout.channels :]
    if layout.reduction and source < layout.shape.inputs:
        return functional.max_pool2d(rest, 2, ceil_mode=True)
    return rest


def woven(mixed: Tensor, rest: Tensor, k: int) -> Tensor:
    """A node `(batch, c, h, w)` of both its parts; channel i c/k + j comes to place j k + i."""
    both = torch.cat([mixed, rest], dim=1)
    return both.unflatten(1, (k, -1)).transpose(1, 2).flatten(1, 2)
