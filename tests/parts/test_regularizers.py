"""Terms of an architecture step's loss: their limits, by hand, and against slow exact methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench.parts.edges import WeightedSum
from workbench.parts.regularizers import Ablation, ExpectedCost, ZeroOne
from workbench.protocols import Batch, Clock, Mixture, Mixtures, View
from workbench.spaces.darts import OPS, darts
from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.network import Cost, cost
from workbench.spaces.resize import individual
from workbench.spaces.space import Space
from workbench.spaces.supernet import Supernet

ONE_KIND = nasbench201(channels=4, cells_per_stage=1)


@dataclass(frozen=True)
class Tried:
    """A trial whose loss is any function of the mixing weights."""

    loss: Callable[[Mixtures], Tensor]
    batch: Batch | None = None


def view(space: Space, trial: object = None, *, alive: Mapping[str, Tensor] | None = None) -> View:
    everything = {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}
    return View(Clock(0, 0, 1, 0, 1), space, {}, {}, alive or everything, trial=trial)


def filled(space: Space, value: float) -> dict[str, Mixture]:
    return {c.kind: Mixture(torch.full((len(c.edges), len(c.columns)), value)) for c in space.cells}


def weights(space: Space, seed: int = 0) -> dict[str, Tensor]:
    """Sigmoid alphas somewhere, differentiable."""
    draw = torch.Generator().manual_seed(seed)
    return {
        cell.kind: torch.randn(
            len(cell.edges), len(cell.columns), generator=draw, dtype=torch.float64
        ).requires_grad_()
        for cell in space.cells
    }


def sigmoids(alphas: Mapping[str, Tensor]) -> dict[str, Mixture]:
    return {kind: Mixture(rows.sigmoid()) for kind, rows in alphas.items()}


# To zero or one


@pytest.mark.parametrize("power", [1, 2])
def test_at_a_half_there_is_no_loss_and_no_push(power: int) -> None:
    """So where sigmoids of zero start, the data's loss pushes first."""
    alphas = {kind: torch.zeros_like(rows) for kind, rows in weights(darts()).items()}
    rows = [alpha.requires_grad_() for alpha in alphas.values()]
    loss = ZeroOne(10.0, power)(view(darts()), sigmoids(alphas))
    assert loss == 0
    assert all((grad == 0).all() for grad in torch.autograd.grad(loss, rows))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_at_zero_and_one_it_is_a_quarter_of_its_weight_or_half_of_it(value: float) -> None:
    mixtures = filled(darts(), value)
    assert ZeroOne(10.0)(view(darts()), mixtures) == -2.5
    assert ZeroOne(10.0, 1)(view(darts()), mixtures) == -5.0


def test_descent_moves_weights_away_from_a_half() -> None:
    alphas = weights(darts())
    loss = ZeroOne()(view(darts()), sigmoids(alphas))
    for alpha, grad in zip(
        alphas.values(), torch.autograd.grad(loss, list(alphas.values())), strict=True
    ):
        assert torch.equal(grad.sign(), -alpha.detach().sign())


def test_it_is_the_mean_squared_distance_from_a_half() -> None:
    mixtures = sigmoids(weights(darts()))
    rows = torch.cat([mixture.ops for mixture in mixtures.values()])
    want = -3.0 * functional.mse_loss(rows, torch.tensor(0.5).expand_as(rows))
    torch.testing.assert_close(ZeroOne(3.0)(view(darts()), mixtures), want.double())


def test_the_dead_do_not_count() -> None:
    mixtures, alive = filled(ONE_KIND, 0.0), torch.zeros(6, 5, dtype=torch.bool)
    mixtures["cell"].ops[0, :2] = torch.tensor([0.9, 0.4])
    alive[0, :2] = True
    got = ZeroOne(1.0)(view(ONE_KIND, alive={"cell": alive}), mixtures)
    torch.testing.assert_close(got, torch.tensor(-(0.16 + 0.01) / 2))


def test_means_of_each_kind_add_up_and_are_one_mean_where_there_is_one_kind() -> None:
    for space, times in ((ONE_KIND, 1), (darts(), 2), (individual(darts(cells=8)), 8)):
        mixtures = sigmoids(weights(space))
        one, each = (ZeroOne(9.0, each_kind=flag)(view(space), mixtures) for flag in (False, True))
        torch.testing.assert_close(each, times * one)


# What a cell contributes


def polynomial(mixtures: Mixtures) -> Tensor:
    """Cells that help, and help each other: a loss no part of which is special."""
    sums = [mixture.ops.mean() for mixture in mixtures.values()]
    total = torch.stack(sums).sum()
    return (3 - total - sums[0] * sums[1] + 0.3 * sums[0] * sums[2] ** 2) ** 2


def three_cells() -> Space:
    return individual(darts(channels=4, cells=3, nodes=1))


def by_the_formula(loss: Callable[[Mixtures], Tensor], alphas: Mapping[str, Tensor]) -> list:
    """Every cell's own term, and its gradient in that cell's alphas alone."""
    mixtures = sigmoids(alphas)

    def gain(kind: str) -> Tensor:
        off = Mixture(0 * mixtures[kind].ops.detach())
        return loss({**mixtures, kind: off}) - loss(mixtures)

    gains = {kind: gain(kind) for kind in mixtures}
    mean = torch.stack(list(gains.values())).mean()
    terms = {kind: -(gains[kind] - mean) / mean for kind in mixtures}
    assert abs(sum(terms.values())) < 1e-12
    return [
        torch.autograd.grad(terms[kind], alphas[kind], retain_graph=True)[0] for kind in mixtures
    ]


def test_each_cells_alphas_follow_its_own_term() -> None:
    space, alphas = three_cells(), weights(three_cells())
    loss = Ablation(0.7)(view(space, Tried(polynomial)), sigmoids(alphas))
    assert loss == 0
    got = torch.autograd.grad(loss, list(alphas.values()))
    for mine, want in zip(got, by_the_formula(polynomial, alphas), strict=True):
        torch.testing.assert_close(mine, 0.7 * want)
        assert mine.abs().sum() > 0


def supernet_loss(space: Space) -> Callable[[Mixtures], Tensor]:
    torch.manual_seed(0)
    net, labels = Supernet(space, edge=WeightedSum, in_channels=1), torch.tensor([1, 2, 3, 4])
    images = torch.randn(4, 1, 8, 8)
    return lambda mixtures: functional.cross_entropy(net(images, mixtures), labels)


@pytest.mark.usefixtures("float64")
def test_in_a_supernet_too() -> None:
    space, alphas = three_cells(), weights(three_cells())
    loss = supernet_loss(space)
    term = Ablation(1.0)(view(space, Tried(loss)), sigmoids(alphas))
    got = torch.autograd.grad(term, list(alphas.values()))
    for mine, want in zip(got, by_the_formula(loss, alphas), strict=True):
        torch.testing.assert_close(mine, want)
        assert mine.abs().sum() > 0


@pytest.mark.usefixtures("float64")
def test_a_cell_that_is_taken_out_has_no_say_in_the_loss() -> None:
    """Nor has any when it is the last one: the classifier then sees nothing."""
    space, alphas = three_cells(), weights(three_cells())
    loss = supernet_loss(space)
    for kind in space.kinds:
        mixtures = sigmoids(alphas)
        without = loss({**mixtures, kind: Mixture(0 * mixtures[kind].ops.detach())})
        rows = [alphas[k] for k in space.kinds]
        grads = torch.autograd.grad(without, rows, materialize_grads=True)
        said = {k: bool(grad.any()) for k, grad in zip(space.kinds, grads, strict=True)}
        last = kind == space.kinds[-1]
        assert said == {k: k != kind and not last for k in space.kinds}


def test_cells_that_do_not_help_each_other_by_hand() -> None:
    """1 - c_a / c with c_a = a, c = (a + b) / 3 falls by a at 1 / c - c_a / (3 c^2)."""
    space, alphas = three_cells(), weights(three_cells())

    def loss(mixtures: Mixtures) -> Tensor:
        a, b, _ = (mixture.ops.mean() for mixture in mixtures.values())
        return 5 - a - b

    a, b, _ = (rows.detach().sigmoid().mean() for rows in alphas.values())
    term = Ablation(1.0)(view(space, Tried(loss)), sigmoids(alphas))
    got = torch.autograd.grad(term, list(alphas.values()))
    for share, rows, grad in zip((a, b), alphas.values(), got, strict=False):
        (slope,) = torch.autograd.grad(rows.sigmoid().mean(), rows)
        mean = (a + b) / 3
        torch.testing.assert_close(grad, slope * (-1 / mean + share / mean**2 / 3))
    assert not got[2].any()


def test_a_cell_that_contributes_nothing_follows_the_loss_itself() -> None:
    space, alphas = three_cells(), weights(three_cells())
    first, second, _ = alphas.values()
    here = first.detach().sigmoid().mean()

    def loss(mixtures: Mixtures) -> Tensor:
        a, b, _ = (mixture.ops.mean() for mixture in mixtures.values())
        return 5 - b - a * (a - here)  # at a = here, and at 0, a adds nothing

    term = Ablation(1.0)(view(space, Tried(loss)), sigmoids(alphas))
    (got,) = torch.autograd.grad(term, first)
    (slope,) = torch.autograd.grad(loss(sigmoids(alphas)), first)
    torch.testing.assert_close(got, slope / (second.detach().sigmoid().mean() / 3))


def test_without_its_gradient_nothing_is_tried() -> None:
    space, alphas = three_cells(), weights(three_cells())
    loss = Ablation(gradient=False)(view(space), sigmoids(alphas))
    assert loss == 0
    assert not any(g.any() for g in torch.autograd.grad(loss, list(alphas.values())))


def test_where_nobody_contributes_there_is_no_push() -> None:
    space, alphas = three_cells(), weights(three_cells())
    trial = Tried(lambda mixtures: 0 * torch.stack([m.ops.sum() for m in mixtures.values()]).sum())
    loss = Ablation()(view(space, trial), sigmoids(alphas))
    assert not any(g.any() for g in torch.autograd.grad(loss, list(alphas.values())))


def test_outside_a_search_there_is_nothing_to_try() -> None:
    with pytest.raises(ValueError, match="needs a running search"):
        Ablation()(view(three_cells()), filled(three_cells(), 0.5))


# What a network costs


def whole(space: Space, op: str) -> Genotype:
    """`op` on every edge of every cell."""
    return Genotype(
        tuple(
            CellGenes(
                c.kind, c.inputs, c.nodes, tuple(Gene(op, *edge) for edge in c.edges), c.outputs
            )
            for c in space.cells
        )
    )


def one_op(space: Space, op: str) -> dict[str, Mixture]:
    return {
        c.kind: Mixture(torch.tensor([o == op for o in c.columns]).double().repeat(len(c.edges), 1))
        for c in space.cells
    }


def pictures(size: int) -> Tried:
    return Tried(lambda mixtures: torch.tensor(0.0), Batch(torch.zeros(2, 1, size, size), None))


SPACES = {
    "darts": darts(channels=4, cells=5, nodes=2),
    "individual": individual(darts(channels=4, cells=4, nodes=2)),
    "nasbench201": nasbench201(channels=4, cells_per_stage=2),
}


@pytest.mark.parametrize("name", SPACES)
def test_at_one_hot_weights_it_is_what_the_operations_of_the_derived_network_cost(
    name: str,
) -> None:
    """The network's own count, less that of a network without operations."""
    space = SPACES[name]

    def counted(genotype: Genotype) -> Cost:
        size = (9, 9)  # odd: halves are rounded up
        return cost(genotype, channels=4, cells=space.depth, in_channels=1, size=size)

    empty = Genotype(tuple(replace(cell, genes=()) for cell in whole(space, "none").cells))
    fixed, state = counted(empty), view(space, pictures(9))
    for op in space.columns[1:]:
        found = counted(whole(space, op))
        for of in ("parameters", "macs"):
            got = ExpectedCost(2.0, of)(state, one_op(space, op))
            assert float(got) == 2.0 * (getattr(found, of) - getattr(fixed, of)), (op, of)
    assert ExpectedCost(1.0)(state, one_op(space, "none")) == 0


def test_it_is_linear_in_the_weights_of_operations() -> None:
    space, rule = SPACES["darts"], ExpectedCost(1e-3)
    pair = [rule(view(space), one_op(space, op)) for op in ("sep_conv_5x5", "skip_connect")]
    mixed = {
        kind: Mixture(0.25 * a.ops + 0.75 * b.ops)
        for (kind, a), b in zip(
            one_op(space, "sep_conv_5x5").items(),
            one_op(space, "skip_connect").values(),
            strict=True,
        )
    }
    torch.testing.assert_close(rule(view(space), mixed), 0.25 * pair[0] + 0.75 * pair[1])


def test_its_gradient_is_the_cost_of_each_operation() -> None:
    space = nasbench201(channels=4, cells_per_stage=1, nodes=2)
    rows = torch.full((3, 5), 0.2, dtype=torch.float64, requires_grad=True)
    loss = ExpectedCost(1.0)(view(space), {"cell": Mixture(rows)})
    (grad,) = torch.autograd.grad(loss, rows)
    # One cell at each of 4, 8 and 16 channels: c^2 k^2 weights, 2 c of the batch norm.
    for op, k in (("nor_conv_1x1", 1), ("nor_conv_3x3", 3)):
        want = sum(c * c * k * k + 2 * c for c in (4, 8, 16))
        assert (grad[:, space.columns.index(op)] == want).all()
    free = [space.columns.index(op) for op in ("none", "skip_connect", "avg_pool_3x3")]
    assert not grad[:, free].any()


def test_the_logarithm_is_of_each_edge_of_each_cell_and_never_below_zero() -> None:
    space, row = nasbench201(channels=4, cells_per_stage=1, nodes=2), torch.zeros(3, 5).double()
    row[:, space.columns.index("nor_conv_1x1")] = torch.tensor([0.5, 1.0, 0.001]).double()
    got = ExpectedCost(0.1, log=True)(view(space), {"cell": Mixture(row)})
    counts = torch.tensor([c * c + 2 * c for c in (4, 8, 16)]).double()
    want = 0.1 * torch.cat([(0.5 * counts).log(), counts.log()]).sum()
    torch.testing.assert_close(got, want)
    assert ExpectedCost(0.1, log=True)(view(space), one_op(space, "skip_connect")) == 0


def test_macs_need_a_picture() -> None:
    with pytest.raises(ValueError, match="needs a running search"):
        ExpectedCost(1.0, "macs")(view(ONE_KIND), one_op(ONE_KIND, OPS[0]))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: ZeroOne(-1.0), r"`ZeroOne\(weight=-1.0\)` needs a weight"),
        (lambda: ZeroOne(power=3), r"`ZeroOne\(power=3\)` needs 1 or 2"),
        (lambda: Ablation(-1.0), r"`Ablation\(weight=-1.0\)` needs a weight"),
        (lambda: ExpectedCost(-1.0), r"`ExpectedCost\(weight=-1.0\)` needs a weight"),
        (lambda: ExpectedCost(1.0, "flops"), r"`ExpectedCost\(of='flops'\)` needs 'param"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(
    build: Callable[[], object], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        build()
