"""The weights' optimizer, and weights that keep their norms."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor

from workbench.parts.schedules import Cosine, Linear
from workbench.parts.weight_optimizers import PartialSgd, Sgd


def some_weights(seed: int = 0, scale: float = 1.0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = [(4, 3, 3, 3), (5,), (2, 2), ()]
    values = [scale * torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    return [value.requires_grad_() for value in [*values, torch.zeros(3, dtype=torch.float64)]]


def norms(weights: list[Tensor]) -> Tensor:
    return torch.stack([weight.detach().norm() for weight in weights])


def steps(optimizer: torch.optim.Optimizer, weights: list[Tensor], count: int = 3) -> None:
    draw = torch.Generator().manual_seed(7)
    for _ in range(count):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=draw, dtype=weight.dtype)
        optimizer.step()


def test_sgd_has_the_settings_of_darts() -> None:
    group = Sgd()(some_weights()).param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.025, 0.9, 3e-4)
    assert Sgd().clip == 5.0


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.025), (25, 0.013), (49, 0.0010237)])
def test_the_first_epoch_has_the_first_learning_rate(epoch: int, rate: float) -> None:
    assert Sgd().lr_at(epoch / 50) == pytest.approx(rate, abs=5e-8)
    assert Sgd(lr=0.1).lr_at(epoch / 50) == 0.1


def test_every_norm_is_kept() -> None:
    weights = some_weights()
    before, first = norms(weights), [weight.detach().clone() for weight in weights]
    steps(Sgd(lr=0.1, keep_norms=True)(weights), weights)
    torch.testing.assert_close(norms(weights)[:4], before[:4], rtol=1e-12, atol=0)
    moved = [not torch.equal(new, old) for new, old in zip(weights[:3], first[:3], strict=True)]
    assert all(moved)


def test_weights_that_start_at_zero_have_no_norm_to_keep() -> None:
    kept, free = some_weights(), some_weights()
    steps(Sgd(lr=0.1, keep_norms=True)(kept), kept)
    steps(Sgd(lr=0.1)(free), free)
    assert kept[4].norm() > 0
    torch.testing.assert_close(kept[4], free[4])


def test_norms_move_unless_they_are_kept() -> None:
    weights = some_weights()
    before = norms(weights)
    steps(Sgd(lr=0.1)(weights), weights)
    assert not torch.allclose(norms(weights), before, rtol=1e-3)


def test_a_weight_without_a_gradient_is_left_alone() -> None:
    weights = some_weights()
    optimizer = Sgd(lr=0.1, keep_norms=True)(weights)
    before = [weight.detach().clone() for weight in weights]
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, weights, strict=True))


def test_a_saved_optimizer_gives_its_norms_back() -> None:
    weights = some_weights()
    before = norms(weights)
    optimizer = Sgd(lr=0.1, keep_norms=True)(weights)
    steps(optimizer, weights)
    stream = io.BytesIO()
    torch.save(optimizer.state_dict(), stream)
    stream.seek(0)
    others = some_weights(seed=1, scale=3.0)
    resumed = Sgd(lr=0.1, keep_norms=True)(others)
    resumed.load_state_dict(torch.load(stream))
    steps(resumed, others)
    torch.testing.assert_close(norms(others)[:4], before[:4], rtol=1e-12, atol=0)


def test_a_resumed_optimizer_goes_on_bit_for_bit() -> None:
    straight, resumed = some_weights(), some_weights()
    optimizer, other = (Sgd(keep_norms=True)(weights) for weights in (straight, resumed))
    steps(optimizer, straight)
    steps(other, resumed)
    again = Sgd(keep_norms=True)(resumed)
    again.load_state_dict(other.state_dict())
    steps(optimizer, straight)
    steps(again, resumed)
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))


@pytest.mark.parametrize("lr", [0.0, -0.1, Cosine(-0.1, 0.1), Linear(0.1, -0.1), Linear(0, 0)])
def test_a_learning_rate_is_positive_and_never_negative(lr: object) -> None:
    with pytest.raises(ValueError, match="needs a positive learning rate"):
        Sgd(lr=lr)


def test_a_learning_rate_may_end_at_zero() -> None:
    assert Sgd(lr=Cosine(0.025)).lr_at(1.0) == 0.0


@pytest.mark.parametrize("clip", [0.0, -1.0])
def test_a_bound_on_the_gradient_norm_is_positive(clip: float) -> None:
    with pytest.raises(ValueError, match="needs a positive bound, or None"):
        Sgd(clip=clip)


# --- partial ------------------------------------------------------------------------------------


def test_without_zero_gradients_partial_sgd_is_sgd() -> None:
    ours, theirs = some_weights(), some_weights()
    steps(PartialSgd(weight_decay=0.1)(ours), ours)
    steps(Sgd(weight_decay=0.1)(theirs), theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)


def test_partial_sgd_leaves_numbers_without_a_gradient_wholly_alone() -> None:
    """The second number rests in the second step: by hand, lr 1, momentum 1/2, decay 1/4."""
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    optimizer = PartialSgd(lr=1.0, momentum=0.5, weight_decay=0.25)([weight])
    for grad in ([1.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
        weight.grad = torch.tensor(grad, dtype=torch.float64)
        optimizer.step()
    # The momentum buffers, step by step; the second number's has one step less.
    want = torch.tensor([1 - 1.25 - 1.5625 - 1.328125, 2 - 1.5 - (0.75 + 1 + 0.125)])
    assert torch.equal(weight.detach(), want.double())


def test_partial_sgd_has_sgds_settings_and_keeps_the_fast_supernet() -> None:
    ours, theirs = (o(some_weights()).param_groups[0] for o in (PartialSgd(), Sgd()))
    for name in ("lr", "momentum", "weight_decay"):
        assert ours[name] == theirs[name]
    assert PartialSgd().elementwise
    assert PartialSgd().lr_at(0.5) == Sgd().lr_at(0.5)
    for bad in ({"lr": 0.0}, {"clip": -1.0}):
        with pytest.raises(ValueError, match=r"`PartialSgd\(.*needs a positive"):
            PartialSgd(**bad)
