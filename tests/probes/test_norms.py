"""Gradients per edge and norms of weights."""

from __future__ import annotations

import pytest
import torch

from tests.probes.runs import held_out_loss, measured, trained, without_one_op
from tests.tiny import SPACES
from workbench import methods
from workbench.engine import Machine
from workbench.probes import AlphaGradients, WeightNorms

BOTH = pytest.mark.parametrize("space", SPACES)
FAST64 = Machine("cpu", "float64", engine="batched")


@BOTH
@pytest.mark.parametrize("method", ["darts", "pc_darts"])  # the second one has betas too
def test_a_gradient_per_edge_is_the_rows_norm_of_the_whole_gradient(space, method):
    run = trained(space, method=getattr(methods, method))
    found = measured(run, AlphaGradients())["alpha_gradient"]
    bilevel, loss = held_out_loss(run)
    kinds = run.space.kinds
    grads = torch.autograd.grad(loss, bilevel.alphas)[: len(kinds)]
    assert found.keys() == set(kinds)
    for kind, grad in zip(kinds, grads, strict=True):
        torch.testing.assert_close(found[kind], grad.square().sum(1).sqrt(), rtol=1e-9, atol=0)
        assert (found[kind] > 0).all()


@BOTH
def test_norms_of_operations_are_those_of_their_parameters(space):
    run = trained(space)
    found = measured(run, WeightNorms())
    total = torch.cat([weight.flatten() for weight in run.net.parameters()]).norm()
    torch.testing.assert_close(found["weight_norm"], total.detach())
    for cell in run.space.cells:
        rows = found["op_weight_norm"][cell.kind]
        own = [block for block in run.net.blocks if getattr(block, "kind", None) == cell.kind]
        for edge in range(len(cell.edges)):
            for column, op in enumerate(cell.columns):
                layers = [block.edges[edge].ops[op] for block in own]
                weights = [w.flatten() for layer in layers for w in layer.parameters()]
                want = torch.cat(weights).norm() if weights else torch.tensor(0.0)
                torch.testing.assert_close(rows[edge, column], want.to(rows).detach())


def test_both_supernets_say_the_same():
    readable, fast = (
        measured(trained("darts", machine), WeightNorms())
        for machine in (Machine("cpu", "float64", engine="readable"), FAST64)
    )
    torch.testing.assert_close(readable["weight_norm"], fast["weight_norm"])
    for kind, rows in readable["op_weight_norm"].items():
        torch.testing.assert_close(rows, fast["op_weight_norm"][kind])


def test_what_was_pruned_has_no_norm():
    run = without_one_op()
    rows = measured(run, WeightNorms())["op_weight_norm"]["cell"]
    assert torch.isnan(rows).nonzero().tolist() == [[0, 3]]
