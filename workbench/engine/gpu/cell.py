"""A packed cell on a GPU: `engine.fused`, its form on a CPU, in Triton kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.engine.gpu.backward import Backward
from workbench.engine.gpu.forward import Forward
from workbench.engine.pass_function import PassKernels, one_function

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
    maps = [x.to(dtype) for x in inputs]
    return one_function(PassKernels(_begin, _gradients), cell, maps, rows, weights)


def _begin(cell: PackedCell, rows: Tensor, weights: Tensor, inputs: Sequence[Tensor]) -> Forward:
    return Forward(cell, cell.geometry(*inputs[0].shape[:3]), weights, rows, inputs)


def _gradients(
    done: Forward, grad: Tensor, asks: Sequence[bool]
) -> tuple[Tensor, Tensor | None, Sequence[Tensor | None]]:
    back = Backward(done, grad, weights=asks[0], inputs=asks[1:])
    back.run()
    return back.gains, back.weights if asks[0] else None, back.inputs
