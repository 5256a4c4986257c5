"""Relaxations: values and gradients of entmax, its limits, masks and thresholds."""

from __future__ import annotations

import itertools
from decimal import Decimal, localcontext

import pytest
import torch
from entmax import entmax_bisect
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.parts.relaxations import Entmax, Sigmoid, Simplex, Softmax
from workbench.parts.schedules import Cosine, Exponential, Linear

ORDERS = [1.0, 1.2, 1.5, 1.8, 2.0, 2.5, 3.0, 4.0]
SOLVED = [1.01, 1.2, 1.7, 1.95, 2.05, 2.5, 3.0, 4.0, 6.0]  # by Newton's steps
EIGHT = [0.5, 0.4, 0.3, 0.2, 0.1, 0.0, -0.1, -0.2]

# order, logits, mixing weights (methods.md, 11.5)
VALUES = [
    (1.5, [0.0, 0.4], [0.36, 0.64]),
    (2.0, [0.0, 0.4], [0.3, 0.7]),
    (3.0, [0.0, 0.4], [0.1, 0.9]),
    (3.0, [0.0, 0.49], [0.01, 0.99]),
    (3.0, [0.0, 0.5], [0.0, 1.0]),
    (1.5, [0.0, 0.3, 0.6], [0.17157, 0.318333, 0.510096]),
    (2.0, [0.0, 0.3, 0.6], [0.033333, 0.333333, 0.633333]),
    (3.0, [0.0, 0.3, 0.6], [0.0, 0.2, 0.8]),
    (1.5, [0.5, 0.3, 0.2, 0.0], [0.3804520, 0.2670904, 0.2179096, 0.1345480]),
    (2.5, [0.5, 0.3, 0.2, 0.0], [0.6073794, 0.3109066, 0.0817139, 0.0]),
    (3.0, [0.5, 0.3, 0.2, 0.0], [0.7, 0.3, 0.0, 0.0]),
    (4.0, [0.5, 0.3, 0.2, 0.0], [0.8451683, 0.1548317, 0.0, 0.0]),
    (1.5, [-2.0, 0.0, 0.5], [0.0, 0.326007, 0.673993]),
    (2.0, [-2.0, 0.0, 0.5], [0.0, 0.25, 0.75]),
    (3.0, [-2.0, 0.0, 0.5], [0.0, 0.0, 1.0]),
    (2.0, EIGHT, [0.4, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0]),
    (3.0, EIGHT, [0.6, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    (1.5, [1.0] + 7 * [0.0], [0.5625] + 7 * [0.0625]),
    (2.0, [1.0] + 7 * [0.0], [1.0] + 7 * [0.0]),
    (3.0, [1.0] + 7 * [0.0], [1.0] + 7 * [0.0]),
]

# order, logits, gradient coming in, gradient going out
PRODUCTS = [
    (1.5, [0.5, 0.3, 0.2, 0.0], [1, 0, 0, 0], [0.42341328, -0.1620405, -0.14636345, -0.11500934]),
    (1.5, [0.5, 0.3, 0.2, 0.0], [1, 2, 3, 4], [-0.79979541, -0.15332066, 0.32832066, 0.62479541]),
    (2.0, [0.5, 0.3, 0.2, -0.1], [1, 0, 0, 0], [2 / 3, -1 / 3, -1 / 3, 0.0]),
    (3.0, [0.5, 0.3, 0.2, 0.0], [1, 0, 0, 0], [1.0, -1.0, 0.0, 0.0]),
    (3.0, [0.5, 0.3, 0.2, 0.0], [1, 2, 3, 4], [-1.0, 1.0, 0.0, 0.0]),
    (3.0, [0.0, 0.0, 0.0], [1, 0, 0], [2.0, -1.0, -1.0]),
]


def mix(relaxation: object, logits: Tensor, alive: Tensor | None = None, t: float = 0.0) -> Tensor:
    everything = torch.ones_like(logits, dtype=torch.bool)
    return relaxation.mix(logits, everything if alive is None else alive, t)


def logits(seed: int = 0, rows: int = 40, ops: int = 8, scale: float = 0.5) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, ops, generator=draw, dtype=torch.float64)


def some_dead(shape: torch.Size, seed: int = 1) -> Tensor:
    """A mask that leaves one or more alive in every row."""
    chance = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (chance > 0.4) | (chance == chance.max(dim=1, keepdim=True).values)


# Values


@pytest.mark.parametrize(("order", "row", "want"), VALUES)
def test_entmax_has_its_known_values(order: float, row: list[float], want: list[float]) -> None:
    p, exact = mix(Entmax(order), torch.tensor([row], dtype=torch.float64))[0], torch.tensor(want)
    torch.testing.assert_close(p, exact.double(), rtol=0, atol=6e-7)
    assert torch.equal(p == 0, exact == 0)


def test_entmax_is_continuous_where_an_operation_dies() -> None:
    p = mix(Entmax(2.0), torch.tensor([[0.5, 0.3, 0.2, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(p, torch.tensor([[0.5, 0.3, 0.2, 0.0]]).double())


@pytest.mark.parametrize("order", ORDERS[1:])
def test_entmax_meets_its_optimality_conditions(order: float) -> None:
    z = logits()
    p = mix(Entmax(order), z)
    level = (order - 1) * z - p ** (order - 1)  # tau on the support, below it elsewhere
    support = p > 0
    tau = torch.where(support, level, torch.nan).nanmean(dim=1, keepdim=True)
    assert not support.all() or order < 1.5
    torch.testing.assert_close(
        torch.where(support, level, tau), tau.expand_as(level), rtol=0, atol=1e-9
    )
    assert ((order - 1) * z <= tau + 1e-9)[~support].all()


@pytest.mark.parametrize("relaxation", [Softmax(), *map(Entmax, ORDERS)])
def test_every_row_is_a_distribution(relaxation: object) -> None:
    p = mix(relaxation, logits())
    assert (p >= 0).all()
    torch.testing.assert_close(p.sum(dim=1), torch.ones_like(p[:, 0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("relaxation", [Softmax(), *map(Entmax, ORDERS)])
def test_a_row_moved_as_a_whole_stays_the_same(relaxation: object) -> None:
    moved = mix(relaxation, logits() + 0.75)
    torch.testing.assert_close(moved, mix(relaxation, logits()), rtol=0, atol=1e-9)


def test_entmax_at_order_one_is_softmax() -> None:
    assert torch.equal(mix(Entmax(1.0), logits()), torch.softmax(logits(), dim=1))
    torch.testing.assert_close(
        mix(Entmax(1.001), logits()), mix(Softmax(), logits()), rtol=0, atol=1e-3
    )


def test_softmax_keeps_the_precision_and_entmax_computes_in_double() -> None:
    z = logits().float().requires_grad_()
    assert mix(Softmax(), z).dtype is torch.float32
    for order in ORDERS:
        p = mix(Entmax(order), z)
        assert p.dtype is torch.float64
        assert torch.equal(p, mix(Entmax(order), z.detach().double()))
        assert torch.autograd.grad(p[:, 0].sum(), z)[0].dtype is torch.float32


def test_a_higher_order_is_sparser() -> None:
    for seed in range(10):
        counts = [int((mix(Entmax(order), logits(seed)) > 0).sum()) for order in ORDERS]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] == 320
        assert counts[-1] < counts[3] < counts[1]


@pytest.mark.parametrize("order", [1.5, 2.0])
def test_bisection_agrees_with_the_closed_form(order: float) -> None:
    z = logits(rows=500, scale=1.0)
    closed = mix(Entmax(order), z)
    bisected = entmax_bisect(z, alpha=order, dim=-1, n_iter=60)
    torch.testing.assert_close(bisected, closed, rtol=0, atol=1e-9)
    assert torch.equal(bisected == 0, closed == 0)
    assert (closed == 0).any()


# Newton's steps against bisection


def many_rows(order: float, ops: int) -> Tensor:
    """Ordinary, flat, tied, far, half dead, nearly dead and lonely rows, 0 at the largest."""
    draw, n = torch.Generator().manual_seed(ops), order - 1
    scale = torch.tensor([1e-4, 1e-2, 0.1, 0.3, 1, 3, 30, 1e3]).double().repeat(25)[:, None]
    z = scale * torch.randn(200, ops, generator=draw, dtype=torch.float64)
    z[::5, 1] = z[::5, 0]
    z[1::5].masked_fill_(~some_dead(z[1::5].shape), -torch.inf)
    z[2::25] = 0
    z[2::50, -1] = -0.999 * (1 / (ops - 1)) ** n / n  # just alive
    z[27::50, -1] = -1.001 * (1 / (ops - 1)) ** n / n  # just dead
    z[3::25, 1:] = -torch.inf
    return z - z.amax(dim=1, keepdim=True)


def digits_of_tau(p: Tensor, order: float) -> Tensor:
    """How far the last digit of tau moves the smallest weight of a row; the package has no more."""
    smallest = torch.where(p > 0, p, 1.0).amin(dim=1, keepdim=True)
    return 8 * torch.finfo(p.dtype).eps * smallest ** min(2 - order, 0)


@pytest.mark.parametrize("order", SOLVED)
@pytest.mark.parametrize("ops", [2, 3, 8, 16])
def test_newton_and_bisection_agree_and_so_do_their_zeros(order: float, ops: int) -> None:
    z = many_rows(order, ops)
    p, slow = mix(Entmax(order), z), entmax_bisect(z, alpha=order, dim=-1, n_iter=60)
    assert p.isfinite().all()
    differ = (p == 0) != (slow == 0)
    assert order > 4 or not differ.any()
    assert (torch.maximum(p, slow)[differ] ** (order - 1) < 1e-15).all()  # less than a digit of tau
    assert ((p - slow).abs() <= 1e-10 + digits_of_tau(p, order)).all()
    if order <= 3:
        torch.testing.assert_close(p, slow, rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", SOLVED)
def test_newton_and_bisection_agree_on_the_gradient(order: float) -> None:
    z = many_rows(order, 8).requires_grad_()
    p, slow = mix(Entmax(order), z), entmax_bisect(z, alpha=order, dim=-1, n_iter=60)
    incoming = torch.randn(p.shape, generator=torch.Generator().manual_seed(0)).double()
    (got,), (want,) = (torch.autograd.grad(q, z, incoming) for q in (p, slow))
    assert got.isfinite().all()
    assert (got[p == 0] == 0).all()
    known = (digits_of_tau(p, order) < 1e-13).squeeze(1)
    assert known.sum() > 100
    torch.testing.assert_close(got[known], want[known], rtol=1e-10, atol=1e-10)


def exact(row: list[float], order: float) -> list[float]:
    """entmax in 80 digits, by halving the interval of the largest weight's power."""
    with localcontext(prec=80):
        n = Decimal(order) - 1
        gaps = [n * (Decimal(max(row)) - Decimal(z)) for z in row]
        low, high = Decimal(0), Decimal(1)
        for _ in range(260):
            half = (low + high) / 2
            total = sum((half - gap) ** (1 / n) for gap in gaps if gap < half)
            low, high = (low, half) if total >= 1 else (half, high)
        return [float((high - gap) ** (1 / n)) if gap < low else 0.0 for gap in gaps]


@pytest.mark.parametrize("order", [1.2, 3.0, 6.0])
def test_weights_are_exact_where_the_last_digit_of_tau_is_a_large_weight(order: float) -> None:
    edge = (1 / 3) ** (order - 1) / (order - 1)  # the gap at which the last of four dies
    rows = [[0, 0, 0, -edge * (1 + side)] for side in (-1e-3, -1e-9, -1e-12, 1e-12, 1e-9)]
    rows += [[edge, -edge * 0.3, -edge * 0.3 - 1e-10, 0], [0, -1e-9, -1e-6, -1e-3]]
    p = mix(Entmax(order), torch.tensor(rows, dtype=torch.float64))
    want = torch.tensor([exact(row, order) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(p, want, rtol=0, atol=1e-14)
    assert torch.equal(p == 0, want == 0)


def test_what_is_not_a_number_stays_in_its_row() -> None:
    for order in (1.2, 3.0):
        z = logits(rows=3)
        z[1, 2] = torch.nan
        p = mix(Entmax(order), z)
        assert p.isnan().any(dim=1).tolist() == [False, True, False]


class NoWaiting(TorchDispatchMode):
    """Refuses what reads a value on the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in ("_local_scalar_dense", "nonzero", "is_nonzero")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("order", ORDERS)
def test_entmax_waits_for_no_value(order: float) -> None:
    z, alive = logits().requires_grad_(), some_dead(logits().shape)
    with NoWaiting():
        torch.autograd.backward(mix(Entmax(order), z, alive), torch.ones_like(z))
        with pytest.raises(AssertionError):
            z.sum().item()
    shapes = torch.empty(28, 8, dtype=torch.float64, device="meta", requires_grad=True)
    mix(Entmax(order), shapes).sum().backward()
    assert shapes.grad.shape == (28, 8)


# Thresholds


@pytest.mark.parametrize(
    ("order", "ops", "gap"),
    [
        (3.0, 8, 0.0102),
        (3.0, 5, 0.03125),
        (3.0, 2, 0.5),
        (2.0, 8, 0.1429),
        (2.0, 5, 0.25),
        (1.5, 8, 0.756),
    ],
)
def test_an_operation_dies_at_the_known_gap_below_equals(
    order: float, ops: int, gap: float
) -> None:
    exact = (1 / (ops - 1)) ** (order - 1) / (order - 1)
    assert exact == pytest.approx(gap, rel=3e-3)
    z = torch.zeros(2, ops, dtype=torch.float64)
    z[:, 0] = torch.tensor([-0.999 * exact, -1.001 * exact])
    p = mix(Entmax(order), z)[:, 0]
    assert p[0] > 0
    assert p[1] == 0


@pytest.mark.parametrize(("order", "lead"), [(3.0, 0.5), (2.0, 1.0), (1.5, 2.0)])
@pytest.mark.parametrize("ops", [2, 5, 8])
def test_a_winner_is_alone_at_the_known_lead(order: float, lead: float, ops: int) -> None:
    z = torch.zeros(2, ops, dtype=torch.float64)
    z[:, 0] = torch.tensor([0.999 * lead, 1.001 * lead])
    p = mix(Entmax(order), z)
    assert (p[0] > 0).all()
    assert p[1].tolist() == [1.0] + (ops - 1) * [0.0]


def test_usual_first_logits_prune_at_order_four_and_not_at_three() -> None:
    z = logits(rows=14, scale=1e-3)
    assert (mix(Entmax(3.0), z) > 0).all()
    assert (mix(Entmax(4.0), z) == 0).any()


# Gradients


@pytest.mark.parametrize(("order", "row", "grad", "want"), PRODUCTS)
def test_entmax_has_its_known_vector_jacobian_products(
    order: float, row: list[float], grad: list[float], want: list[float]
) -> None:
    z = torch.tensor([row], dtype=torch.float64, requires_grad=True)
    incoming = torch.tensor([grad], dtype=torch.float64)
    (got,) = torch.autograd.grad(mix(Entmax(order), z), z, incoming)
    torch.testing.assert_close(got[0], torch.tensor(want, dtype=torch.float64), rtol=0, atol=1e-7)


@pytest.mark.parametrize("order", ORDERS)
def test_entmax_passes_gradcheck_away_from_its_thresholds(order: float) -> None:
    near = 0.02 * logits(rows=3, ops=4) if order < 3 else 1e-3 * logits(rows=3, ops=4)
    spread = torch.tensor([[0.9, 0.7, -3.0, -4.0]], dtype=torch.float64)  # some are exactly 0
    z = torch.cat([near, spread]).requires_grad_()
    if order > 1:
        assert (mix(Entmax(order), z) > 0).sum(dim=1).tolist()[:3] == [4, 4, 4]
    assert torch.autograd.gradcheck(lambda z: mix(Entmax(order), z), (z,))


@pytest.mark.parametrize("order", [1.2, 1.8, 2.5, 3.0, 4.0])
def test_newtons_entmax_has_second_derivatives_also_beside_exact_zeros(order: float) -> None:
    rows = [[0.004, 0.0, 0.001, -0.002], [0.9, 0.8, -6.0, -7.0], [0.5, -8.0, -9.0, -10.0]]
    z = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    p = mix(Entmax(order), z)
    assert (p > 0).sum(dim=1).tolist() == [4, 2, 1]
    assert torch.autograd.gradgradcheck(lambda z: mix(Entmax(order), z), (z,))


@pytest.mark.parametrize("order", [3.0, 6.0, 40.0])
def test_a_tiny_weight_has_a_finite_gradient(order: float) -> None:
    gap = (1 / 3) ** (order - 1) / (order - 1)
    rows = [[0.0, 0.0, 0.0, -gap * (1 - side)] for side in (1e-3, 1e-9, 1e-14, 0.0)]
    z = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(mix(Entmax(order), z)[:, 3].sum(), z)
    assert grad.isfinite().all()
    torch.testing.assert_close(grad.sum(dim=1), torch.zeros(4).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", ORDERS[2:])
def test_an_exact_zero_has_no_gradient(order: float) -> None:
    z = logits().requires_grad_()
    p = mix(Entmax(order), z)
    torch.autograd.backward(p, torch.randn_like(p))
    zero = p == 0
    assert zero.any()
    assert (z.grad[zero] == 0).all()
    assert (z.grad[~zero & (zero.sum(dim=1, keepdim=True) < 7)] != 0).all()


# Masks


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid(), *map(Entmax, ORDERS)])
def test_a_masked_operation_weighs_nothing_and_learns_nothing(relaxation: object) -> None:
    z, alive = logits().requires_grad_(), some_dead(logits().shape)
    p = mix(relaxation, z, alive)
    assert (p[~alive] == 0).all()
    torch.autograd.backward(p, torch.randn_like(p))
    assert z.grad.isfinite().all()
    assert (z.grad[~alive] == 0).all()


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid(), *map(Entmax, ORDERS)])
def test_masking_is_removing(relaxation: object) -> None:
    z, alive = logits(), some_dead(logits().shape)
    whole = mix(relaxation, z, alive)
    for row, mask, got in zip(z, alive, whole, strict=True):
        want = mix(relaxation, row[mask][None])[0]
        torch.testing.assert_close(got[mask], want, rtol=0, atol=1e-12)


def test_the_last_operation_alive_weighs_one() -> None:
    alive = torch.zeros(1, 8, dtype=torch.bool)
    alive[0, 3] = True
    for relaxation in (Softmax(), *map(Entmax, ORDERS)):
        assert mix(relaxation, logits(rows=1), alive).tolist() == [[0, 0, 0, 1, 0, 0, 0, 0]]


# Orders and faces


def test_a_scheduled_order_goes_from_dense_to_sparse() -> None:
    annealed = Entmax(Linear(1.0, 3.0))
    for t, order in ((0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (1.0, 3.0)):
        assert torch.equal(mix(annealed, logits(), t=t), mix(Entmax(order), logits()))


@pytest.mark.parametrize("order", [0.99, 0.0, -1.0, Linear(0.5, 2.0), Linear(3, 0), Cosine(2.0)])
def test_an_order_below_one_is_refused(order: object) -> None:
    with pytest.raises(ValueError, match="goes below order 1, where softmax is"):
        Entmax(order)


def test_sigmoids_do_not_compete() -> None:
    z = torch.tensor([[0.0, 3.0, -3.0]], dtype=torch.float64)
    p = mix(Sigmoid(), z)
    torch.testing.assert_close(p, torch.tensor([[0.5, 0.9525741, 0.0474259]]).double())
    other = mix(Sigmoid(), z + torch.tensor([[0.0, 5.0, 0.0]]))
    assert torch.equal(other[0, [0, 2]], p[0, [0, 2]])


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid(), Entmax(3.0)])
def test_these_relaxations_draw_nothing(relaxation: object) -> None:
    generator = torch.Generator().manual_seed(0)
    state, alive = generator.get_state(), some_dead(logits().shape)
    sampled = relaxation.sample(logits(), alive, 0.5, generator)
    assert torch.equal(sampled, relaxation.mix(logits(), alive, 0.5))
    assert torch.equal(generator.get_state(), state)


# The simplex


def test_alphas_on_the_simplex_are_the_mixing_weights() -> None:
    alpha = torch.softmax(logits(), -1)
    torch.testing.assert_close(mix(Simplex(), alpha), alpha, rtol=1e-14, atol=0)


def test_on_the_simplex_what_is_dead_weighs_nothing_and_the_others_share_it() -> None:
    alpha = torch.softmax(logits(), -1)
    alive = some_dead(alpha.shape)
    assert not alive.all()
    got = mix(Simplex(), alpha, alive)
    assert (got[~alive] == 0).all()
    torch.testing.assert_close(got.sum(-1), torch.ones(len(got), dtype=got.dtype))
    want = torch.softmax(alpha.log().masked_fill(~alive, -torch.inf), -1)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


def test_the_gradient_on_the_simplex_is_that_of_the_weights_and_nothing_for_the_dead() -> None:
    alpha = torch.softmax(logits(rows=4), -1).requires_grad_()
    alive = some_dead(alpha.shape)
    assert torch.autograd.gradcheck(lambda z: mix(Simplex(), z, alive), alpha)
    (grad,) = torch.autograd.grad((mix(Simplex(), alpha, alive) ** 2).sum(), alpha)
    assert (grad[~alive] == 0).all()
    assert grad.abs().max() > 0


# Temperature


def test_a_temperature_divides_the_logits() -> None:
    z = logits()
    assert torch.equal(mix(Softmax(2.0), z), mix(Softmax(), z / 2.0))
    assert torch.equal(mix(Softmax(1.0), z), torch.softmax(z, dim=1))
    alive = torch.rand(z.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    alive[:, 0] = True
    assert (mix(Softmax(0.1), z, alive)[~alive] == 0).all()


def test_a_temperature_that_falls_ends_at_a_choice() -> None:
    z = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.0, -0.1, 0.7, 0.6]])
    falling = Softmax(Exponential(1.6, 1e-3))
    assert torch.equal(mix(falling, z, t=0.0), mix(Softmax(1.6), z))
    torch.testing.assert_close(mix(falling, z, t=1.0), torch.eye(4)[[0, 2]])
    shares = [mix(falling, z, t=step / 20).amax(dim=1) for step in range(21)]
    assert all((a <= b).all() for a, b in itertools.pairwise(shares))


@pytest.mark.parametrize("temperature", [0, -1.0, Linear(1.0, 0.0)])
def test_a_temperature_is_above_zero(temperature: object) -> None:
    with pytest.raises(ValueError, match="needs a temperature above 0"):
        Softmax(temperature)
