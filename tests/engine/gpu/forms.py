"""One cell in two forms, readable and in Triton kernels, and what either computes.

Kernels run on a GPU where there is one; else Triton interprets them, which `tests/conftest.py` asks
for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from tests.engine.nets import Case, by_name
from workbench.engine.gpu.cell import triton_cell
from workbench.engine.packed import PackedCell
from workbench.spaces.supernet import SearchCell

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LOW = torch.bfloat16 if DEVICE.type == "cuda" else torch.float16  # the interpreter knows no other

Form = Callable[[Sequence[Tensor], Tensor], Tensor]
Function = Callable[[PackedCell, Sequence[Tensor], Tensor, Tensor], Tensor]


def cells(case: Case) -> Iterator[tuple[SearchCell, PackedCell]]:
    """Every cell in both forms, without preprocessing; the packed one on `DEVICE`."""
    net, fast = case.nets()
    fast.to(DEVICE)
    for cell, packed in zip(net.blocks, fast.blocks, strict=True):
        if isinstance(packed, PackedCell):
            assert isinstance(cell, SearchCell)
            cell.preprocess = packed.preprocess = nn.ModuleList()
            yield cell, packed


def readable(cell: SearchCell) -> Form:
    def form(inputs: Sequence[Tensor], row: Tensor) -> Tensor:
        maps = [x.permute(0, 3, 1, 2) for x in inputs]
        return cell(maps, row.unbind(0), None, 0.0).permute(0, 2, 3, 1)

    return form


def of(cell: PackedCell, function: Function = triton_cell) -> Form:
    return lambda inputs, row: function(cell, inputs, row, cell.weights)


def drawn(
    cell: PackedCell, case: Case, device: torch.device, dtype: torch.dtype = torch.float64
) -> tuple[list[Tensor], Tensor]:
    """A cell's inputs and mixing weights, which want gradients."""
    draw, size = case.draw(), (case.batch, *case.size, cell.layout.channels)
    inputs = [
        torch.randn(size, generator=draw, dtype=torch.float64).to(device, dtype).requires_grad_()
        for _ in range(cell.shape.inputs)
    ]
    return inputs, case.leaves()[cell.kind].to(device, dtype).requires_grad_()


def computed(form: Form, module: nn.Module, leaves: tuple[list[Tensor], Tensor]) -> dict:
    """Output, all gradients and statistics of a cell by name, on the CPU."""
    inputs, row = leaves
    out = form(inputs, row)
    draw = torch.Generator().manual_seed(1)
    factor = torch.randn(out.shape, generator=draw, dtype=torch.float64).to(row)
    loss = (out * factor).sum() + 0 * row.sum()  # a cell may depend on nothing
    asked = (row, *inputs, *module.parameters())
    first, *grads = torch.autograd.grad(loss, asked, materialize_grads=True)
    named = by_name(module, grads[len(inputs) :])  # pyright: ignore[reportArgumentType]
    found = {f"input {i}": grad for i, grad in enumerate(grads[: len(inputs)])}
    every = {"out": out.detach(), "row": first, **found, **named}
    return {name: x.cpu() for name, x in every.items() if "num_batches" not in name}
