"""The loop against loops written out, and what must not change it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tests.tiny import (
    CPU,
    CPU64,
    SMOOTH_OPS,
    SPACES,
    Spy,
    assert_same,
    cross_entropy,
    moved,
    play,
    searched,
    shrunk,
    start,
    steps,
    tiny_data,
    told,
    trajectory,
)
from workbench import methods
from workbench.bilevel import LiveBilevel
from workbench.data import DataError
from workbench.events import Derived, EpochEnded, StageStarted, Stepped, Stopped
from workbench.method import Method
from workbench.parts.arch_gradients import Unrolled
from workbench.parts.arch_gradients import single_level as train_gradient
from workbench.parts.inits import Constant
from workbench.parts.objectives import CrossEntropy
from workbench.parts.relaxations import Entmax, Softmax
from workbench.parts.schedules import Alternating, ArchOnly, Joint, WeightsOnly
from workbench.parts.weight_optimizers import Sgd
from workbench.protocols import Batch, Bilevel, Loss, Mixture, View
from workbench.search import Run, epoch_of, search
from workbench.spaces.darts import darts
from workbench.spaces.supernet import Supernet

BOTH = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
NASBENCH = SPACES["nasbench201"]


# --- the loop, written out ----------------------------------------------------------------------


def published_loop(run: Run, order: tuple[str, str], clip: float) -> Iterator[dict[str, Tensor]]:
    """First-order DARTS from a run's first state and batches: the alphas after every step."""
    weights = list(run.net.parameters())
    alphas = {kind: rows.detach().clone().requires_grad_() for kind, rows in run.arch.alpha.items()}
    sgd = torch.optim.SGD(weights, lr=0.025, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(list(alphas.values()), lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    for epoch in range(run.stage.epochs):
        turn = math.cos(math.pi * epoch / run.stage.epochs)
        sgd.param_groups[0]["lr"] = 0.001 + (0.025 - 0.001) * (1 + turn) / 2
        for _ in range(len(run.train)):
            train, val = run.train.next(), run.val.next()
            for move in order:
                mine, batch = (
                    (weights, train) if move == "weights" else (list(alphas.values()), val)
                )
                grads = torch.autograd.grad(
                    cross_entropy(run, batch, alphas), mine, materialize_grads=True
                )
                for x, grad in zip(mine, grads, strict=True):
                    x.grad = grad
                if move == "weights":
                    nn.utils.clip_grad_norm_(weights, clip)
                (sgd if move == "weights" else adam).step()
            yield {kind: rows.detach().clone() for kind, rows in alphas.items()}


@BOTH
@pytest.mark.parametrize(("order", "clip"), [("arch_first", 5.0), ("weights_first", 0.1)])
def test_darts_is_the_published_loop_to_the_bit(space, order, clip):
    method = methods.darts.but(schedule=Alternating(order=order), weight_optimizer=Sgd(clip=clip))
    method = shrunk(method, epochs=2)
    run, by_hand = start(method, space), start(method, space)
    events = play(run)
    moves = ("arch", "weights") if order == "arch_first" else ("weights", "arch")
    alphas = list(published_loop(by_hand, moves, clip))
    assert moved(events)
    assert_same([event.alpha for event in steps(events)], alphas)
    assert_same([run.net.state_dict()] * 2, [by_hand.net.state_dict()] * 2)


def test_both_orders_of_darts_differ():
    arch_first, weights_first = (
        searched(shrunk(methods.darts.but(schedule=Alternating(order=order))), NASBENCH)
        for order in ("arch_first", "weights_first")
    )
    assert not torch.equal(
        steps(arch_first)[-1].alpha["cell"], steps(weights_first)[-1].alpha["cell"]
    )


# --- multi-step ---------------------------------------------------------------------------------


@BOTH
def test_multi_step_of_one_step_is_first_order_darts_to_the_bit(space):
    one = methods.multi_step.but(
        schedule=replace(methods.multi_step.stages[0].schedule, weight_steps=1)
    )
    other = methods.darts.but(schedule=Alternating(order="weights_first"))
    a, b = (start(shrunk(method, epochs=2), space) for method in (one, other))
    events = play(a)
    assert moved(events)
    assert_same(trajectory(events), trajectory(play(b)))
    assert_same([a.net.state_dict()] * 2, [b.net.state_dict()] * 2)


def spied(method: Method, *, epochs: int = 1, batch_size: int = 4) -> tuple[Spy, Run, list]:
    spy = Spy(tiny_data())
    run = start(shrunk(method.but(objective=spy), epochs=epochs, batch_size=batch_size), NASBENCH)
    return spy, run, play(run)


def three_steps() -> tuple[Spy, Run, list]:
    return spied(methods.multi_step.but(schedule=Alternating(3, order="weights_first")), epochs=2)


def test_a_round_is_n_weight_steps_and_one_alpha_step():
    spy, _, _ = three_steps()
    assert [p.moves_alphas for p in spy.passes] == [False, False, False, True] * 4


def test_rounds_are_counted_over_epochs():
    spy, _, _ = spied(
        methods.multi_step.but(schedule=Alternating(4, order="weights_first")), epochs=2
    )
    levels = [p.moves_alphas for p in spy.passes]
    assert levels == [False, False, False, False, True] * 3  # 12 batches, and an epoch has 6


def test_each_of_the_n_steps_sees_a_batch_of_its_own():
    spy, _, _ = three_steps()
    batches = [set(p.images) for p in spy.passes if not p.moves_alphas]
    for first in range(0, len(batches), 3):
        assert len(set.union(*batches[first : first + 3])) == 12


def test_alphas_stay_bitwise_during_the_n_weight_steps():
    _, _, events = three_steps()
    states = [e.alpha["cell"] for e in events if isinstance(e, (StageStarted, Stepped))]
    same = [torch.equal(a, b) for a, b in pairwise(states)]
    assert same == [True, True, False] * 4


def test_weights_stay_bitwise_in_an_alpha_step():
    spy, _, _ = three_steps()
    for now, after in pairwise(spy.passes):
        same = all(torch.equal(a, b) for a, b in zip(now.weights, after.weights, strict=True))
        assert same == now.moves_alphas


def test_only_one_level_moves_under_a_one_sided_schedule():
    for schedule, still in ((WeightsOnly(), "alphas"), (ArchOnly(), "weights")):
        run = start(shrunk(methods.darts.but(schedule=schedule)), NASBENCH)
        before = {
            "alphas": [x.detach().clone() for x in run.arch.parameters()],
            "weights": [x.detach().clone() for x in run.net.parameters()],
        }
        play(run)
        after = {"alphas": run.arch.parameters(), "weights": list(run.net.parameters())}
        for level in before:
            same = all(map(torch.equal, before[level], after[level]))
            assert same == (level == still)


def test_alphas_and_held_out_images_wait_for_the_end_of_the_warm_up():
    spy, run, events = spied(methods.darts.but(schedule=Alternating(warmup_epochs=1)), epochs=2)
    first = run.started().alpha  # now the last ones
    assert not torch.equal(first["cell"], steps(events)[0].alpha["cell"])
    half = len(steps(events)) // 2
    assert all(torch.equal(e.alpha["cell"], events[0].alpha["cell"]) for e in steps(events)[:half])
    assert not any(p.moves_alphas for p in spy.passes[:half])
    assert sum(p.moves_alphas for p in spy.passes) == half


# --- who sees which images ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["darts", "darts_second_order", "multi_step", "entmax3_prune"])
def test_weights_and_alphas_of_a_bilevel_method_see_only_their_own_half(name):
    spy, run, _ = spied(
        methods.named()[name].but(arch_gradient=methods.darts.stages[0].arch_gradient)
    )
    halves = {level: set(run.split[level].tolist()) for level in ("weights", "arch")}
    assert not halves["weights"] & halves["arch"]
    assert halves["weights"] | halves["arch"] == set(range(48))
    assert set(spy.images(moves_alphas=False)) == halves["weights"]
    assert spy.images(moves_alphas=True)
    assert set(spy.images(moves_alphas=True)) <= halves["arch"]


def test_a_second_order_gradient_looks_at_both_halves_and_only_its_last_pass_at_the_alphas_half():
    spy, run, _ = spied(methods.darts_second_order)
    arch = set(run.split["arch"].tolist())
    rounds = [spy.passes[i : i + 5] for i in range(0, len(spy.passes), 5)]
    assert rounds
    for passes in rounds:  # train at w, val at w', train at w+ and w-; then the weights' own
        assert [set(p.images) <= arch for p in passes] == [False, True, False, False, False]
        assert passes[0].images == passes[2].images == passes[3].images == passes[4].images


def test_single_level_shows_every_training_image_to_both():
    spy, run, _ = spied(methods.single_level)
    assert sorted(spy.images(moves_alphas=True)) == list(range(48))  # one pass, each image once
    assert not spy.images(moves_alphas=False)  # the weights' pass is the same one
    assert run.split["weights"].tolist() == list(range(48))
    assert not len(run.split["arch"])


def test_single_level_alphas_see_only_the_images_of_the_weights():
    spy, run, _ = spied(methods.single_level.but(train_portion=0.5))
    assert sorted(spy.images(moves_alphas=True)) == sorted(run.split["weights"].tolist())
    assert len(spy.passes) == 6


def test_the_first_event_names_the_split():
    _, run, events = spied(methods.darts)
    assert {side: list(x) for side, x in events[0].split.items()} == {
        side: list(x) for side, x in run.split.items()
    }


# --- single level -------------------------------------------------------------------------------


def plain_step(params):
    """An architecture step that is the gradient itself."""
    return torch.optim.SGD(params, lr=1.0)


@BOTH
def test_the_joint_step_is_one_backward_pass_for_weights_and_alphas(space):
    tight = Sgd(clip=0.1)  # of the weights' gradient alone
    method = shrunk(methods.single_level.but(arch_optimizer=plain_step, weight_optimizer=tight))
    run, by_hand = start(method, space), start(method, space)
    next(epoch_of(run, 0, ()))
    weights = list(by_hand.net.parameters())
    alphas = {k: a.detach().clone().requires_grad_() for k, a in by_hand.arch.alpha.items()}
    loss = cross_entropy(by_hand, by_hand.train.next(), alphas)
    grads = torch.autograd.grad(loss, [*weights, *alphas.values()], materialize_grads=True)
    for (kind, alpha), grad in zip(alphas.items(), grads[len(weights) :], strict=True):
        assert grad.abs().max() > 0
        assert torch.equal(run.arch.alpha[kind].detach(), alpha.detach() - grad)
    norm = torch.stack([grad.norm() for grad in grads[: len(weights)]]).norm()
    scale = 0.1 / float(norm)
    assert scale < 1
    for weight, old, grad in zip(run.net.parameters(), weights, grads, strict=False):
        stepped = old - 0.025 * (scale * grad + 3e-4 * old)
        torch.testing.assert_close(weight, stepped, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_single_level_is_that_of_the_joint_step():
    joint = shrunk(methods.single_level.but(arch_optimizer=plain_step))
    alone = joint.but(schedule=ArchOnly(), arch_gradient=train_gradient)
    a, b = (steps(play(start(method, NASBENCH)))[0] for method in (joint, alone))
    assert_same([a.alpha, a.mix], [b.alpha, b.mix])


# --- second order -------------------------------------------------------------------------------


def about_to_unroll(space, **changes) -> tuple[Run, Batch, Batch]:
    """A float64 run after two steps, so that there is momentum, and the next two batches."""
    sgd = Sgd(lr=0.1, weight_decay=0.01, momentum=0.7)
    method = shrunk(methods.darts_second_order.but(weight_optimizer=sgd, **changes))
    run = start(method, space, machine=CPU64)
    list(islice((e for e in epoch_of(run, 0, ()) if isinstance(e, Stepped)), 2))
    # Logits near 0 make every derivative in alpha alike.
    for rows in run.arch.parameters():
        rows.data.normal_(generator=torch.Generator().manual_seed(1))
    train, val = (Batch(b.images.double(), b.labels) for b in (run.train.next(), run.val.next()))
    return run, train, val


class ByHand:
    """The one-step unrolled problem of a run, from torch alone."""

    def __init__(self, run: Run, train: Batch, val: Batch) -> None:
        self.run, self.train, self.val = run, train, val
        self.names = [name for name, _ in run.net.named_parameters()]
        self.w = [x.detach().clone().requires_grad_() for x in run.net.parameters()]
        state = run.weight_optimizer.state
        self.buffers = [state[x]["momentum_buffer"].clone() for x in run.net.parameters()]
        self.alphas = [x.detach().clone().requires_grad_() for x in run.arch.parameters()]

    def loss(self, weights, batch: Batch, alphas) -> Tensor:
        mix = {
            kind: Mixture(torch.softmax(rows, -1))
            for kind, rows in zip(self.run.space.kinds, alphas, strict=True)
        }
        state = dict(zip(self.names, weights, strict=True))
        logits = functional_call(self.run.net, state, (batch.images, mix, 0.0))
        return functional.cross_entropy(logits, batch.labels)

    def virtual(self, alphas, *, create_graph: bool = True):
        """w' = w - lr (mu buffer + d L_train / d w + lambda w)."""
        loss = self.loss(self.w, self.train, alphas)
        grads = torch.autograd.grad(loss, self.w, create_graph=create_graph, materialize_grads=True)
        return [
            w - 0.1 * (0.7 * buffer + grad + 0.01 * w)
            for w, buffer, grad in zip(self.w, self.buffers, grads, strict=True)
        ]

    def unrolled(self, alphas) -> Tensor:
        return self.loss(self.virtual(alphas), self.val, alphas)

    def direct(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The gradients in alpha and in w' at a w' that does not depend on alpha; and w'."""
        virtual = [w.detach().requires_grad_() for w in self.virtual(self.alphas)]
        loss = self.loss(virtual, self.val, self.alphas)
        grads = torch.autograd.grad(loss, [*self.alphas, *virtual], materialize_grads=True)
        return list(grads[: len(self.alphas)]), list(grads[len(self.alphas) :]), virtual


@pytest.fixture
def smooth(monkeypatch):
    """Searches whose supernets are twice differentiable."""
    monkeypatch.setattr("workbench.supernets.Supernet", partial(Supernet, activation=nn.Softplus))


SMOOTH_SPACE = darts(channels=2, cells=3, nodes=1, ops=SMOOTH_OPS)
KINKED_SPACE = darts(channels=2, cells=3, nodes=1, ops=("none", "max_pool_3x3", "sep_conv_3x3"))


def flat(tensors) -> Tensor:
    return torch.cat([x.detach().flatten() for x in tensors])


@pytest.mark.usefixtures("smooth")
def test_exact_second_order_is_the_derivative_of_the_unrolled_loss():
    run, train, val = about_to_unroll(SMOOTH_SPACE)
    by_hand = ByHand(run, train, val)
    got = Unrolled(exact=True)(LiveBilevel(run, train, val), train, val)
    want = torch.autograd.grad(by_hand.unrolled(by_hand.alphas), by_hand.alphas)
    torch.testing.assert_close(flat(got), flat(want), rtol=1e-9, atol=1e-13)
    direct, _, _ = by_hand.direct()
    implicit = (flat(want) - flat(direct)).norm() / flat(want).norm()
    assert implicit > 1e-3, "else nothing beyond first order is tested"


@pytest.mark.usefixtures("smooth")
def test_exact_second_order_is_the_slope_of_the_unrolled_loss():
    run, train, val = about_to_unroll(SMOOTH_SPACE)
    by_hand = ByHand(run, train, val)
    got = Unrolled(exact=True)(LiveBilevel(run, train, val), train, val)
    generator = torch.Generator().manual_seed(2)
    way = [torch.randn(a.shape, generator=generator, dtype=a.dtype) for a in by_hand.alphas]
    ends = [
        by_hand.unrolled([a + sign * 1e-5 * d for a, d in zip(by_hand.alphas, way, strict=True)])
        for sign in (1, -1)
    ]
    slope = float((ends[0] - ends[1]).detach() / 2e-5)
    assert slope == pytest.approx(float(flat(got) @ flat(way)), rel=1e-6)


@pytest.mark.usefixtures("smooth")
def test_the_published_difference_gives_the_exact_implicit_term_of_a_smooth_net():
    run, train, val = about_to_unroll(SMOOTH_SPACE)
    by_hand = ByHand(run, train, val)
    direct, _, _ = by_hand.direct()
    exact, difference = (
        flat(Unrolled(exact=e)(LiveBilevel(run, train, val), train, val)) - flat(direct)
        for e in (True, False)
    )
    assert (exact - difference).norm() < 1e-3 * exact.norm()


@pytest.mark.usefixtures("smooth")
def test_the_error_of_the_difference_falls_with_the_square_of_its_radius():
    run, train, val = about_to_unroll(SMOOTH_SPACE)
    problem = LiveBilevel(run, train, val)
    exact = flat(Unrolled(exact=True)(problem, train, val))
    errors = [
        float((flat(Unrolled(radius=radius)(problem, train, val)) - exact).norm())
        for radius in (0.1, 0.01)
    ]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)


def test_with_kinks_the_difference_is_the_published_one():
    run, train, val = about_to_unroll(KINKED_SPACE)
    by_hand = ByHand(run, train, val)
    got = Unrolled()(LiveBilevel(run, train, val), train, val)
    direct, v, _ = by_hand.direct()
    radius = 0.01 / flat(v).norm()
    sides = []
    for sign in (1, -1):
        weights = [w.detach() + sign * radius * x for w, x in zip(by_hand.w, v, strict=True)]
        loss = by_hand.loss(weights, train, by_hand.alphas)
        sides.append(flat(torch.autograd.grad(loss, by_hand.alphas)))
    want = flat(direct) - 0.1 * (sides[0] - sides[1]) / (2 * radius)
    torch.testing.assert_close(flat(got), want, rtol=1e-8, atol=1e-12)
    assert (want - flat(direct)).norm() > 1e-3 * want.norm()


@pytest.mark.parametrize("exact", [True, False])
def test_virtual_steps_leave_weights_and_statistics_alone(exact):
    run, train, val = about_to_unroll(KINKED_SPACE)
    once, _, _ = about_to_unroll(KINKED_SPACE)
    first = {name: x.detach().clone() for name, x in run.net.named_parameters()}
    Unrolled(exact=exact)(LiveBilevel(run, train, val), train, val)
    bilevel = LiveBilevel(once, train, val)
    bilevel.loss(bilevel.weights, train)  # the one pass at the search's own weights
    assert_same([run.net.state_dict()] * 2, [once.net.state_dict()] * 2)
    assert all(torch.equal(first[name], x) for name, x in run.net.named_parameters())


# --- what cannot change a search ----------------------------------------------------------------


@dataclass(frozen=True)
class Jitter:
    """A relaxation that samples: noisy logits in the forward pass."""

    row_sum = "one"

    def mix(self, logits, alive, t):
        return Softmax().mix(logits, alive, t)

    def sample(self, logits, alive, t, generator):
        noise = torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
        return self.mix(logits + noise, alive, t)


def nosy_probe(view: View, bilevel: Bilevel) -> dict[str, Tensor]:
    """Draws from everything that can be drawn from, and measures at this and at other weights."""
    loss = bilevel.loss(bilevel.weights, bilevel.val)
    moved_weights = [weight.detach() * 1.5 for weight in bilevel.weights]
    other = bilevel.loss(moved_weights, bilevel.train, bilevel.mixtures())
    grads = torch.autograd.grad(loss, bilevel.alphas, materialize_grads=True)
    noise = torch.rand(3)
    return {"loss": loss.detach() + other.detach(), "grad": grads[0], "noise": noise}


WATCHED = {
    "darts": methods.darts,
    "sampled": methods.darts.but(relaxation=Jitter()),
    "second_order": methods.darts_second_order,
    "pruned": methods.entmax3_prune.but(
        arch_optimizer=lambda params: torch.optim.Adam(params, lr=0.05)
    ),
}


@pytest.mark.parametrize("method", WATCHED.values(), ids=WATCHED)
def test_a_probe_does_not_change_the_search(method):
    a, b = (start(shrunk(method), NASBENCH) for _ in range(2))
    watched = play(b, [nosy_probe])
    assert len(watched) > 2 * len(steps(watched))
    events = play(a)
    assert moved(events)
    assert_same(trajectory(events), trajectory(watched))
    assert_same([a.net.state_dict()] * 2, [b.net.state_dict()] * 2)


def test_recording_does_not_change_the_search(tmp_path: Path):
    from workbench.trace import record

    method = shrunk(WATCHED["pruned"], epochs=2)
    recorded = list(
        record(
            search(method, NASBENCH, tiny_data(), machine=CPU), tmp_path / "run", flush_seconds=0
        )
    )
    assert_same(trajectory(searched(method, NASBENCH)), trajectory(recorded))
    assert [type(e) for e in told(recorded)] == [type(e) for e in searched(method, NASBENCH)]


@BOTH
def test_the_same_seed_gives_the_same_search_and_another_seed_another(space):
    method = shrunk(methods.darts)
    a, b, other = (searched(method, space, seed=seed) for seed in (3, 3, 4))
    assert_same(trajectory(a), trajectory(b))
    assert a[-1] == b[-1]
    for name in ("alpha", "mix"):
        for kind in space.kinds:
            assert not torch.equal(getattr(a[0], name)[kind], getattr(other[0], name)[kind])
    assert steps(a)[0].scalars["loss_train"] != steps(other)[0].scalars["loss_train"]
    assert a[0].split["weights"].tolist() != other[0].split["weights"].tolist()


def test_numbers_drawn_elsewhere_do_not_change_the_search():
    method = shrunk(WATCHED["sampled"])
    events = []
    torch.manual_seed(5)
    for event in search(method, NASBENCH, tiny_data(), machine=CPU):
        events.append(event)
        torch.rand(len(events))
        torch.manual_seed(len(events))
    assert_same(trajectory(events), trajectory(searched(method, NASBENCH)))


def test_a_search_draws_nothing_from_the_caller():
    torch.manual_seed(6)
    before = torch.get_rng_state()
    searched(shrunk(methods.darts), NASBENCH)
    assert torch.equal(before, torch.get_rng_state())


def test_events_keep_what_they_said():
    kept, copies = [], []
    for event in search(shrunk(WATCHED["pruned"]), NASBENCH, tiny_data(), machine=CPU):
        kept.append(event)
        copies += [{k: x.clone() for k, x in rows.items()} for rows in trajectory([event])]
    assert_same(trajectory(kept), copies)
    assert not any(x.requires_grad for rows in trajectory(kept) for x in rows.values())


@BOTH
def test_a_search_by_entmax_of_order_one_is_a_search_by_softmax(space):
    soft, ent = (
        searched(shrunk(methods.darts.but(relaxation=relaxation)), space, machine=CPU64)
        for relaxation in (Softmax(), Entmax(1.0))
    )
    assert moved(soft)
    assert_same(trajectory(soft), trajectory(ent), atol=1e-12)


# --- order of events, ends and errors -----------------------------------------------------------


def test_a_search_tells_its_stage_its_steps_its_epochs_and_its_genotype_in_order():
    events = searched(shrunk(methods.darts, epochs=2), NASBENCH)
    kinds = [type(event) for event in events]
    assert kinds == [StageStarted, *[*[Stepped] * 3, EpochEnded] * 2, Derived]
    clocks = [event.clock for event in steps(events)]
    assert [(c.epoch, c.step, c.steps) for c in clocks] == [(s // 3, s, 6) for s in range(6)]


def test_a_stop_rule_ends_the_stage_after_an_epoch_and_says_why():
    method = shrunk(
        methods.darts.but(stop=lambda view: "enough" * (view.clock.epoch == 1)), epochs=5
    )
    events = searched(method, NASBENCH)
    assert [type(event) for event in events[-3:]] == [EpochEnded, Stopped, Derived]
    assert events[-2].reason == "enough"
    assert len(steps(events)) == 6


def test_a_rule_sees_the_mixing_weights_at_the_end_of_every_epoch():
    seen = []
    method = shrunk(methods.darts.but(stop=lambda view: seen.append(view) or None), epochs=3)
    events = searched(method, NASBENCH)
    ends = [events[i - 1].mix["cell"] for i, e in enumerate(events) if isinstance(e, EpochEnded)]
    assert [len(view.history) for view in seen] == [1, 2, 3]
    assert all(torch.equal(a["cell"], b) for a, b in zip(seen[-1].history, ends, strict=True))


def test_an_epoch_reports_the_means_of_its_steps():
    events = searched(shrunk(methods.darts), NASBENCH)
    ended = next(e for e in events if isinstance(e, EpochEnded))
    for name in ("loss_train", "loss_val", "accuracy_train", "accuracy_val", "lr", "arch_lr"):
        mean = sum(float(e.scalars[name]) for e in steps(events)) / len(steps(events))
        assert ended.scalars[name] == pytest.approx(mean, rel=1e-6)


def test_a_regularizer_moves_alphas_and_only_them():
    def towards_none(view: View, mixtures):
        return -100.0 * torch.stack([m.ops[:, 0].sum() for m in mixtures.values()]).sum()

    for schedule in (Joint(), ArchOnly()):
        method = methods.single_level.but(schedule=schedule, init=Constant(0.0))
        first = searched(shrunk(method.but(regularizers=(towards_none,))), NASBENCH)
        alphas = steps(first)[0].alpha["cell"]
        assert (alphas[:, 0] > 0).all()
        assert (alphas[:, 1:] < 0).all()


def test_a_loss_that_is_no_number_ends_the_search_with_advice():
    class Broken(CrossEntropy):
        def __call__(self, net, mixtures, batch, t, generator):
            loss = super().__call__(net, mixtures, batch, t, generator)
            return Loss(loss.value * math.nan, loss.logs)

    with pytest.raises(
        FloatingPointError, match=r"loss_val became nan in step 0, epoch 0.*lower weight_lr \(now"
    ):
        searched(shrunk(methods.darts.but(objective=Broken())), NASBENCH)


def test_a_batch_of_more_images_than_a_half_has_is_refused():
    with pytest.raises(DataError, match="batch_size=40"):
        searched(shrunk(methods.darts, batch_size=40), NASBENCH)


def test_the_first_stage_needs_an_init():
    with pytest.raises(ValueError, match="init=None"):
        searched(shrunk(methods.darts.but(init=None)), NASBENCH)


def test_a_batch_that_is_too_large_is_refused_before_anything_is_built(monkeypatch) -> None:
    monkeypatch.setattr("workbench.run.first_supernet", None)
    method = methods.single_level.but(batch_size=49)
    with pytest.raises(DataError, match="`batch_size=49` is more than the 48 images"):
        next(search(method, SPACES["darts"], tiny_data(), machine=CPU))
