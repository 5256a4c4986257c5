"""A packed cell on a CPU: kernels between two batch norms, nothing normalised written down.

One autograd function for a whole cell.  Where a graph of its gradient is asked for (second order by
exact differentiation), the gradient comes from the same cell in torch operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.engine.again import asked, gradients_again
from workbench.engine.backward import Backward
from workbench.engine.forward import Forward, flat

if TYPE_CHECKING:
    from workbench.engine.packed import PackedCell


def fused_cell(cell: PackedCell, inputs: Sequence[Tensor], rows: Tensor, weights: Tensor) -> Tensor:
    """Output `(batch, h, w, nodes c)` of channels-last `inputs` under mixing weights `rows`."""
    # Views, whose nodes say whether anybody asks for a gradient: see `asked`.
    views = [x.view(x.shape) for x in (weights, *inputs)]
    return _FusedCell.apply(cell, rows, *views)  # pyright: ignore[reportReturnType]


class _FusedCell(torch.autograd.Function):
    @staticmethod
    def forward(ctx, cell: PackedCell, rows: Tensor, weights: Tensor, *inputs: Tensor) -> Tensor:
        geometry = cell.geometry(*inputs[0].shape[:3])
        done = Forward(cell, geometry, flat(weights), rows.detach().double().numpy(), inputs)
        out = done.run()
        ctx.cell, ctx.done = cell, None if cell.recompute else done
        ctx.nodes = [x.grad_fn for x in (weights, *inputs)]
        ctx.save_for_backward(rows, weights, *inputs)
        return out

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        rows, weights, *inputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return (None, *gradients_again(ctx.cell, (rows, weights, *inputs), wanted, grad))
        asks = asked(ctx.nodes)
        done = ctx.done or _again(ctx.cell, rows, weights, inputs)
        back = Backward(done, grad.contiguous(), weights=asks[0], inputs=asks[1:])
        back.run()
        gains = torch.from_numpy(back.gains).to(rows.dtype) if wanted[0] else None
        moved = torch.from_numpy(back.weights) if asks[0] else None
        moving = [x if ask else None for x, ask in zip(back.inputs, asks[1:], strict=True)]
        return (None, gains, moved, *moving)


def _again(cell: PackedCell, rows: Tensor, weights: Tensor, inputs: Sequence[Tensor]) -> Forward:
    """The forward pass once more; running statistics have seen this batch."""
    geometry = cell.geometry(*inputs[0].shape[:3])
    done = Forward(cell, geometry, flat(weights), rows.detach().double().numpy(), inputs)
    done.momentum = 0.0
    done.run()
    return done
