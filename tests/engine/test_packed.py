"""Packed weights under readable names: state, pruning, and memory that is used again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from torch import Tensor

from tests.engine.nets import EDGES, Case, by_name, cases, examples, formed, mixtures, pair
from workbench.arch import Arch
from workbench.engine.packed import PackedCell
from workbench.parts.relaxations import Softmax
from workbench.pruning import remove
from workbench.spaces.darts import darts

CASE = Case(darts(channels=3, cells=2, nodes=2))
WEIGHT = "blocks.0.edges.0.ops.sep_conv_3x3.1.weight"
NORM = "blocks.1.edges.1.ops.avg_pool_3x3.1."


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Equal to the bit, in the same places."""
    assert a.keys() == b.keys()
    for name, x in a.items():
        assert x.dtype == b[name].dtype, name
        assert torch.equal(x, b[name]), name


# --- state --------------------------------------------------------------------------------------


@examples
@given(case=cases() | formed())
def test_a_state_goes_from_readable_to_fast_and_back_to_the_bit(case: Case):
    net, fast = case.nets()
    same(dict(fast.state_dict()), dict(net.state_dict()))
    assert not any(x.requires_grad for x in fast.state_dict().values())
    other, other_fast = replace(case, seed=case.seed + 1, alive=1.0).nets()
    if case.alive < 1:
        other.drop(case.masks())
        other_fast.drop(case.masks())
    other.load_state_dict(fast.state_dict())
    other_fast.load_state_dict(net.state_dict())
    same(dict(other.state_dict()), dict(net.state_dict()))
    same(dict(other_fast.state_dict()), dict(net.state_dict()))


def test_wrong_keys_are_reported_as_by_the_readable_supernet():
    net, fast = CASE.nets()
    state = dict(net.state_dict())
    for name in (
        WEIGHT,
        NORM + "running_mean",
        "blocks.0.preprocess.0.1.weight",
        "stem.first.0.weight",
    ):
        del state[name]
    for name in ("blocks.0.edges.0.ops.sep_conv_9x9.1.weight", "blocks.7.x", "y", NORM + "weight"):
        state[name] = torch.zeros(1)
    found, want = (form.load_state_dict(dict(state), strict=False) for form in (fast, net))
    assert sorted(found.missing_keys) == sorted(want.missing_keys)
    assert sorted(found.unexpected_keys) == sorted(want.unexpected_keys)
    assert WEIGHT in found.missing_keys


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop(WEIGHT), "Missing key"),
        (lambda state: state.pop(NORM + "running_var"), "Missing key"),
        (lambda state: state.update({"blocks.0.edges.0.ops.x": torch.zeros(1)}), "Unexpected key"),
        (lambda state: state.update({WEIGHT: torch.zeros(6, 1, 5, 5)}), "size mismatch"),
        (lambda state: state.update({WEIGHT: torch.zeros(1, 6, 3, 3)}), "size mismatch"),
        (lambda state: state.update({NORM + "running_var": torch.zeros(1)}), "size mismatch"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: Callable, message: str):
    for net in CASE.nets():
        state = dict(net.state_dict())
        change(state)
        with pytest.raises(RuntimeError, match=message):
            net.load_state_dict(state)


# --- pruning ------------------------------------------------------------------------------------


@examples
@given(case=cases() | formed())
def test_what_is_left_after_a_removal_is_what_it_was_to_the_bit(case: Case):
    net, fast = case.nets(drop=False)
    old = [weight.detach().clone() for weight in fast.parameters()]
    names = {weight: i for i, weight in enumerate(fast.parameters())}
    net.drop(case.masks())
    for weight, kept in fast.drop(case.masks()).items():
        assert torch.equal(weight, old[names[weight]][kept])
    same(dict(fast.state_dict()), dict(net.state_dict()))


@examples
@given(case=cases() | formed())
def test_momentum_follows_the_weights_that_are_left(case: Case):
    found = []
    for net, momenta in zip(
        case.nets(drop=False), pair(case.space, seed=1, edge=EDGES[case.edge]), strict=True
    ):
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.9)
        for weight, momentum in zip(net.parameters(), momenta.parameters(), strict=True):
            optimizer.state[weight]["momentum_buffer"] = momentum.detach().clone()
        alpha = {
            cell.kind: torch.zeros(len(cell.edges), len(cell.columns)) for cell in case.space.cells
        }
        arch = Arch(case.space, Softmax(), alpha, torch.device("cpu"), torch.float64)
        arch_optimizer = torch.optim.Adam(arch.parameters())
        remove(net, arch, optimizer, arch_optimizer, case.masks())
        assert {id(w) for w in optimizer.state} == {id(w) for w in net.parameters()}
        left = [optimizer.state[weight]["momentum_buffer"] for weight in net.parameters()]
        momenta = by_name(net, left)
        found.append({name: x for name, x in momenta.items() if name.endswith("weight")})
    same(*found)


# --- memory -------------------------------------------------------------------------------------


def packed(net: torch.nn.Module) -> list[PackedCell]:
    return [cell for cell in net.modules() if isinstance(cell, PackedCell)]


def gradients(net: torch.nn.Module, loss: Tensor, **options: bool) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(net.parameters()), **options))


def test_passes_that_overlap_have_the_gradients_of_passes_that_do_not():
    _, fast = CASE.nets()
    rows = mixtures(CASE.leaves())
    pictures = [CASE.images(), CASE.images(1), CASE.images(2)[:2, :, :5, :4], CASE.images(3)]
    alone = [gradients(fast, fast(x, rows).square().sum()) for x in pictures]
    losses = [fast(x, rows).square().sum() for x in pictures]
    for number in (1, 3, 0, 2):
        found = gradients(fast, losses[number])
        assert all(map(torch.equal, found, alone[number]))


def test_a_gradient_can_be_asked_for_twice():
    _, fast = CASE.nets()
    loss = fast(CASE.images(), mixtures(CASE.leaves())).square().sum()
    first = gradients(fast, loss, retain_graph=True)
    fast(CASE.images(1), mixtures(CASE.leaves())).sum().backward()
    assert all(map(torch.equal, gradients(fast, loss), first))


def test_memory_on_lease_comes_back_and_no_more_than_two_pieces_wait():
    _, fast = CASE.nets()
    rows = mixtures(CASE.leaves())
    for _ in range(3):
        losses = [fast(CASE.images(n), rows).sum() for n in range(4)]
        while losses:
            gradients(fast, losses.pop())
        assert [len(cell._free) for cell in packed(fast)] == [2, 2]
    pieces = [{x.data_ptr() for x in cell._free} for cell in packed(fast)]
    loss = fast(CASE.images(), rows).sum()
    del loss
    assert [{x.data_ptr() for x in cell._free} for cell in packed(fast)] == pieces
    fast(CASE.images()[:2], rows)  # of another size: the old pieces are let go
    assert [len(cell._free) for cell in packed(fast)] == [1, 1]


def test_weights_that_moved_between_the_passes_are_noticed():
    _, fast = CASE.nets()
    loss = fast(CASE.images(), mixtures(CASE.leaves())).sum()
    with torch.no_grad():
        for cell in packed(fast):
            cell.weights.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
