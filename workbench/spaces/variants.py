"""The DARTS space as other papers use it: other candidates, alphas of each cell's own."""

from __future__ import annotations

from workbench.spaces.darts import OPS, darts
from workbench.spaces.resize import individual
from workbench.spaces.space import Space


def darts_individual(*, channels: int = 16, cells: int = 8, nodes: int = 4) -> Space:
    """The DARTS space with alphas and genes of every cell's own."""
    return individual(darts(channels=channels, cells=cells, nodes=nodes))


def fair_darts(*, channels: int = 16, cells: int = 8, nodes: int = 4) -> Space:
    """The DARTS space without `none`, of seven candidates: FairDARTS, arXiv:1911.12126."""
    ops = tuple(op for op in OPS if op != "none")
    return darts(channels=channels, cells=cells, nodes=nodes, ops=ops)


def gold(*, channels: int = 36, cells: int = 14, nodes: int = 4) -> Space:
    """`skip_connect` or `sep_conv_3x3` on every edge of every cell's own: GOLD-NAS.

    Bi et al., arXiv:2007.03331.  Differs: their `skip_connect` has a batch norm behind it; here it
    is the identity, as everywhere, so that genotypes mean one thing.
    """
    ops = ("skip_connect", "sep_conv_3x3")
    return individual(darts(channels=channels, cells=cells, nodes=nodes, ops=ops))
