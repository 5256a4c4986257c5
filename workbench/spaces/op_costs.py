"""What each candidate of a space costs where it would stand in the network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from workbench.spaces.ops import op_factory
from workbench.spaces.space import Space

Cost = Literal["parameters", "macs"]


@cache
def op_costs(space: Space, size: tuple[int, int], of: Cost) -> tuple[tuple[str, Tensor], ...]:
    """For each cell of the stack its kind and what each operation costs there, `(edges, ops)`.

    Costs are those of an operation of the derived network: parameters, or multiply-accumulates of
    one picture of `size` (height, width); 0 where an operation is no candidate.
    """
    out = []
    for layer in space.layers:
        after = ((size[0] + 1) // 2, (size[1] + 1) // 2) if layer.reduction else size
        if layer.kind is not None:
            cell = space.cell(layer.kind)
            rows = torch.zeros(len(cell.edges), len(cell.columns), dtype=torch.float64)
            for edge, (src, _) in enumerate(cell.edges):
                reduces = layer.reduction and src < cell.inputs
                place = (layer.channels, 2 if reduces else 1, size if reduces else after)
                for op in cell.ops[edge]:
                    rows[edge, cell.columns.index(op)] = _op_cost(op, *place)[of]
            out.append((layer.kind, rows))
        size = after
    return tuple(out)


@cache
def _op_cost(op: str, channels: int, stride: int, size: tuple[int, int]) -> Mapping[str, int]:
    """Of one operation, built and run on torch's meta device."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        module = op_factory(op, affine=True)(channels, stride).eval()
        module(torch.empty(1, channels, *size))
    parameters = sum(weight.numel() for weight in module.parameters())
    return {"parameters": parameters, "macs": counter.get_total_flops() // 2}
