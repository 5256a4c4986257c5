"""Spaces made from spaces: of another width or depth, or with alphas of each cell's own."""

from __future__ import annotations

from dataclasses import replace

from workbench.spaces import darts, nasbench201
from workbench.spaces.space import Layer, Space, SpaceError


def resized(space: Space, *, channels: int | None = None, cells: int | None = None) -> Space:
    """The same cells in a stack of another width or depth; None keeps it.

    Raises:
        SpaceError: if a size is not positive, or every cell of `space` is its own kind.
    """
    if is_individual(space):
        raise SpaceError(
            "cells with alphas of their own cannot be stacked otherwise, as this method does; "
            "choose a space whose cells share them, such as darts"
        )
    channels = space.channels if channels is None else channels
    cells = space.depth if cells is None else cells
    family = darts if space.family == "darts" else nasbench201
    wider = space.stem_channels * channels // space.channels
    return replace(space, layers=family.layers(channels, cells), stem_channels=wider)


def individual(space: Space) -> Space:
    """Every cell of the stack as a kind of its own: `normal_0`, `normal_1`, `reduce_2` and so on.

    Alphas and genes are then of one cell each, as in D-DARTS (arXiv:2108.09306) and GOLD-NAS
    (arXiv:2007.03331).  A space that is so already stays as it is.
    """
    if is_individual(space):
        return space
    stack: list[Layer] = []
    cells = []
    for layer in space.layers:
        if layer.kind is None:
            stack.append(layer)
            continue
        kind = f"{layer.kind}_{len(cells)}"
        cells.append(replace(space.cell(layer.kind), kind=kind))
        stack.append(replace(layer, kind=kind))
    return replace(space, cells=tuple(cells), layers=tuple(stack))


def is_individual(space: Space) -> bool:
    """Has every cell of the stack its own kind by name?"""
    return all(kind.rpartition("_")[2].isdigit() for kind in space.kinds)
