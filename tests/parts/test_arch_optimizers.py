"""The architecture's optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.parts.arch_optimizers import (
    Adam,
    ClippedSgd,
    ExponentiatedGradient,
    HeavyBall,
)


def test_adam_has_the_settings_of_darts() -> None:
    group = Adam()([torch.zeros(2, requires_grad=True)]).param_groups[0]
    assert group["lr"] == 3e-4
    assert group["betas"] == (0.5, 0.999)
    assert group["weight_decay"] == 1e-3


def test_weight_decay_goes_into_the_gradient_before_the_moments() -> None:
    """By hand; decoupled decay would move the second number by lr times decay times it."""
    alpha = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer = Adam(lr=0.1, weight_decay=0.5)([alpha])
    alpha.grad = torch.tensor([1.0, 0.0], dtype=torch.float64)
    optimizer.step()
    gradient = torch.tensor([1.0 + 0.5, -1.0], dtype=torch.float64)
    want = torch.tensor([1.0, -2.0]) - 0.1 * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(alpha.detach(), want.double(), rtol=0, atol=1e-9)
    first = optimizer.state[alpha]["exp_avg"]
    torch.testing.assert_close(first, 0.5 * gradient)


@pytest.mark.parametrize("lr", [0.0, -1e-3])
def test_a_learning_rate_is_positive(lr: float) -> None:
    with pytest.raises(ValueError, match="needs a positive learning rate"):
        Adam(lr=lr)


# Descent with a bound


@pytest.mark.parametrize(("size", "moved"), [(5.0, 5.0), (10.0, 10.0), (80.0, 10.0)])
def test_a_step_is_along_the_gradient_and_no_longer_than_the_bound(
    size: float, moved: float
) -> None:
    """Of all alphas together: 3-4-5."""
    alphas = [torch.zeros(2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    optimizer = ClippedSgd(lr=0.1, clip=10.0)(alphas)
    for alpha, share in zip(alphas, (0.6, 0.8), strict=True):
        alpha.grad = torch.tensor([size * share, 0.0], dtype=torch.float64)
    optimizer.step()
    got = torch.stack([alpha.detach() for alpha in alphas])
    want = -0.1 * moved * double([0.6, 0.0], [0.8, 0.0])
    torch.testing.assert_close(got, want, rtol=1e-6, atol=0)


def test_clipped_descent_has_the_settings_of_snas_and_no_memory() -> None:
    alpha = double([0.5, 0.5]).requires_grad_()
    optimizer = ClippedSgd()([alpha])
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (3e-4, 0, 0)
    for _ in range(2):
        alpha.grad = double([1.0, -1.0])
        optimizer.step()
    torch.testing.assert_close(alpha.detach(), 0.5 - 2 * 3e-4 * double([1.0, -1.0]))


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"clip": 0.0}])
def test_a_rate_or_bound_of_zero_is_refused(wrong: dict[str, float]) -> None:
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=rf"`ClippedSgd\({name}=0.0\)` needs a positive"):
        ClippedSgd(**wrong)


def test_a_heavy_ball_rolls_on_without_a_gradient_and_does_not_decay() -> None:
    """By hand: 1, then 1.5 of it, then .75, at a learning rate of 2 and half the momentum."""
    alpha = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = HeavyBall(lr=2.0, momentum=0.5)([alpha])
    for grad in (1.0, 1.0, 0.0):
        alpha.grad = torch.tensor([grad, 0.0])
        optimizer.step()
    assert alpha.tolist() == [1.0 - 2.0 * (1.0 + 1.5 + 0.75), -2.0]
    group = HeavyBall()([alpha]).param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (1.0, 0.9, 0)


@pytest.mark.parametrize("settings", [{"lr": 0.0}, {"momentum": 1.0}, {"momentum": -0.1}])
def test_a_heavy_ball_that_would_not_settle_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"`HeavyBall\(.* needs a"):
        HeavyBall(**settings)


# Exponentiated gradient


def stepped(alpha: Tensor, *grads: Tensor, lr: float = 0.1, floor: float = 1e-5) -> Tensor:
    """`alpha` after one step along each of `grads`."""
    alpha = alpha.clone().requires_grad_()
    optimizer = ExponentiatedGradient(lr, floor)([alpha])
    for grad in grads:
        alpha.grad = grad
        optimizer.step()
    return alpha.detach()


def double(*rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def some_rows(seed: int, scale: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return scale * torch.randn(6, 5, dtype=torch.float64, generator=draw)


def test_one_step_from_the_middle_is_the_softmax_of_the_step() -> None:
    got = stepped(double([0.5, 0.5]), double([1.0, -1.0]))
    torch.testing.assert_close(got, double([0.450166, 0.549834]), rtol=0, atol=5e-7)


def test_steps_along_one_gradient_telescope_to_a_softmax() -> None:
    """From uniform, T steps of a constant g are softmax(-lr T g)."""
    grad = some_rows(0)
    got = stepped(torch.full_like(grad, 0.2), *[grad] * 25)
    torch.testing.assert_close(got, torch.softmax(-0.1 * 25 * grad, -1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_rows_stay_distributions_above_the_floor(scale: float, dtype: torch.dtype) -> None:
    """At any size of the gradient: 1e4 would overflow exp."""
    start = torch.full((6, 5), 0.2, dtype=dtype)
    got = stepped(start, *[some_rows(seed, scale).to(dtype) for seed in range(30)])
    torch.testing.assert_close(got.sum(-1), torch.ones(6, dtype=dtype), rtol=0, atol=1e-6)
    assert got.min() >= 1e-5 / (1 + 5 * 1e-5) * (1 - 1e-6)
    assert (got.min() < 1.1e-5) == (scale > 1)


def test_a_floor_of_a_tenth_is_seen() -> None:
    """The step alone gives (e^-3, e^0) / sum = (0.0474, 0.9526); the first is lifted to 0.1."""
    got = stepped(double([0.5, 0.5]), double([30.0, 0.0]), floor=0.1)
    high = 1 / (1 + torch.exp(torch.tensor(-3.0, dtype=torch.float64)))
    torch.testing.assert_close(got, double([0.1, high]) / (0.1 + high))


def test_a_weight_of_exactly_zero_stays_zero() -> None:
    got = stepped(double([0.0, 0.5, 0.5]), double([-9.0, 1.0, -1.0]))
    assert got[0, 0] == 0
    torch.testing.assert_close(got[:, 1:], double([0.450166, 0.549834]), rtol=0, atol=5e-7)


def test_a_constant_added_to_a_row_of_the_gradient_changes_nothing() -> None:
    start, grad = torch.softmax(some_rows(1), -1), some_rows(2)
    torch.testing.assert_close(stepped(start, grad + 7), stepped(start, grad))
    assert not torch.allclose(stepped(start, grad), start)


def test_its_rate_can_be_read_and_changed_as_any_optimizers() -> None:
    alpha = double([0.5, 0.5]).requires_grad_()
    optimizer = ExponentiatedGradient()([alpha])
    assert optimizer.param_groups[0]["lr"] == 0.1
    optimizer.param_groups[0]["lr"] = 0.0
    alpha.grad = double([1.0, -1.0])
    optimizer.step()
    assert torch.equal(alpha.detach(), double([0.5, 0.5]))


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"floor": 1.0}, {"floor": -1e-5}])
def test_a_rate_or_floor_out_of_range_is_refused_by_name(wrong: dict[str, float]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=rf"`ExponentiatedGradient\({name}={value}\)` needs"):
        ExponentiatedGradient(**wrong)
