"""A packed cell on a GPU as one autograd function; see `engine.fused`, its form on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.engine.again import asked, gradients_again
from workbench.engine.gpu.backward import Backward
from workbench.engine.gpu.forward import Forward

if TYPE_CHECKING:
    from workbench.engine.packed import PackedCell


def triton_cell(
    cell: PackedCell, inputs: Sequence[Tensor], rows: Tensor, weights: Tensor
) -> Tensor:
    """Output `(batch, h, w, nodes c)` of channels-last `inputs` under mixing weights `rows`.

    Under autocast maps are in its format; moments, sums and weights are not.
    """
    device = weights.device.type
    low = torch.is_autocast_enabled(device) and weights.dtype != torch.float64
    dtype = torch.get_autocast_dtype(device) if low else weights.dtype
    # Views, whose nodes say whether anybody asks for a gradient: see `asked`.
    views = [weights.view(weights.shape), *(x.to(dtype).view(x.shape) for x in inputs)]
    return _TritonCell.apply(cell, rows, *views)  # pyright: ignore[reportReturnType]


class _TritonCell(torch.autograd.Function):
    @staticmethod
    def forward(ctx, cell: PackedCell, rows: Tensor, weights: Tensor, *inputs: Tensor) -> Tensor:
        done = Forward(cell, cell.geometry(*inputs[0].shape[:3]), weights, rows, inputs)
        # Triton launches on the current device; a backward pass runs with its own one current.
        with torch.cuda.device_of(weights):
            out = done.run()
        ctx.cell, ctx.done = cell, None if cell.recompute else done
        ctx.nodes = [x.grad_fn for x in (weights, *inputs)]
        device = weights.device.type
        dtype, enabled = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        ctx.autocast = torch.autocast(device, dtype, enabled)
        ctx.save_for_backward(rows, weights, *inputs)
        return out

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        rows, weights, *inputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            every = (rows, weights, *inputs)
            return (None, *gradients_again(ctx.cell, every, wanted, grad, ctx.autocast))
        asks = asked(ctx.nodes)
        done = ctx.done or _again(ctx.cell, rows, weights, inputs)
        back = Backward(done, grad.contiguous(), weights=asks[0], inputs=asks[1:])
        back.run()
        gains = back.gains.to(rows.dtype) if wanted[0] else None
        return (None, gains, back.weights if asks[0] else None, *back.inputs)


def _again(cell: PackedCell, rows: Tensor, weights: Tensor, inputs: Sequence[Tensor]) -> Forward:
    """The forward pass once more; running statistics have seen this batch."""
    done = Forward(cell, cell.geometry(*inputs[0].shape[:3]), weights, rows, inputs)
    done.momentum = 0.0
    done.run()
    return done
