"""The fast supernet computes what the readable one does."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given
from torch.nn import functional

from tests.engine.nets import (
    EDGES,
    AnyNet,
    Case,
    assert_agree,
    by_name,
    cases,
    examples,
    formed,
    measured,
    mixtures,
    pair,
)
from tests.tiny import CPU64
from workbench.bilevel import WeightedNet, frozen_statistics
from workbench.engine import FastSupernet
from workbench.engine.workers import use_threads
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201

ASKED = {
    "joint": {"weights": True, "rows": True},
    "weights": {"weights": True, "rows": False},
    "first_order": {"weights": False, "rows": True},
}
BOTH = pytest.mark.parametrize(
    "space", [darts(channels=3, cells=3, nodes=2), nasbench201(channels=3, cells_per_stage=1)]
)
SINGLE = pytest.mark.parametrize(  # in float32: vectors of one width, which is fewer kernels
    "space", [darts(channels=2, cells=1, nodes=2), nasbench201(channels=3, cells_per_stage=1)]
)


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
@examples
@given(case=cases())
def test_logits_gradients_and_statistics_are_the_readable_supernets(asked, case: Case):
    net, fast = case.nets()
    assert_agree(measured(fast, case, **asked), measured(net, case, **asked))


@pytest.mark.parametrize("kernels", ["cpu", None])
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
@examples
@given(case=formed())
def test_so_they_are_where_edges_are_more_than_a_sum(asked, kernels, case: Case):
    net, _ = pair(case.space, seed=case.seed, edge=EDGES[case.edge])
    fast = FastSupernet(deepcopy(net), kernels=kernels)
    if case.alive < 1:
        net.drop(case.masks())
        fast.drop(case.masks())
    assert_agree(measured(fast, case, **asked), measured(net, case, **asked))


@examples
@given(case=formed())
def test_so_they_are_in_evaluation_and_under_frozen_statistics(case: Case):
    net, fast = case.nets()
    with frozen_statistics(fast), frozen_statistics(net):
        assert_agree(measured(fast, case), measured(net, case))
    net, fast = net.eval(), fast.eval()
    assert_agree(measured(fast, case), measured(net, case))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("edge", [name for name in EDGES if name != "plain"])
def test_so_they_are_in_parts_on_threads_and_computed_again(edge, threads):
    case = Case(darts(channels=6, cells=3, nodes=2), size=(31, 32), batch=12, edge=edge)
    net, _ = pair(case.space, edge=EDGES[edge])
    use_threads(threads)
    try:
        for recompute in (False, True):
            fast = FastSupernet(deepcopy(net), recompute=recompute)
            assert_agree(measured(fast, case), measured(deepcopy(net), case))
    finally:
        use_threads(1)


@examples
@given(case=formed())
def test_so_are_gradients_through_a_virtual_step(case: Case):
    net, fast = case.nets()
    assert_agree(twice(fast, case), twice(net, case), 1e-8)


@examples
@given(case=cases())
def test_in_evaluation_it_uses_the_same_running_statistics(case: Case):
    net, fast = (form.eval() for form in case.nets())
    assert_agree(measured(fast, case), measured(net, case))


@BOTH
def test_frozen_statistics_stay_as_they_are(space):
    net, fast = Case(space).nets()
    before = {name: x.clone() for name, x in fast.named_buffers()}
    with frozen_statistics(fast), frozen_statistics(net):
        assert_agree(measured(fast, Case(space)), measured(net, Case(space)))
    assert all(torch.equal(x, before[name]) for name, x in fast.named_buffers())
    measured(fast, Case(space))
    assert not all(torch.equal(x, before[name]) for name, x in fast.named_buffers())


@BOTH
def test_many_and_large_pictures_are_worked_on_in_parts(space):
    case = Case(space, size=(31, 32), batch=8)
    net, fast = case.nets()
    assert_agree(measured(fast, case), measured(net, case))


@BOTH
def test_an_edge_weight_is_a_factor_of_its_row(space):
    case = Case(space, has_beta=True)
    leaves = case.leaves()
    rows = {
        kind: mixture.ops * mixture.edges[:, None] for kind, mixture in mixtures(leaves).items()
    }
    for net in case.nets():
        alone = net(case.images(), mixtures(rows))
        assert torch.allclose(net(case.images(), mixtures(leaves)), alone, rtol=1e-10, atol=1e-12)


def twice(net: AnyNet, case: Case) -> dict[str, torch.Tensor]:
    """Gradients of the loss after a virtual step, through that step (`Unrolled(exact=True)`)."""
    leaves = {name: x.requires_grad_() for name, x in case.leaves().items()}
    weights, shape = tuple(net.parameters()), (3, *case.size)
    labels = torch.randint(3, (case.batch,), generator=case.draw())
    here = WeightedNet(net, weights, shape, CPU64, live=True)
    logits = here(case.images(), mixtures(leaves), 0.0)
    loss = functional.cross_entropy(logits, labels)
    grads = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
    virtual = [w - 0.1 * grad for w, grad in zip(weights, grads, strict=True)]
    there = WeightedNet(net, virtual, shape, CPU64, live=False)
    after = there(case.images(1), mixtures(leaves), 0.0)
    loss = functional.cross_entropy(after, labels)
    asked = (*weights, *leaves.values())
    found = torch.autograd.grad(loss, asked, materialize_grads=True)
    rows = dict(zip(leaves, found[len(weights) :], strict=True))
    return {"loss": loss.detach(), **rows, **by_name(net, found[: len(weights)])}


@examples
@given(case=cases())
def test_gradients_through_a_virtual_step_are_the_readable_supernets(case: Case):
    net, fast = case.nets()
    assert_agree(twice(fast, case), twice(net, case), 1e-8)


def bent(net: AnyNet, case: Case) -> dict[str, torch.Tensor]:
    """Gradients of the size of all gradients: products of the loss's whole Hessian."""
    leaves = {name: x.requires_grad_() for name, x in case.leaves().items()}
    labels = torch.randint(3, (case.batch,), generator=case.draw())
    logits = net(case.images(), mixtures(leaves))
    asked = (*net.parameters(), *leaves.values())
    grads = torch.autograd.grad(
        functional.cross_entropy(logits, labels), asked, create_graph=True, materialize_grads=True
    )
    size = torch.stack([grad.square().sum() for grad in grads]).sum()
    found = torch.autograd.grad(size, asked, materialize_grads=True)
    rows = dict(zip(leaves, found[-len(leaves) :], strict=True))
    return {"size": size.detach(), **rows, **by_name(net, found[: -len(leaves)])}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kernels", [None, "cpu"])
@BOTH
def test_curvature_in_weights_and_mixing_weights_is_the_readable_supernets(
    space, kernels, recompute
):
    case = Case(space, size=(9, 9), batch=5)
    net, _ = pair(space)
    fast = FastSupernet(deepcopy(net), kernels=kernels, recompute=recompute)
    assert_agree(bent(fast, case), bent(net, case), 1e-8)


@SINGLE
def test_logits_in_float32_are_the_readable_supernets_to_a_thousandth(space):
    case = Case(space, size=(16, 16), batch=8)
    net, fast = pair(space, dtype=torch.float32)
    rows = mixtures({kind: x.float() for kind, x in case.leaves().items()})
    logits = net(case.images().float(), rows)
    gap = (fast(case.images().float(), rows) - logits).abs().max()
    assert gap < 1e-3 * logits.abs().max()


@SINGLE
def test_a_net_that_changes_its_number_format_goes_on(space):
    case = Case(space)
    _, fast = pair(space, dtype=torch.float32)
    rows = mixtures({kind: x.float() for kind, x in case.leaves().items()})
    fast(case.images().float(), rows).sum().backward()
    net, _ = pair(space)
    fast.double().load_state_dict(net.state_dict())
    assert_agree(measured(fast, case), measured(net, case))
