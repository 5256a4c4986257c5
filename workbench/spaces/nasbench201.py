"""The NAS-Bench-201 search space: one cell of 6 edges with 5 candidates, three stages.

Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326.
"""

from __future__ import annotations

from workbench.spaces.space import CellShape, Layer, Space, SpaceError

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def nasbench201(
    *, channels: int = 16, cells_per_stage: int = 5, nodes: int = 3, ops: tuple[str, ...] = OPS
) -> Space:
    """The NAS-Bench-201 space: three stages of cells with a residual block before the last two.

    Five cells per stage make the 17 layers (5-1-5-1-5) of the benchmark and of paper B.

    Raises:
        SpaceError: if a size is not positive or an edge has no candidate.
        GenotypeError: if there is no such operation.
    """
    from workbench.spaces.ops import (
        op_factory,
    )  # loads torch, which a reader of runs has no use for

    if channels < 1 or cells_per_stage < 1 or nodes < 1:
        raise SpaceError(
            "channels, cells_per_stage and nodes must be at least 1, "
            f"not {channels}, {cells_per_stage} and {nodes}"
        )
    for op in ops:  # a misspelt one is told before anything is built
        op_factory(op, affine=False)
    edges = nodes * (nodes + 1) // 2
    cell = CellShape("cell", 1, nodes, (ops,) * edges, "last")
    return Space("nasbench201", (cell,), layers(channels, cells_per_stage), channels)


def layers(channels: int, cells_per_stage: int) -> tuple[Layer, ...]:
    """The stack of that width and depth."""
    return tuple(
        layer
        for stage in range(3)
        for layer in (
            *([Layer(None, channels * 2**stage, reduction=True)] if stage else []),
            *[Layer("cell", channels * 2**stage, reduction=False)] * cells_per_stage,
        )
    )
