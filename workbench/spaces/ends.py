"""Which edges of a cell end in one node, as a tensor."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from workbench.spaces.space import CellShape


@cache
def same_end(cell: CellShape, device: torch.device) -> Tensor:
    """`(edges, edges)`, bool: do two edges end in one node?

    Made once: who asks in every step would wait for every copy to a GPU.
    """
    ends = torch.tensor([dst for _, dst in cell.edges], device=device)
    return ends[:, None] == ends
