"""The architecture's optimizer."""

from __future__ import annotations

import pytest
import torch

from workbench.parts.arch_optimizers import Adam


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
