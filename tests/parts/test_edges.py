"""The weighted sum of an edge's operations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workbench.parts.edges import WeightedSum


class Scale(nn.Module):
    """Multiplies by a number; notes how often it is called."""

    def __init__(self, factor: float, channels: int, stride: int) -> None:
        super().__init__()
        self.factor, self.built_for, self.calls = factor, (channels, stride), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.factor * x


def edge() -> WeightedSum:
    ops = {
        name: lambda c, s, factor=factor: Scale(factor, c, s)
        for name, factor in (("one", 1.0), ("ten", 10.0), ("hundred", 100.0))
    }
    return WeightedSum(ops, 6, 2)


def test_an_edge_is_the_weighted_sum_of_its_operations() -> None:
    x = torch.randn(2, 6, 3, 3)
    row = torch.tensor([0.5, 0.25, 0.125], requires_grad=True)
    out = edge()(x, row, 0.0)
    torch.testing.assert_close(out, (0.5 + 2.5 + 12.5) * x)
    (grad,) = torch.autograd.grad(out.sum(), row)
    torch.testing.assert_close(grad, x.sum() * torch.tensor([1.0, 10.0, 100.0]))


def test_operations_are_built_for_the_edges_channels_and_stride() -> None:
    assert {op.built_for for op in edge().ops.values()} == {(6, 2)}


def test_dropped_operations_are_deleted_and_the_rest_keeps_its_columns() -> None:
    mixed, x = edge(), torch.ones(1, 6, 2, 2)
    row = torch.tensor([0.5, 7.0, 0.25])
    mixed.drop([True, False, True])
    assert list(mixed.ops) == ["one", "hundred"]
    torch.testing.assert_close(mixed(x, row, 0.0), 25.5 * x)
    mixed.drop([False, False, True])
    torch.testing.assert_close(mixed(x, row, 0.0), 25.0 * x)
    mixed.drop([True, True, True])  # nothing comes back
    assert list(mixed.ops) == ["hundred"]


def test_every_operation_is_called_once() -> None:
    mixed = edge()
    mixed(torch.ones(1, 6, 2, 2), torch.zeros(3), 0.0)
    assert [op.calls for op in mixed.ops.values()] == [1, 1, 1]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        edge()(torch.ones(1, 6, 2, 2), torch.zeros(2), 0.0)
