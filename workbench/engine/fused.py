"""A packed cell on a CPU: kernels between two batch norms, nothing normalised written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.engine.backward import Backward
from workbench.engine.forward import Forward, flat
from workbench.engine.partial_pass import PartialBackward, PartialForward
from workbench.engine.pass_function import PassKernels, one_function

if TYPE_CHECKING:
    from workbench.engine.packed import PackedCell


def fused_cell(cell: PackedCell, inputs: Sequence[Tensor], rows: Tensor, weights: Tensor) -> Tensor:
    """Output `(batch, h, w, nodes c)` of channels-last `inputs` under mixing weights `rows`."""
    return one_function(PassKernels(_begin, _gradients), cell, inputs, rows, weights)


def _begin(cell: PackedCell, rows: Tensor, weights: Tensor, inputs: Sequence[Tensor]) -> Forward:
    geometry = cell.geometry(*inputs[0].shape[:3])
    form = PartialForward if cell.layout.form.k > 1 else Forward
    return form(cell, geometry, flat(weights), rows.detach().double().numpy(), inputs)


def _gradients(
    done: Forward, grad: Tensor, asks: Sequence[bool]
) -> tuple[Tensor, Tensor | None, Sequence[Tensor | None]]:
    asked = {"weights": asks[0], "inputs": asks[1:]}
    if isinstance(done, PartialForward):
        back = PartialBackward(done, grad, **asked)
    else:
        back = Backward(done, grad, **asked)
    back.run()
    learned = torch.from_numpy(back.weights) if asks[0] else None
    through = [
        torch.from_numpy(x).view_as(like) if ask else None
        for x, like, ask in zip(back.inputs, done.tensors, asks[1:], strict=True)
    ]
    return torch.from_numpy(back.gains), learned, through
