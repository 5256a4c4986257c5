"""Architecture gradients: by hand on a scalar problem, against exact differentiation on a net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tests.tiny import READABLE64, SPACES, shrunk, start
from workbench.bilevel import LiveBilevel
from workbench.methods.bilevel import darts
from workbench.parts.arch_gradients import (
    Amended,
    Implicit,
    MixedLevel,
    Unrolled,
    first_order,
    single_level,
)
from workbench.parts.edges import WeightedSum
from workbench.parts.schedules import WeightsOnly
from workbench.protocols import Batch, Mixture
from workbench.search import Run, epoch_of
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.supernet import Supernet

TRAIN = Batch(torch.zeros(1), torch.zeros(1))
VAL = Batch(torch.zeros(1), torch.zeros(1))
SECOND_ORDER = [Unrolled(), Unrolled(exact=True)]
BOTH_FORMS = pytest.mark.parametrize("exact", [False, True], ids=["difference", "exact"])
EVERY = [
    first_order,
    single_level,
    *SECOND_ORDER,
    MixedLevel(),
    *[part(exact=exact) for part in (Amended, Implicit) for exact in (False, True)],
    *[Unrolled(steps=3, exact=exact) for exact in (False, True)],
]


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@dataclass
class Toy:
    """L_train = (w - a)^2 / 2 and L_val = (w - t)^2 / 2, with `a` the architecture."""

    lr: float = 0.1
    weight_decay: float = 0.0
    velocity: tuple[Tensor, ...] = (scalar(0.0),)
    momentum: float = 0.0
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

    lr, weight_decay, momentum = 0.025, 3e-4, 0.9

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


@pytest.mark.parametrize("gradient", EVERY)
def test_an_alpha_the_loss_does_not_see_gets_zeros_of_its_shape(gradient: object) -> None:
    toy = Toy()
    toy.alphas = (*toy.alphas, torch.ones(2, 3, dtype=torch.float64, requires_grad=True))
    seen, unseen = gradient(toy, TRAIN, VAL)
    assert seen.shape == ()
    assert torch.equal(unseen, torch.zeros(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("part", [Unrolled, Amended, Implicit])
def test_a_radius_is_positive(part: type) -> None:
    with pytest.raises(ValueError, match=rf"`{part.__name__}\(radius=0\)` needs a positive radius"):
        part(radius=0)


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        (Unrolled, {"steps": 0}),
        (Amended, {"eta": -0.1}),
        (Implicit, {"terms": -1}),
        (MixedLevel, {"val": -1.0}),
        (MixedLevel, {"train": 0.0, "val": 0.0}),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(part: type, wrong: dict[str, float]) -> None:
    name = rf"`{part.__name__}\(.*{next(iter(wrong))}={next(iter(wrong.values()))}"
    with pytest.raises(ValueError, match=name):
        part(**wrong)


@BOTH_FORMS
@pytest.mark.parametrize(("steps", "want"), [(1, -0.161), (2, -0.29051), (5, -0.54523844)])
def test_the_unrolled_gradient_of_the_toy_is_known(steps: int, want: float, exact: bool) -> None:
    got = Unrolled(steps=steps, exact=exact)(Toy(), TRAIN, VAL)[0].item()
    assert got == pytest.approx(want, abs=1e-7)


@BOTH_FORMS
@pytest.mark.parametrize(
    ("terms", "want"), [(0, -0.17), (1, -0.323), (2, -0.4607), (5, -0.79655), (400, -1.7)]
)
def test_the_implicit_gradient_of_the_toy_is_known(terms: int, want: float, exact: bool) -> None:
    """The last one is the exact solution w - t: w* = a, so that dw*/da = 1."""
    got = Implicit(terms=terms, exact=exact)(Toy(), TRAIN, VAL)[0].item()
    assert got == pytest.approx(want, abs=1e-5 if terms == 5 else 1e-6)


@BOTH_FORMS
def test_the_amended_gradient_of_the_toy_is_known(exact: bool) -> None:
    got = Amended(eta=0.1, exact=exact)(Toy(), TRAIN, VAL)[0].item()
    assert got == pytest.approx(-0.17, abs=1e-6)


def test_the_mixed_level_gradient_of_the_toy_is_the_training_losss() -> None:
    assert MixedLevel()(Toy(), TRAIN, VAL)[0].item() == pytest.approx(0.9, abs=1e-12)


@BOTH_FORMS
def test_without_their_coefficient_the_amended_and_the_implicit_are_first_order(
    exact: bool,
) -> None:
    toy = Toy(lr=0.0)
    want = first_order(toy, TRAIN, VAL)[0].item()
    assert Amended(eta=0.0, exact=exact)(toy, TRAIN, VAL)[0].item() == want
    assert Implicit(exact=exact)(toy, TRAIN, VAL)[0].item() == want


def test_the_implicit_gradient_of_the_end_of_a_quadratic_path_is_the_unrolled_one() -> None:
    """At the end of n steps, n terms of the series: curvature is the same everywhere."""
    after_five = Toy(w=0.668559)
    got = Implicit(terms=4)(after_five, TRAIN, VAL)[0].item()
    assert got == pytest.approx(-0.54523844, abs=1e-6)


@BOTH_FORMS
def test_later_virtual_steps_carry_momentum(exact: bool) -> None:
    """By hand: u0 = v + g0 + c w0, w1 = w0 - lr u0, u1 = mu u0 + g1 + c w1, w2 = w1 - lr u1."""
    lr, mu, c, v, w0, t = 0.1, 0.6, 0.5, 0.4, 0.3, 2.0
    toy = Toy(lr=lr, weight_decay=c, velocity=(scalar(v),), momentum=mu)
    a = scalar(toy.a).requires_grad_()
    u0 = v + (w0 - a) + c * w0
    w1 = w0 - lr * u0
    w2 = w1 - lr * (mu * u0 + (w1 - a) + c * w1)
    (want,) = torch.autograd.grad((w2 - t).square() / 2, a)
    got = Unrolled(steps=2, exact=exact)(toy, TRAIN, VAL)[0].item()
    assert got == pytest.approx(want.item(), abs=1e-12 if exact else 1e-6)


# On a quadratic: L_train = w' H w / 2 + w' M' a, so M is the mixed derivative in (a, w)


class Quadratic:
    """Eight weights in two tensors, five alphas, and everything about them known."""

    lr, weight_decay, momentum, velocity = 0.1, 0.0, 0.0, (torch.zeros(3), torch.zeros(5))

    def __init__(self, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        root = torch.randn(8, 8, generator=draw)
        self.hessian = root @ root.T / 4 + 0.5 * torch.eye(8)
        self.mixed = torch.randn(5, 8, generator=draw)
        self.target, self.own = (torch.randn(n, generator=draw) for n in (8, 5))
        self.weights = tuple(torch.randn(n, generator=draw).requires_grad_() for n in (3, 5))
        self.alphas = (torch.randn(5, generator=draw).requires_grad_(),)

    def mixtures(self) -> dict[str, Mixture]:
        return {}

    def loss(self, weights: Sequence[Tensor], batch: Batch, mixtures: object = None) -> Tensor:
        w, (a,) = torch.cat(list(weights)), self.alphas
        if batch is TRAIN:
            return w @ self.hessian @ w / 2 + a @ self.mixed @ w
        return (w - self.target).square().sum() / 2 + a @ self.own

    @property
    def v(self) -> Tensor:
        return torch.cat(self.weights).detach() - self.target


@pytest.mark.usefixtures("float64")
@BOTH_FORMS
@pytest.mark.parametrize("seed", range(3))
def test_on_a_quadratic_the_amended_term_is_minus_eta_m_h_v(seed: int, exact: bool) -> None:
    problem = Quadratic(seed)
    want = problem.own - 0.3 * problem.mixed @ problem.hessian @ problem.v
    (got,) = Amended(eta=0.3, exact=exact)(problem, TRAIN, VAL)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("float64")
@BOTH_FORMS
@pytest.mark.parametrize("terms", [0, 1, 3])
def test_on_a_quadratic_the_implicit_term_is_the_partial_sum(terms: int, exact: bool) -> None:
    problem = Quadratic()
    step = torch.eye(8) - problem.lr * problem.hessian
    series = torch.stack([torch.linalg.matrix_power(step, k) for k in range(terms + 1)]).sum(0)
    want = problem.own - problem.lr * problem.mixed @ series @ problem.v
    (got,) = Implicit(terms=terms, exact=exact)(problem, TRAIN, VAL)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("float64")
@BOTH_FORMS
def test_on_a_quadratic_the_series_ends_in_the_solution_of_the_implicit_function_theorem(
    exact: bool,
) -> None:
    problem = Quadratic()
    assert problem.lr * torch.linalg.eigvalsh(problem.hessian).max() < 2
    want = problem.own - problem.mixed @ torch.linalg.solve(problem.hessian, problem.v)
    (few,), (many,) = (
        Implicit(terms=terms, exact=exact)(problem, TRAIN, VAL) for terms in (5, 600)
    )
    torch.testing.assert_close(many, want, rtol=1e-7, atol=1e-7)
    assert (few - want).norm() > 1e-2 * want.norm()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("gradient", [Implicit(terms=0), Implicit(terms=0, exact=True)])
def test_one_term_differs_from_second_order_in_where_the_held_out_gradient_is_taken_alone(
    gradient: Implicit,
) -> None:
    """At the same v they are one: here the held-out gradient is constant in w."""
    problem = Quadratic()
    problem.loss = lambda weights, batch, mixtures=None: (  # v = -target wherever w is
        Quadratic.loss(problem, weights, batch)
        if batch is TRAIN
        else -torch.cat(list(weights)) @ problem.target
    )
    one, two = (g(problem, TRAIN, VAL)[0] for g in (gradient, Unrolled()))
    torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)
    assert one.norm() > 0.1

    curved = Quadratic()
    one, two = (g(curved, TRAIN, VAL)[0] for g in (gradient, Unrolled()))
    assert (one - two).norm() > 1e-2 * two.norm()


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
@pytest.mark.parametrize("gradient", EVERY)
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


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("steps", [1, 3])
def test_steps_back_are_back_propagation_through_every_step(steps: int) -> None:
    net = Net()
    loss, (weights, velocity) = net.loss, (net.weights, net.velocity)
    for _ in range(steps):
        grads = torch.autograd.grad(loss(weights, net.train), weights, create_graph=True)
        velocity = [
            v + g + net.weight_decay * w for w, g, v in zip(weights, grads, velocity, strict=True)
        ]
        weights = [w - net.lr * v for w, v in zip(weights, velocity, strict=True)]
        velocity = [net.momentum * v for v in velocity]
    (want,) = torch.autograd.grad(loss(weights, net.val), net.alphas)
    (got,) = Unrolled(steps=steps, exact=True)(net, net.train, net.val)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-13)
    errors = [
        (Unrolled(steps=steps, radius=r)(net, net.train, net.val)[0] - want).norm()
        for r in (0.01, 0.001)
    ]
    assert 60 < errors[0] / errors[1] < 160


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("part", [Amended, Implicit])
def test_differences_of_differences_converge_with_the_square_of_their_radius(part: type) -> None:
    net = Net()
    direct = first_order(net, net.train, net.val)[0]
    exact = part(exact=True)(net, net.train, net.val)[0] - direct
    assert exact.norm() > 1e-2 * direct.norm()
    errors = [
        ((part(radius=r)(net, net.train, net.val)[0] - direct - exact).norm() / exact.norm()).item()
        for r in (0.1, 0.01, 0.001)
    ]
    assert errors[2] < 1e-4
    assert 60 < errors[0] / errors[1] < 160
    assert 60 < errors[1] / errors[2] < 160


@pytest.mark.usefixtures("float64")
def test_mixed_level_without_a_level_is_the_other_gradient() -> None:
    net = Net()
    for part, other in ((MixedLevel(train=0.0), first_order), (MixedLevel(val=0.0), single_level)):
        got, want = (g(net, net.train, net.val)[0] for g in (part, other))
        assert torch.equal(got, want)


@pytest.mark.usefixtures("float64")
def test_mixed_level_is_linear_in_its_factors() -> None:
    net = Net()
    (held_out,), (training,) = (g(net, net.train, net.val) for g in (first_order, single_level))
    for a, b in ((1.0, 1.0), (0.25, 1.0), (3.0, 0.5)):
        (got,) = MixedLevel(train=a, val=b)(net, net.train, net.val)
        torch.testing.assert_close(got, a * training + b * held_out, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("part", "batch"), [({"train": 0.0}, VAL), ({"val": 0.0}, TRAIN)])
def test_mixed_level_does_not_look_at_a_level_whose_factor_is_zero(
    part: dict[str, float], batch: Batch
) -> None:
    toy, seen = Toy(), []
    toy.loss = lambda weights, which: seen.append(which) or Toy.loss(toy, weights, which)
    MixedLevel(**part)(toy, TRAIN, VAL)
    assert [each is batch for each in seen] == [True]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("gradient", [Implicit(), Amended()])
def test_weight_decay_and_momentum_are_no_part_of_the_curvature(gradient: object) -> None:
    bare, other = Quadratic(), Quadratic()
    other.weight_decay, other.momentum = 3.0, 0.9
    other.velocity = tuple(torch.ones_like(w) for w in other.weights)
    assert torch.equal(*(gradient(problem, TRAIN, VAL)[0] for problem in (bare, other)))


# In a search


@pytest.mark.parametrize(
    ("gradient", "passes"),
    [
        (Amended(), ["val"]),
        (Amended(exact=True), ["val"]),
        (Implicit(), ["val"]),
        (Implicit(exact=True), ["val"]),
        (Unrolled(steps=3), ["train"]),
        (Unrolled(steps=3, exact=True), ["train"]),
        (MixedLevel(), ["train", "val"]),
    ],
)
def test_statistics_advance_by_the_passes_at_the_searchs_own_weights_alone(
    gradient: object, passes: list[str]
) -> None:
    """And weights, alphas and momentum stay the same bit for bit."""
    method = shrunk(darts.but(schedule=WeightsOnly()))
    run, once = (start(method, SPACES["nasbench201"], machine=READABLE64) for _ in range(2))
    for each in (run, once):
        next(epoch_of(each, 0))  # so that there is momentum
    batches = {"train": as_float64(run.train.next()), "val": as_float64(run.val.next())}
    before = state(run)
    statistics = [name for name, _ in run.net.named_buffers()]
    assert statistics

    grads = gradient(LiveBilevel(run, **batches), **batches)
    assert all(grad.isfinite().all() for grad in grads)
    here = LiveBilevel(once, **batches)
    for name in passes:
        here.loss(here.weights, batches[name])
    own = {name: x for name, x in before.items() if name not in statistics}
    assert all(torch.equal(state(run)[name], x) for name, x in own.items())
    moved, want = dict(run.net.named_buffers()), dict(once.net.named_buffers())
    assert all(torch.equal(moved[name], want[name]) for name in statistics)


def as_float64(batch: Batch) -> Batch:
    return Batch(batch.images.double(), batch.labels)


def state(run: Run) -> dict[str, Tensor]:
    """Copies of all that a gradient could touch."""
    momenta = {
        f"momentum {index}": run.weight_optimizer.state[w]["momentum_buffer"]
        for index, w in enumerate(run.net.parameters())
    }
    alphas = {f"alpha {kind}": rows for kind, rows in run.arch.alpha.items()}
    every = {**run.net.state_dict(), **momenta, **alphas}
    return {name: x.detach().clone() for name, x in every.items()}
