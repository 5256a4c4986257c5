"""Architecture gradients: by hand on a scalar problem, against exact differentiation on a net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from workbench.parts.arch_gradients import Unrolled, first_order, single_level
from workbench.parts.edges import WeightedSum
from workbench.protocols import Batch, Mixture
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.supernet import Supernet

TRAIN = Batch(torch.zeros(1), torch.zeros(1))
VAL = Batch(torch.zeros(1), torch.zeros(1))
SECOND_ORDER = [Unrolled(), Unrolled(exact=True)]


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@dataclass
class Toy:
    """L_train = (w - a)^2 / 2 and L_val = (w - t)^2 / 2, with `a` the architecture."""

    lr: float = 0.1
    weight_decay: float = 0.0
    velocity: tuple[Tensor, ...] = (scalar(0.0),)
    w: float = 0.3
    a: float = 1.2
    t: float = 2.0
    weights: tuple[Tensor, ...] = field(init=False)
    alphas: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = (scalar(self.w).requires_grad_(),)
        self.alphas = (scalar(self.a).requires_grad_(),)

    def mixtures(self) -> dict[str, Mixture]:
        return {}

    def loss(self, weights: Sequence[Tensor], batch: Batch, mixtures: object = None) -> Tensor:
        target = self.alphas[0] if batch is TRAIN else self.t
        return (weights[0] - target).square() / 2


class Net:
    """A small supernet, smooth everywhere, in double precision."""

    lr, weight_decay = 0.025, 3e-4

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        space = nasbench201(channels=4, cells_per_stage=1, nodes=2)
        self.net = Supernet(space, edge=WeightedSum, classes=3, activation=nn.Softplus)
        self.weights = tuple(self.net.parameters())
        self.alphas = (torch.randn(3, 5).requires_grad_(),)
        self.velocity = tuple(0.01 * torch.randn_like(w) for w in self.weights)
        self.train, self.val = (
            Batch(torch.randn(16, 3, 8, 8), torch.randint(0, 3, (16,))) for _ in range(2)
        )

    def mixtures(self) -> dict[str, Mixture]:
        return {"cell": Mixture(self.alphas[0].softmax(dim=1))}

    def loss(self, weights: Sequence[Tensor], batch: Batch, mixtures: object = None) -> Tensor:
        names = [name for name, _ in self.net.named_parameters()]
        state = dict(zip(names, weights, strict=True))
        logits = functional_call(self.net, state, (batch.images, mixtures or self.mixtures()))
        return functional.cross_entropy(logits, batch.labels)

    def direct(self) -> Tensor:
        """The held-out loss's gradient in alpha alone, at the weights after the virtual step."""
        grads = torch.autograd.grad(self.loss(self.weights, self.train), self.weights)
        virtual = [
            (w - self.lr * (v + g + self.weight_decay * w)).detach()
            for w, v, g in zip(self.weights, self.velocity, grads, strict=True)
        ]
        return torch.autograd.grad(self.loss(virtual, self.val), self.alphas)[0]

    def implicit(self, gradient: object) -> Tensor:
        """What a second-order gradient adds to the direct one."""
        return gradient(self, self.train, self.val)[0] - self.direct()


# By hand


def test_the_first_order_gradient_of_the_toy_is_zero() -> None:
    assert first_order(Toy(), TRAIN, VAL) == (scalar(0.0),)


def test_the_single_level_gradient_of_the_toy_is_the_training_losss() -> None:
    assert single_level(Toy(), TRAIN, VAL)[0].item() == pytest.approx(0.9, abs=1e-12)


@pytest.mark.parametrize("gradient", SECOND_ORDER)
def test_the_second_order_gradient_of_the_toy_is_known(gradient: Unrolled) -> None:
    """w' = 0.39, v = -1.61, and d2 L_train / d a d w = -1: -0.1 * -1 * -1.61."""
    assert gradient(Toy(), TRAIN, VAL)[0].item() == pytest.approx(-0.161, abs=1e-6)


@pytest.mark.parametrize("gradient", SECOND_ORDER)
def test_the_virtual_step_has_momentum_and_weight_decay(gradient: Unrolled) -> None:
    """w' = 0.3 - 0.1 (0.5 - 0.9 + 2 * 0.3) = 0.28."""
    toy = Toy(weight_decay=2.0, velocity=(scalar(0.5),))
    want = 0.1 * (0.28 - 2.0)
    assert gradient(toy, TRAIN, VAL)[0].item() == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("gradient", SECOND_ORDER)
def test_without_a_learning_rate_second_order_is_first_order(gradient: Unrolled) -> None:
    toy = Toy(lr=0.0)
    assert gradient(toy, TRAIN, VAL)[0].item() == first_order(toy, TRAIN, VAL)[0].item()


@pytest.mark.parametrize("gradient", SECOND_ORDER)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_held_out_loss_at_its_minimum_gives_zero_and_not_nan(
    gradient: Unrolled, dtype: torch.dtype
) -> None:
    toy = Toy(lr=1.0, a=2.0)  # one step reaches w' = a = t, where v = 0
    toy.weights = tuple(w.detach().to(dtype).requires_grad_() for w in toy.weights)
    toy.alphas = tuple(a.detach().to(dtype).requires_grad_() for a in toy.alphas)
    toy.velocity = tuple(v.to(dtype) for v in toy.velocity)
    assert gradient(toy, TRAIN, VAL)[0].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("gradient", [first_order, single_level, *SECOND_ORDER])
def test_an_alpha_the_loss_does_not_see_gets_zeros_of_its_shape(gradient: object) -> None:
    toy = Toy()
    toy.alphas = (*toy.alphas, torch.ones(2, 3, dtype=torch.float64, requires_grad=True))
    seen, unseen = gradient(toy, TRAIN, VAL)
    assert seen.shape == ()
    assert torch.equal(unseen, torch.zeros(2, 3, dtype=torch.float64))


def test_a_radius_is_positive() -> None:
    with pytest.raises(ValueError, match=r"`Unrolled\(radius=0\)` needs a positive radius"):
        Unrolled(radius=0)


# Against exact differentiation


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("seed", range(4))
def test_the_finite_difference_agrees_with_exact_differentiation(seed: int) -> None:
    """In the implicit term alone: it is the smaller one, and a wrong sign could hide in the sum."""
    net = Net(seed)
    exact, published, fine = (
        net.implicit(gradient)
        for gradient in (Unrolled(exact=True), Unrolled(), Unrolled(radius=0.001))
    )
    assert exact.norm() > 0.05 * net.direct().norm()
    assert (published - exact).norm() < 1e-2 * exact.norm()
    assert (fine - exact).norm() < 1e-4 * exact.norm()


@pytest.mark.usefixtures("float64")
def test_exact_differentiation_agrees_with_moving_alpha() -> None:
    """Differences of the held-out loss after the virtual step, entry by entry of alpha."""
    net, step = Net(), 1e-4
    (exact,) = Unrolled(exact=True)(net, net.train, net.val)

    def after(alpha: Tensor) -> Tensor:
        mixtures = {"cell": Mixture(alpha.softmax(dim=1))}
        loss = net.loss(net.weights, net.train, mixtures)
        grads = torch.autograd.grad(loss, net.weights)
        virtual = [
            w - net.lr * (v + g + net.weight_decay * w)
            for w, v, g in zip(net.weights, net.velocity, grads, strict=True)
        ]
        return net.loss(virtual, net.val, mixtures).detach()

    for row, column in ((0, 1), (1, 3), (2, 4), (2, 0)):
        move = torch.zeros(3, 5)
        move[row, column] = step
        alpha = net.alphas[0].detach()
        slope = (after(alpha + move) - after(alpha - move)) / (2 * step)
        assert exact[row, column].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-9)


@pytest.mark.usefixtures("float64")
def test_the_finite_difference_converges_with_the_square_of_its_radius() -> None:
    """A wrong sign, factor or centre would converge more slowly or not at all."""
    net = Net()
    exact = net.implicit(Unrolled(exact=True))
    errors = [
        ((net.implicit(Unrolled(radius=radius)) - exact).norm() / exact.norm()).item()
        for radius in (0.1, 0.01, 0.001)
    ]
    assert errors[2] < 1e-4
    assert 60 < errors[0] / errors[1] < 160
    assert 60 < errors[1] / errors[2] < 160


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("gradient", [first_order, single_level, *SECOND_ORDER])
def test_weights_and_alphas_stay_the_same_bit_for_bit(gradient: object) -> None:
    net = Net()
    before = [value.detach().clone() for value in (*net.weights, *net.alphas, *net.velocity)]
    (grad,) = gradient(net, net.train, net.val)
    assert grad.shape == (3, 5)
    assert not grad.requires_grad
    after = (*net.weights, *net.alphas, *net.velocity)
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(value.grad is None for value in (*net.weights, *net.alphas))


@pytest.mark.usefixtures("float64")
def test_first_order_sees_held_out_and_single_level_training_images() -> None:
    net = Net()
    for gradient, batch in ((first_order, net.val), (single_level, net.train)):
        want = torch.autograd.grad(net.loss(net.weights, batch), net.alphas)
        assert torch.equal(gradient(net, net.train, net.val)[0], want[0])
