"""Edge weights: shares of the edges into a node."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.arch import first_betas
from workbench.parts.arch_optimizers import ExponentiatedGradient
from workbench.parts.edge_weights import SimplexEdges, SoftmaxEdges
from workbench.spaces.darts import darts

RULES = pytest.mark.parametrize("rule", [SoftmaxEdges(), SimplexEdges()])
EDGES = torch.arange(5) < torch.tensor([[2], [3], [4], [5]])  # of a DARTS cell: (nodes, sources)


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@RULES
def test_weights_into_every_node_sum_to_one_and_are_zero_where_no_edge_is(rule: object) -> None:
    weights = rule.mix(rule.first(EDGES, draw()), EDGES, 0.0)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    assert torch.equal(weights > 0, EDGES)


@RULES
def test_an_edge_that_goes_leaves_its_share_to_the_others_in_proportion(rule: object) -> None:
    beta = rule.first(EDGES, draw()).double()
    before = rule.mix(beta, EDGES, 0.0)
    alive = EDGES.clone()
    alive[3, 2] = False
    after = rule.mix(beta, alive, 0.0)
    assert after[3, 2] == 0
    rest = [0, 1, 3, 4]
    torch.testing.assert_close(after[3, rest], before[3, rest] / before[3, rest].sum())
    assert torch.equal(after[:3], before[:3])


def test_a_softmax_of_betas_is_per_node() -> None:
    beta = torch.arange(20.0).reshape(4, 5).sin()
    weights = SoftmaxEdges().mix(beta, EDGES, 0.0)
    for node in range(4):
        torch.testing.assert_close(weights[node, : node + 2], beta[node, : node + 2].softmax(0))


def test_first_betas_are_gaussian_of_the_given_scale_or_equal() -> None:
    many = torch.ones(200, 50, dtype=torch.bool)
    assert SoftmaxEdges(0.5).first(many, draw()).std() == pytest.approx(0.5, rel=0.02)
    assert (SoftmaxEdges().first(EDGES, draw())[~EDGES] == 0).all()
    equal = SimplexEdges().first(EDGES, draw())
    assert [row.max().item() for row in equal] == pytest.approx([1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert first_betas(SoftmaxEdges(), darts(), draw())["normal"].shape == EDGES.shape
    with pytest.raises(ValueError, match=r"`SoftmaxEdges\(scale=-1\)`"):
        SoftmaxEdges(-1)


def stepped(beta: Tensor, grad: Tensor, count: int) -> Tensor:
    beta = beta.clone().requires_grad_()
    optimizer = ExponentiatedGradient()([beta])
    for _ in range(count):
        beta.grad = grad
        optimizer.step()
    return beta.detach()


def test_exponentiated_gradient_keeps_betas_on_the_simplex_and_off_where_no_edge_is() -> None:
    """From equal shares, T steps of a constant g are softmax(-lr T g) over the node's edges."""
    grad = torch.randn(4, 5, generator=draw(), dtype=torch.float64)
    beta = stepped(SimplexEdges().first(EDGES, draw()).double(), grad, 20)
    assert torch.equal(beta > 0, EDGES)
    want = torch.softmax((-0.1 * 20 * grad).masked_fill(~EDGES, -torch.inf), dim=1)
    torch.testing.assert_close(beta, want)
    torch.testing.assert_close(SimplexEdges().mix(beta, EDGES, 0.0), want)


def test_an_edge_loses_its_weight_for_good_only_by_being_pruned() -> None:
    grad = torch.where(torch.arange(5) == 0, 1e6, 0.0).expand(4, 5)
    beta = stepped(SimplexEdges().first(EDGES, draw()), grad, 3)
    assert (beta[:, 0] > 0.9e-5).all()
