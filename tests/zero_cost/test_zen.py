from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from workbench.parts.edges import WeightedSum
from workbench.protocols import Batch, Mixture, Mixtures
from workbench.spaces.darts import darts
from workbench.spaces.genotype import Genotype
from workbench.spaces.nasbench201 import OPS, nasbench201
from workbench.spaces.space import Space
from workbench.spaces.supernet import Supernet
from workbench.zero_cost import (
    ZenInit,
    ZenObjective,
    ZenScore,
    batch_norm_variances,
    bn_term,
    log_ntk,
    ntk,
    supernet_zen_score,
    zen_score,
)

DARTS = darts(channels=2, cells=2, nodes=1, ops=("none", "skip_connect", "dil_conv_3x3"))
NB201 = nasbench201(channels=4, cells_per_stage=1, nodes=2, ops=("none", "nor_conv_3x3"))
SHAPE = (1, 8, 8)
CELL = Genotype.parse(
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"
)


@dataclass
class Bound:
    """A supernet at its own weights."""

    module: Supernet
    input_shape: tuple[int, int, int] = SHAPE

    @property
    def weights(self) -> list[Tensor]:
        return list(self.module.parameters())

    def __call__(self, images: Tensor, mixtures: Mixtures, t: float) -> Tensor:
        return self.module(images, mixtures, t)


def supernet(space: Space, *, seed: int = 0, smooth: bool = False) -> Supernet:
    torch.manual_seed(seed)
    act = nn.Tanh if smooth else nn.ReLU
    return Supernet(space, edge=WeightedSum, in_channels=1, classes=3, activation=act)


def random_mixtures(space: Space, *, leaf: bool = False) -> dict[str, Mixture]:
    generator = torch.Generator().manual_seed(5)
    out = {}
    for cell in space.cells:
        ops = torch.rand(len(cell.edges), len(cell.columns), generator=generator)
        edges = torch.rand(len(cell.edges), generator=generator)
        out[cell.kind] = Mixture(ops.requires_grad_(leaf), edges.requires_grad_(leaf))
    return out


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def leaves(mixtures: Mixtures) -> list[Tensor]:
    return [x for m in mixtures.values() for x in (m.ops, m.edges) if x is not None]


# --- the objective -------------------------------------------------------------------------------


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("ntk_name", ["fro", "mean", "cond"])
def test_objective_equals_the_formula_written_out_in_value_and_gradients(ntk_name: str) -> None:
    net, mixtures = Bound(supernet(NB201, smooth=True)), random_mixtures(NB201, leaf=True)
    inputs = [*net.weights, *leaves(mixtures)]
    zen = ZenObjective(0.7, 0.2, ntk=ntk_name, batch_size=4)
    loss = zen(net, mixtures, None, 0.0, seeded())

    with batch_norm_variances(net.module) as variances:
        logits = net(torch.randn(4, *SHAPE, generator=seeded()), mixtures, 0.0)
    kernel = log_ntk(ntk(logits, net.weights, create_graph=True), ntk_name)
    slow = -(0.7 * kernel + 0.2 * bn_term(variances))

    torch.testing.assert_close(loss.value, slow)
    torch.testing.assert_close(loss.logs["zen"], -slow.detach())
    torch.testing.assert_close(loss.logs["log_ntk"], kernel.detach())
    torch.testing.assert_close(loss.logs["bn_term"], bn_term(variances).detach())
    assert not any(value.requires_grad for value in loss.logs.values())
    have, want = (
        torch.autograd.grad(value, inputs, materialize_grads=True) for value in (loss.value, slow)
    )
    assert sum(bool(w.abs().max() > 1e-6) for w in want) > len(want) / 2
    assert want[-1].abs().max() > 1e-6, "edge weights count"
    for h, w in zip(have, want, strict=True):
        torch.testing.assert_close(h, w, rtol=1e-6, atol=1e-9)


def test_objective_is_given_no_label_and_looks_at_no_batch() -> None:
    class Untouchable(Batch):
        def __getattribute__(self, name: str) -> object:
            raise AssertionError("the batch was looked at")

        __getitem__ = __iter__ = __getattribute__

    zen, net = ZenObjective(batch_size=3), Bound(supernet(DARTS))
    untouchable = Untouchable(torch.zeros(3, *SHAPE), torch.zeros(3))
    assert not zen.needs_data
    a = zen(net, random_mixtures(DARTS), untouchable, 0.0, seeded())
    b = zen(net, random_mixtures(DARTS), None, 0.0, seeded())
    assert torch.equal(a.value, b.value)


def test_objective_draws_from_the_given_generator_alone() -> None:
    zen, net = ZenObjective(batch_size=3, probes=2), Bound(supernet(DARTS))
    state = torch.random.get_rng_state()
    values = [zen(net, random_mixtures(DARTS), None, 0.0, seeded(s)).value for s in (0, 0, 1)]
    assert torch.equal(state, torch.random.get_rng_state())
    assert values[0] == values[1]
    assert values[0] != values[2]


def test_objective_without_gradients_has_the_same_value() -> None:
    zen, net = ZenObjective(batch_size=3), Bound(supernet(DARTS))
    with torch.no_grad():
        still = zen(net, random_mixtures(DARTS), None, 0.0, seeded()).value
    assert not still.requires_grad
    assert torch.equal(still, zen(net, random_mixtures(DARTS), None, 0.0, seeded()).value)


def test_objective_needs_a_weight_that_can_move() -> None:
    net = Bound(supernet(DARTS).requires_grad_(False))
    with pytest.raises(ValueError, match="require a gradient"):
        ZenObjective()(net, random_mixtures(DARTS), None, 0.0, seeded())


@pytest.mark.usefixtures("float64")
def test_mean_is_the_classes_whatever_the_weights_of_a_darts_supernet() -> None:
    """Every path to the classifier ends in a batch norm, so logits average to its bias."""
    mixtures = random_mixtures(DARTS, leaf=True)
    for seed in range(3):
        net = Bound(supernet(DARTS, seed=seed))
        loss = ZenObjective(beta2=0, ntk="mean", batch_size=4)(net, mixtures, None, 0, seeded())
        assert loss.logs["log_ntk"].item() == pytest.approx(math.log(3))
        grads = torch.autograd.grad(loss.value, leaves(mixtures), materialize_grads=True)
        assert max(g.abs().max() for g in grads) < 1e-12


@pytest.mark.parametrize(
    "wrong",
    [{"ntk": "norm"}, {"bn": "layer"}, {"batch_size": 1}, {"beta1": math.nan}, {"probes": 0}],
)
def test_wrong_arguments_are_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ZenObjective(**wrong)


def climb(*, guard: bool) -> tuple[list[float], float]:
    """Relative growth of every convolution under 10 steps of ascent, and the gain in Zen."""
    net, mixtures = Bound(supernet(NB201, seed=1)), random_mixtures(NB201)
    convs = [w for w in net.weights if w.ndim == 4]
    first = [w.detach().norm() for w in convs]
    zen, gained = ZenObjective(batch_size=8), []
    for _ in range(10):
        loss = zen(net, mixtures, None, 0.0, seeded(7))
        gained.append(-loss.value.item())
        grads = torch.autograd.grad(loss.value, net.weights, materialize_grads=True)
        with torch.no_grad():
            for weight, grad in zip(net.weights, grads, strict=True):
                norm = weight.norm()
                weight -= 0.05 * grad
                if guard and norm > 0:
                    weight *= norm / weight.norm()
    growth = [float(w.detach().norm() / n) for w, n in zip(convs, first, strict=True)]
    return growth, gained[-1] - gained[0]


def test_ascent_without_a_guard_inflates_the_weights_and_a_guard_still_lets_zen_rise() -> None:
    free, gain = climb(guard=False)
    kept, guarded_gain = climb(guard=True)
    assert sum(free) / len(free) > 1.1
    assert kept == pytest.approx([1.0] * len(kept), abs=1e-4)
    assert gain > guarded_gain > 0


# --- scores --------------------------------------------------------------------------------------


def score(genotype: Genotype, **options: object) -> ZenScore:
    small = {"channels": 4, "cells": 1, "in_channels": 1, "size": (8, 8), "batch_size": 8}
    return zen_score(genotype, **(small | options))


def test_same_seed_gives_the_same_score_and_another_seed_another() -> None:
    assert replace(score(CELL), zen_error=0.0) == replace(score(CELL), zen_error=0.0)
    assert score(CELL, seed=1).zen != score(CELL).zen


def test_scoring_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    score(CELL)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(12)
    assert score(CELL).zen == score(CELL, seed=0).zen


def test_score_is_the_mean_over_repeats_with_its_standard_error() -> None:
    both, one = score(CELL, repeats=2), score(CELL)
    other = 2 * both.zen - one.zen  # the second repeat
    assert both.zen_error == pytest.approx(abs(other - one.zen) / 2)
    assert math.isnan(one.zen_error)
    assert score(CELL, repeats=3, beta1=2.0, beta2=-0.5).zen == pytest.approx(
        2 * score(CELL, repeats=3).log_ntk - 0.5 * score(CELL, repeats=3).bn_term
    )


def test_more_repeats_make_the_standard_error_smaller() -> None:
    assert score(CELL, repeats=24).zen_error < score(CELL, repeats=3).zen_error


def test_genotypes_of_both_fields_have_a_score() -> None:
    genes = [("sep_conv_3x3", 0), ("skip_connect", 1), ("max_pool_3x3", 0), ("dil_conv_5x5", 2)]
    text = f"Genotype(normal={genes}, normal_concat=[2, 3], reduce={genes}, reduce_concat=[2, 3])"
    for genotype in (CELL, Genotype.parse(text)):
        result = score(genotype, cells=3 if genotype is not CELL else 1)
        assert math.isfinite(result.zen)
        assert all(math.isfinite(value) for value in result.scalars.values())


def test_normal_weights_make_maps_spread_more_than_those_of_training() -> None:
    assert score(CELL, init="normal").bn_term > score(CELL).bn_term


def ranks(values: list[float]) -> Tensor:
    return torch.tensor(values).argsort().argsort().double()


def spearman(a: list[float], b: list[float]) -> float:
    return torch.corrcoef(torch.stack([ranks(a), ranks(b)]))[0, 1].item()


@cache
def random_cells() -> list[dict[str, float]]:
    """The scalars of 30 random NAS-Bench-201 cells."""
    choice, out = seeded(0), []
    for _ in range(30):
        ops = [OPS[int(i)] for i in torch.randint(len(OPS), (6,), generator=choice)]
        edges = itertools.chain.from_iterable([(s, d) for s in range(d)] for d in range(1, 4))
        names = iter(ops)
        rows = {edge: next(names) for edge in edges}
        text = "+".join(
            "|" + "|".join(f"{rows[s, d]}~{s}" for s in range(d)) + "|" for d in range(1, 4)
        )
        out.append(dict(score(Genotype.parse(text), in_channels=3, size=(32, 32)).scalars))
    return out


def test_frobenius_norm_ranks_random_cells_like_the_trace_and_against_the_condition() -> None:
    columns = {name: [row[name] for row in random_cells()] for name in random_cells()[0]}
    assert spearman(columns["trace"], columns["fro"]) > 0.98
    assert spearman(columns["fro"], columns["cond"]) < 0
    assert spearman(columns["fro"], columns["mean"]) < 0.9, "the cheap scalar is another score"


# --- supernets -----------------------------------------------------------------------------------


def one_hot(space: Space, op: str) -> dict[str, Mixture]:
    out = {}
    for cell in space.cells:
        ops = torch.zeros(len(cell.edges), len(cell.columns))
        ops[:, cell.columns.index(op)] = 1.0
        out[cell.kind] = Mixture(ops)
    return out


def test_supernet_score_is_that_of_the_objective() -> None:
    net, mixtures = supernet(DARTS), random_mixtures(DARTS)
    have = supernet_zen_score(net, mixtures, input_shape=SHAPE, seed=3)
    loss = ZenObjective()(Bound(net), mixtures, None, 0.0, seeded(3))
    assert have.zen == pytest.approx(-loss.value.item(), rel=1e-5)


def test_scoring_does_not_change_the_supernet() -> None:
    net = supernet(DARTS)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    supernet_zen_score(net, one_hot(DARTS, "skip_connect"), input_shape=SHAPE)
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.usefixtures("float64")
def test_sub_architecture_has_the_masked_supernets_kernel_but_only_its_own_batch_norms() -> None:
    net, mixtures = supernet(DARTS), one_hot(DARTS, "skip_connect")
    have = supernet_zen_score(net, mixtures, input_shape=SHAPE, seed=3)
    masked = ZenObjective()(Bound(net), mixtures, None, 0.0, seeded(3)).logs
    assert have.log_ntk == pytest.approx(float(masked["log_ntk"]))
    assert have.bn_term > float(masked["bn_term"]) + 1


def test_init_prefers_the_operation_that_scores_higher() -> None:
    net = supernet(NB201)
    alphas = ZenInit(samples=8, size=(8, 8), zen=ZenObjective(beta2=0.0, batch_size=8))(
        NB201, net, seeded()
    )
    convs = supernet_zen_score(net, one_hot(NB201, "nor_conv_3x3"), input_shape=SHAPE)
    nones = supernet_zen_score(net, one_hot(NB201, "none"), input_shape=SHAPE)
    gap = (alphas["cell"][:, 1] - alphas["cell"][:, 0]).mean()
    assert (gap > 0) == (convs.log_ntk > nones.log_ntk)


def test_init_is_balanced_repeatable_and_scaled() -> None:
    net = supernet(DARTS)
    part = ZenInit(samples=6, size=(8, 8), zen=ZenObjective(batch_size=4))
    first, again = part(DARTS, net, seeded()), part(DARTS, net, seeded())
    double = replace(part, scale=2.0)(DARTS, net, seeded())
    for cell in DARTS.cells:
        rows = first[cell.kind]
        assert rows.shape == (len(cell.edges), len(cell.columns))
        assert torch.equal(rows, again[cell.kind])
        torch.testing.assert_close(double[cell.kind], 2 * rows)
        # 6 samples, 3 candidates: two samples each, so z-scores cancel along an edge
        torch.testing.assert_close(rows.sum(dim=1), torch.zeros(len(rows)), atol=1e-5, rtol=0)
        assert rows.abs().max() > 0.1


def test_init_leaves_operations_that_are_no_candidates_at_zero() -> None:
    cell = NB201.cells[0]
    narrow = replace(cell, ops=(("none",), ("nor_conv_3x3",), ("none", "nor_conv_3x3")))
    space = replace(NB201, cells=(narrow,))
    part = ZenInit(samples=4, size=(8, 8), zen=ZenObjective(batch_size=4))
    rows = part(space, supernet(space), seeded())["cell"]
    assert (rows[~torch.tensor(narrow.candidates)] == 0).all()
    with pytest.raises(ValueError, match="2 or more"):
        ZenInit(samples=1)
