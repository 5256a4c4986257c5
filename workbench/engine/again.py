"""A cell's pass in torch operations, computed once more when its gradient is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.engine.batched import batched_cell

if TYPE_CHECKING:
    from workbench.engine.packed import PackedCell


def recomputed_cell(
    cell: PackedCell, inputs: Sequence[Tensor], rows: Tensor, weights: Tensor
) -> Tensor:
    """`batched_cell`, of which nothing but the inputs is kept for the backward pass."""
    return _Recomputed.apply(cell, rows, weights, *inputs)  # pyright: ignore[reportReturnType]


def gradients_again(
    cell: PackedCell,
    every: Sequence[Tensor],
    wanted: Sequence[bool],
    grad: Tensor,
    autocast: torch.autocast,
) -> tuple[Tensor | None, ...]:
    """Gradients of a pass that is made again; they have a graph of their own if one is recorded.

    Running statistics have seen this batch, and do not move.

    Args:
        every: mixing weights, weights and inputs; `wanted` says whose gradient is asked for.
        grad: of the cell's output.
        autocast: what the first pass ran under; a backward pass runs under none.
    """
    graph = torch.is_grad_enabled()
    with torch.enable_grad(), cell.untracked(), autocast:
        # Views: cells share mixing weights, and those of a cell before this one, which its inputs
        # depend on, must not count here.
        here = [
            x.view_as(x) if graph else x.detach().requires_grad_(x.requires_grad) for x in every
        ]
        rows, weights, *inputs = here
        out = batched_cell(cell, inputs, rows, weights)
    if not out.requires_grad:  # nothing but `none` is left
        return (None,) * len(wanted)
    some = [x for x, want in zip(here, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(out, some, grad, create_graph=graph, materialize_grads=True))
    return tuple(next(found) if want else None for want in wanted)


def asked(nodes: Sequence[torch.autograd.graph.Node | None]) -> list[bool]:
    """Whether the running backward pass goes on to each of `nodes`.

    `needs_input_grad` says only that it could: an architecture step asks for no weight's gradient,
    half the work of a backward pass, nor for that of the first cell's inputs.
    """
    will = torch._C._will_engine_execute_node
    return [node is not None and will(node) for node in nodes]


def autocast_of(device: str) -> torch.autocast:
    """What operations run under now, for another time."""
    dtype, enabled = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    return torch.autocast(device, dtype, enabled)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, cell: PackedCell, rows: Tensor, weights: Tensor, *inputs: Tensor) -> Tensor:
        ctx.cell, ctx.autocast = cell, autocast_of(weights.device.type)
        ctx.save_for_backward(rows, weights, *inputs)
        return batched_cell(cell, inputs, rows, weights)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        tensors = ctx.saved_tensors
        return (None, *gradients_again(ctx.cell, tensors, wanted, grads[0], ctx.autocast))
