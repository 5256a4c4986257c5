"""Relaxations that draw: their limits, frequencies and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.parts.sampling import Concrete, HardConcrete
from workbench.parts.schedules import Linear

LOGITS = torch.tensor([0.3, -0.8, 1.1, 0.0, -0.2], dtype=torch.float64)
PROBABLE = LOGITS.softmax(0)
DRAWS = 100_000
CHANCE = 18.47  # chi-square of 4 degrees of freedom, 0.999 quantile


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(
    relaxation: object, logits: Tensor, alive: Tensor | None = None, t: float = 0.0, seed: int = 0
) -> Tensor:
    everything = torch.ones_like(logits, dtype=torch.bool)
    return relaxation.sample(logits, everything if alive is None else alive, t, generator(seed))


def chi_square(rows: Tensor) -> float:
    counts = rows.argmax(dim=1).bincount(minlength=5)
    return float(((counts - DRAWS * PROBABLE) ** 2 / (DRAWS * PROBABLE)).sum())


@pytest.mark.parametrize("tau", [0.03, 1.0, 10.0])
@pytest.mark.parametrize("kind", [Concrete, HardConcrete])
def test_the_largest_is_each_operation_as_often_as_softmax_says(kind: type, tau: float) -> None:
    rows = draw(kind(tau), LOGITS.expand(DRAWS, 5))
    assert chi_square(rows) < CHANCE
    assert chi_square(draw(kind(tau), 0.9 * LOGITS.expand(DRAWS, 5))) > 2 * CHANCE


@pytest.mark.parametrize("kind", [Concrete, HardConcrete])
def test_what_is_recorded_and_derived_from_is_the_softmax(kind: type) -> None:
    alive = torch.tensor([[True, True, False, True, True]])
    mix = kind(0.5).mix(LOGITS[None], alive, 0.3)
    want = torch.where(alive, LOGITS, -torch.inf).softmax(1)
    assert torch.equal(mix, want)
    assert mix[0, 2] == 0


def test_a_hot_draw_is_uniform_and_a_cold_one_nearly_one_hot() -> None:
    rows = LOGITS.expand(1000, 5)
    hot = draw(Concrete(1e6), rows)
    torch.testing.assert_close(hot, torch.full_like(hot, 0.2), rtol=0, atol=1e-5)
    cold = draw(Concrete(1e-6), rows)
    assert (cold.amax(dim=1) > 0.999).double().mean() > 0.999
    torch.testing.assert_close(cold.sum(1), torch.ones(1000).double())


def test_the_mean_of_cold_draws_is_the_softmax() -> None:
    """It is not that of hot ones, which are uniform."""
    mean = draw(Concrete(0.01), LOGITS.expand(DRAWS, 5)).mean(dim=0)
    torch.testing.assert_close(mean, PROBABLE, rtol=0, atol=4e-3)


def test_a_draw_is_the_softmax_of_logits_plus_noise() -> None:
    """The same noise under other logits and temperatures, by hand."""
    zeros = torch.zeros(6, 5, dtype=torch.float64)
    noise = draw(Concrete(1.0), zeros).log()  # but for a number per row
    want = ((LOGITS + noise) / 0.3).softmax(1)
    torch.testing.assert_close(draw(Concrete(0.3), zeros + LOGITS), want)


def test_a_draw_has_the_gradient_of_its_formula() -> None:
    logits = LOGITS.expand(3, 5).clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: draw(Concrete(0.7), z), logits)


def test_a_hard_draw_is_exactly_one_hot_and_its_gradient_the_soft_ones() -> None:
    upstream = torch.randn(400, 5, generator=generator(1))
    for tau in (0.1, 1.0, 10.0):
        logits = LOGITS.float().expand(400, 5).clone().requires_grad_()
        hard, soft = draw(HardConcrete(tau), logits), draw(Concrete(tau), logits)
        assert torch.equal(hard.sort(1).values, torch.tensor([0.0, 0, 0, 0, 1]).expand(400, 5))
        assert torch.equal(hard.argmax(1), soft.argmax(1))
        grads = [torch.autograd.grad((upstream * z).sum(), logits)[0] for z in (hard, soft)]
        assert torch.equal(*grads)
        assert grads[0].abs().sum() > 0


@pytest.mark.parametrize("kind", [Concrete, HardConcrete])
def test_the_temperature_follows_its_schedule(kind: type) -> None:
    logits = LOGITS.expand(4, 5).clone().requires_grad_()
    for t, tau in ((0.0, 10.0), (0.5, 5.05), (1.0, 0.1)):
        pair = [draw(kind(each), logits, t=t) for each in (Linear(10.0, 0.1), tau)]
        torch.testing.assert_close(*pair)
        torch.testing.assert_close(
            *[torch.autograd.grad(rows[:, 0].sum(), logits)[0] for rows in pair]
        )


@pytest.mark.parametrize("kind", [Concrete, HardConcrete])
def test_draws_follow_the_generator_and_differ_from_row_to_row(kind: type) -> None:
    rows = LOGITS.expand(20, 5)
    assert torch.equal(draw(kind(1.0), rows), draw(kind(1.0), rows))
    assert not torch.equal(draw(kind(1.0), rows), draw(kind(1.0), rows, seed=1))
    assert len(draw(kind(1.0), rows).unique(dim=0)) > 1


@pytest.mark.parametrize("kind", [Concrete, HardConcrete])
def test_the_dead_are_never_drawn_and_their_logits_get_no_gradient(kind: type) -> None:
    logits = torch.zeros(500, 5, requires_grad=True)
    alive = torch.tensor([True, False, True, False, False]).expand(500, 5)
    rows = draw(kind(0.1), logits, alive)
    assert (rows[~alive] == 0).all()
    assert {0, 2} == set(rows.argmax(1).tolist())
    (grad,) = torch.autograd.grad(rows[:, 0].sum(), logits)
    assert (grad[~alive] == 0).all()
    assert (grad[alive] != 0).any()


@pytest.mark.parametrize("number", [0.0, 200.0])
def test_the_noise_is_finite_whatever_is_drawn(
    number: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(self: Tensor, lambd: float = 1.0, *, generator: torch.Generator) -> Tensor:
        self.normal_(generator=generator)
        return torch.where(self > 0, number, self.abs())

    monkeypatch.setattr(torch.Tensor, "exponential_", drawn)
    logits = torch.zeros(50, 5, requires_grad=True)
    rows = draw(HardConcrete(0.1), logits)
    assert torch.equal(rows.sum(dim=1), torch.ones(50))
    assert torch.autograd.grad(rows[:, 0].sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, Linear(1.0, 0.0)])
@pytest.mark.parametrize("kind", [Concrete, HardConcrete])
def test_a_temperature_of_zero_is_refused(kind: type, temperature: object) -> None:
    with pytest.raises(ValueError, match=rf"`{kind.__name__}\(temperature=.*needs temperatures"):
        kind(temperature)
