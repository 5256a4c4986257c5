"""Optimizers as a machine wants them, before and after a saved state of another machine."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from workbench.engine import Machine, fitted, like, reloaded
from workbench.parts.arch_optimizers import Adam, ExponentiatedGradient, HeavyBall
from workbench.parts.weight_optimizers import PartialSgd, Sgd

PLAIN, FUSED = Machine("cpu"), Machine("cpu", fused=True)


def weights() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, generator=generator).requires_grad_() for _ in range(2)]


def stepped(part: object, machine: Machine, *, steps: int = 5) -> tuple[list[Tensor], object]:
    own = weights()
    optimizer = fitted(part(own), machine)
    for step in range(steps):
        for weight in own:
            weight.grad = torch.sin(weight.detach() + step)
        optimizer.step()
    return own, optimizer


@pytest.mark.parametrize("part", [Sgd(), Sgd(momentum=0.0), Adam(), HeavyBall(lr=0.1)])
def test_a_fused_step_is_the_step(part: object) -> None:
    (plain, _), (fused, optimizer) = stepped(part, PLAIN), stepped(part, FUSED)
    assert all(group["fused"] for group in optimizer.param_groups)
    torch.testing.assert_close(fused, plain, rtol=1e-6, atol=1e-6)
    assert not torch.equal(fused[0], weights()[0])


@pytest.mark.parametrize("part", [Sgd(), Adam()])
def test_a_gradient_that_lies_otherwise_is_that_gradient(part: object) -> None:
    start = torch.rand(3, 5, dtype=torch.float64)
    grad = torch.rand(5, 3, dtype=torch.float64).t()
    found = []
    for machine, given in ((PLAIN, grad), (FUSED, like(start, grad))):
        weight = start.clone().requires_grad_()
        optimizer = fitted(part([weight]), machine)
        for step in range(3):
            weight.grad = given
            given = like(start, grad * (step - 1)) if machine is FUSED else grad * (step - 1)
            optimizer.step()
        found.append(weight.detach())
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-12)
    assert like(start, start) is start


@pytest.mark.parametrize("part", [PartialSgd(), ExponentiatedGradient()])
def test_an_optimizer_that_has_no_such_step_stays_as_it_is(part: object) -> None:
    for a, b in zip(stepped(part, PLAIN)[0], stepped(part, FUSED)[0], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("there", [PLAIN, FUSED], ids=["plain", "fused"])
@pytest.mark.parametrize("here", [PLAIN, FUSED], ids=["plain", "fused"])
@pytest.mark.parametrize("part", [Sgd(), Adam()])
def test_a_saved_state_goes_on_as_the_machine_here_steps(
    part: object, here: Machine, there: Machine
) -> None:
    own, saved = stepped(part, there)
    state = copy.deepcopy(saved.state_dict())
    optimizer = fitted(part(own), here)
    before = [{k: g.get(k) for k in ("fused", "foreach")} for g in optimizer.param_groups]
    reloaded(optimizer, state)
    after = [{k: g.get(k) for k in ("fused", "foreach")} for g in optimizer.param_groups]
    assert before == after
    for weight in own:
        weight.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.state[own[0]].get("step", 6) == 6
    whole, _ = stepped(part, here)
    assert not torch.equal(whole[0], own[0])


def test_steps_are_counted_on_the_device_where_graphs_replay_them() -> None:
    graphed = SimpleNamespace(graphs=True, fused=False)
    optimizer = fitted(Adam()(weights()), graphed)
    assert all(group["capturable"] and group["fused"] for group in optimizer.param_groups)
    assert not any(group["fused"] for group in fitted(Sgd()(weights()), graphed).param_groups)
    counted = fitted(Adam()(weights()), PLAIN)
    assert not any(group["capturable"] for group in counted.param_groups)
