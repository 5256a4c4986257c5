"""The small spaces on which DARTS was shown to fail, S1 to S4.

Zela et al., Understanding and Robustifying DARTS, ICLR 2020, arXiv:1909.09656.
"""

from __future__ import annotations

from workbench.spaces.darts import darts, layers
from workbench.spaces.space import CellShape, Space, SpaceError

_SHORT = {
    "skip": "skip_connect",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "sep3": "sep_conv_3x3",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}
# The two candidates of each of 14 edges, in edge order; a line is a node.
_S1 = {
    "normal": (
        "skip/dil3 skip/dil5 "
        "skip/dil5 skip/sep3 skip/dil3 "
        "max/skip skip/sep3 skip/sep3 skip/dil3 "
        "skip/sep3 max/skip skip/dil3 dil3/dil5 dil3/dil5"
    ),
    "reduce": (
        "max/avg max/dil3 "
        "max/avg max/avg skip/dil5 "
        "max/avg max/sep3 skip/dil3 skip/dil5 "
        "max/avg max/avg skip/dil5 skip/dil5 skip/dil5"
    ),
}


def s1(*, channels: int = 16, cells: int = 8, nodes: int = 4) -> Space:
    """S1: on every edge two candidates of its own, found by a search and a pruning of DARTS's.

    With fewer nodes, the edges of the first ones.

    Raises:
        SpaceError: if a size is not positive, or there are more than 4 nodes.
    """
    if not 1 <= nodes <= 4:
        raise SpaceError(f"S1 has candidates for 1 to 4 nodes, not {nodes}")
    shapes = tuple(CellShape(kind, 2, nodes, _pairs(text, nodes)) for kind, text in _S1.items())
    return Space("darts", shapes, layers(channels, cells), 3 * channels)


def _pairs(text: str, nodes: int) -> tuple[tuple[str, ...], ...]:
    pairs = text.split()[: sum(range(2, 2 + nodes))]
    return tuple(tuple(_SHORT[op] for op in pair.split("/")) for pair in pairs)


def s2(*, channels: int = 16, cells: int = 8, nodes: int = 4) -> Space:
    """S2: `skip_connect` or `sep_conv_3x3` on every edge."""
    ops = ("skip_connect", "sep_conv_3x3")
    return darts(channels=channels, cells=cells, nodes=nodes, ops=ops)


def s3(*, channels: int = 16, cells: int = 8, nodes: int = 4) -> Space:
    """S3: `none`, `skip_connect` or `sep_conv_3x3` on every edge."""
    ops = ("none", "skip_connect", "sep_conv_3x3")
    return darts(channels=channels, cells=cells, nodes=nodes, ops=ops)


def s4(*, channels: int = 16, cells: int = 8, nodes: int = 4) -> Space:
    """S4: `noise` or `sep_conv_3x3` on every edge: every choice of `noise` is a bad one."""
    ops = ("noise", "sep_conv_3x3")
    return darts(channels=channels, cells=cells, nodes=nodes, ops=ops)
