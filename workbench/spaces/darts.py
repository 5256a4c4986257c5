"""The DARTS search space: normal and reduction cells of 14 edges with 8 candidates each.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, arXiv:1806.09055.
"""

from __future__ import annotations

from workbench.spaces.space import CellShape, Layer, Space, SpaceError

OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


def darts(
    *, channels: int = 16, cells: int = 8, nodes: int = 4, ops: tuple[str, ...] = OPS
) -> Space:
    """The DARTS space, `cells` deep and `channels` wide at the first cell.

    Cells at a third and two thirds of the depth are reduction cells: they halve the picture and
    double the channels.  The stem has three times `channels`.

    Raises:
        SpaceError: if a size is not positive or an edge has no candidate.
        GenotypeError: if there is no such operation.
    """
    return Space("darts", _cells(nodes, ops), layers(channels, cells), 3 * channels)


def _cells(nodes: int, ops: tuple[str, ...]) -> tuple[CellShape, ...]:
    from workbench.spaces.ops import (
        op_factory,
    )  # loads torch, which a reader of runs has no use for

    if nodes < 1:
        raise SpaceError(f"nodes must be at least 1, not {nodes}")
    for op in ops:  # a misspelt one is told before anything is built
        op_factory(op, affine=False)
    edges = sum(range(2, 2 + nodes))
    return tuple(CellShape(kind, 2, nodes, (ops,) * edges) for kind in ("normal", "reduce"))


def layers(channels: int, cells: int) -> tuple[Layer, ...]:
    """The stack of that width and depth.

    Raises:
        SpaceError: if one of them is not positive.
    """
    if channels < 1 or cells < 1:
        raise SpaceError(f"channels and cells must be at least 1, not {channels} and {cells}")
    stack, width = [], channels
    for index in range(cells):
        reduction = index in (cells // 3, 2 * cells // 3)
        width *= 2 if reduction else 1
        stack.append(Layer("reduce" if reduction else "normal", width, reduction))
    return tuple(stack)
