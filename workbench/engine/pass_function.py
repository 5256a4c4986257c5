"""A cell's pass as one autograd function, whichever kernels compute it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from workbench.engine.again import asked, autocast_of, gradients_again

if TYPE_CHECKING:
    from workbench.engine.packed import PackedCell


class Pass(Protocol):
    """A forward pass, and what its gradient needs of it; `momentum` is of running statistics."""

    momentum: float

    def run(self) -> Tensor:
        """The cell's output."""
        ...


class PassKernels(NamedTuple):
    """Who computes a pass.

    `begin` makes one of a cell, mixing weights, weights and inputs.  `gradients` are those of a
    pass for the gradient of its output: of mixing weights, of weights, and of each input; the last
    argument says whether those of weights and inputs are asked for.
    """

    begin: Callable[[PackedCell, Tensor, Tensor, Sequence[Tensor]], Pass]
    gradients: Callable[
        [Any, Tensor, Sequence[bool]], tuple[Tensor, Tensor | None, Sequence[Tensor | None]]
    ]


def one_function(
    kernels: PassKernels, cell: PackedCell, inputs: Sequence[Tensor], rows: Tensor, weights: Tensor
) -> Tensor:
    """Output of `cell` for channels-last `inputs` under mixing weights `rows`.

    Where a graph of its gradient is asked for, that comes from the same cell in torch operations.
    """
    # Views, whose nodes say whether anybody asks for a gradient: see `asked`.
    views = [x.view(x.shape) for x in (weights, *inputs)]
    return _Cell.apply(kernels, cell, rows, *views)  # pyright: ignore[reportReturnType]


class _Cell(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, kernels: PassKernels, cell: PackedCell, rows: Tensor, weights: Tensor, *inputs: Tensor
    ) -> Tensor:
        done = kernels.begin(cell, rows, weights, inputs)
        out = done.run()
        ctx.kernels, ctx.cell, ctx.done = kernels, cell, None if cell.recompute else done
        ctx.nodes = [x.grad_fn for x in (weights, *inputs)]
        ctx.autocast = autocast_of(weights.device.type)
        ctx.save_for_backward(rows, weights, *inputs)
        return out

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        rows, weights, *inputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():
            every = rows, weights, *inputs
            return (None, None, *gradients_again(ctx.cell, every, wanted, grad, ctx.autocast))
        done = ctx.done
        if done is None:  # once more; running statistics have seen this batch
            done = ctx.kernels.begin(ctx.cell, rows, weights, inputs)
            done.momentum = 0.0
            done.run()
        gains, learned, through = ctx.kernels.gradients(done, grad.contiguous(), asked(ctx.nodes))
        return (None, None, gains.to(rows.dtype) if wanted[0] else None, learned, *through)
