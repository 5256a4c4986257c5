"""One cell in three forms: readable, in batched torch operations, and on CPU kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from tests.engine.nets import Case, assert_agree, by_name, cases, examples
from workbench.engine.batched import batched_cell
from workbench.engine.fused import fused_cell
from workbench.engine.packed import PackedCell
from workbench.spaces.supernet import SearchCell

Form = Callable[[list[Tensor], Tensor], Tensor]


def cells(case: Case) -> Iterator[tuple[SearchCell, PackedCell, int]]:
    """Every cell in both forms, without preprocessing, and its width."""
    for layer, *forms in zip(case.space.layers, *(n.blocks for n in case.nets()), strict=True):
        cell, packed = forms
        if isinstance(packed, PackedCell):
            cell.preprocess = packed.preprocess = nn.ModuleList()
            yield cell, packed, layer.channels


def called(cell: nn.Module, form: Form, case: Case, channels: int) -> dict[str, Tensor]:
    """Output, gradients and statistics of a cell; its maps are channels-last."""
    draw = case.draw()
    size = (case.batch, *case.size, channels)
    inputs = [
        torch.randn(size, generator=draw, dtype=torch.float64).requires_grad_()
        for _ in range(cell.shape.inputs)
    ]
    row = case.leaves()[cell.kind].requires_grad_()
    out = form(inputs, row)
    loss = (out * torch.randn(out.shape, generator=draw, dtype=torch.float64)).sum()
    loss = loss + 0 * row.sum()  # a cell of nothing but `none` depends on nothing
    asked = (row, *inputs, *cell.parameters())
    grads = torch.autograd.grad(loss, asked, materialize_grads=True)
    named = by_name(cell, grads[1 + len(inputs) :])
    named = {name: x for name, x in named.items() if "num_batches" not in name}
    found = {f"input {i}": grad for i, grad in enumerate(grads[1 : 1 + len(inputs)])}
    return {"out": out.detach(), "row": grads[0], **found, **named}


def readable(cell: SearchCell) -> Form:
    def form(inputs: list[Tensor], row: Tensor) -> Tensor:
        maps = [x.permute(0, 3, 1, 2) for x in inputs]
        return cell(maps, row.unbind(0), None, 0.0).permute(0, 2, 3, 1)

    return form


@pytest.mark.parametrize("function", [batched_cell, fused_cell])
@examples
@given(case=cases())
def test_a_packed_cell_computes_what_the_readable_one_does(function, case: Case):
    for cell, packed, channels in cells(case):
        if function is fused_cell and not packed.kernels:
            continue  # it never runs there

        def form(inputs: list[Tensor], row: Tensor, packed: PackedCell = packed) -> Tensor:
            return function(packed, inputs, row, packed.weights)

        want = called(cell, readable(cell), case, channels)
        assert_agree(called(packed, form, case, channels), want)
