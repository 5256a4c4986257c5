"""What a stage gives its rules and its architecture parameters beside alphas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from tests.tiny import (
    CPU64,
    READABLE64,
    SPACES,
    assert_same,
    play,
    prunings,
    searched,
    shrunk,
    start,
    steps,
    tiny_data,
    trajectory,
)  # fmt: skip
from workbench import methods
from workbench.engine import Machine
from workbench.events import EpochEnded, StageStarted
from workbench.parts.pruners import ExactZeros
from workbench.protocols import Bilevel, Mixture, View
from workbench.spaces.space import CellShape

BOTH = pytest.mark.parametrize("space", SPACES)


@dataclass(frozen=True)
class Thirds:
    """Edge weights as a softmax; the first betas count up."""

    def first(self, alive: Tensor, generator: torch.Generator) -> Tensor:
        return torch.arange(alive.numel()).reshape(alive.shape) / 10

    def mix(self, beta: Tensor, alive: Tensor, t: float) -> Tensor:
        return torch.softmax(beta.masked_fill(~alive, -torch.inf), dim=-1)


@dataclass(frozen=True)
class Without:
    """Leaves one operation out of every step, another each time."""

    def kept(self, cell: CellShape, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        out = torch.zeros_like(alive)
        out[:, int(torch.randint(alive.shape[1], (), generator=generator))] = True
        return alive & ~out

    def adjusted(self, before: Tensor, after: Tensor, alive: Tensor, kept: Tensor) -> Tensor:
        return torch.where(kept, after, before)


@dataclass(frozen=True)
class Cut:
    """Takes the second edge of every cell away, and all but one operation of the first."""

    every = "step"

    def __call__(self, view: View) -> dict[str, Tensor]:
        alive = {kind: mask.clone() for kind, mask in view.alive.items()}
        for mask in alive.values():
            mask[1] = False
            mask[0, [i for i in range(mask.shape[1]) if i != 1]] = False
        return alive


@BOTH
def test_edge_weights_sum_to_one_into_every_node_move_and_are_told(space):
    method = shrunk(methods.darts.but(edge_weights=Thirds()), epochs=2)
    told = steps(searched(method, SPACES[space]))
    for cell in SPACES[space].cells:
        ends = torch.tensor([dst for _, dst in cell.edges])
        for event in told:
            weights = event.edges[cell.kind]
            sums = torch.zeros(cell.inputs + cell.nodes).index_add(0, ends, weights)
            torch.testing.assert_close(sums[cell.inputs :], torch.ones(cell.nodes))
        if len(cell.edges) > 1:
            assert not torch.equal(told[0].edges[cell.kind], told[-1].edges[cell.kind])


def test_an_edge_weight_stands_where_its_source_and_node_say():
    run = start(shrunk(methods.darts.but(edge_weights=Thirds())), SPACES["nasbench201"])
    cell = SPACES["nasbench201"].cells[0]
    first = Thirds().first(torch.zeros(2, 2, dtype=torch.bool), run.generator)
    alive = torch.tensor([[True, False], [True, True]])
    want = Thirds().mix(first, alive, 0.0)
    assert cell.edges == ((0, 1), (0, 2), (1, 2))
    got = run.arch.mix(0.0)["cell"].edges
    torch.testing.assert_close(got, torch.stack([want[0, 0], want[1, 0], want[1, 1]]))


@pytest.mark.parametrize("engine", ["auto", "batched"])
@BOTH
def test_edges_and_their_weights_are_the_same_on_every_supernet(space, engine):
    method = shrunk(methods.darts.but(edge_weights=Thirds(), pruner=Cut()))
    readable = searched(method, SPACES[space], machine=READABLE64)
    fast = searched(method, SPACES[space], machine=Machine("cpu", "float64", engine=engine))
    assert_same(trajectory(readable), trajectory(fast), atol=1e-10)


@BOTH
def test_an_edge_with_nothing_alive_weighs_nothing_and_is_in_no_genotype(space):
    method = shrunk(methods.darts.but(edge_weights=Thirds(), pruner=Cut()), epochs=2)
    events = searched(method, SPACES[space], machine=CPU64)
    for event in steps(events)[1:]:  # the first is told before its prunings
        for kind in SPACES[space].kinds:
            assert (event.mix[kind][1] == 0).all()
            assert event.edges[kind][1] == 0
            assert event.alpha[kind].isfinite().all()
    for cell in events[-1].genotype.cells:
        shape = SPACES[space].cell(cell.kind)
        assert shape.edges[1] not in [(gene.src, gene.dst) for gene in cell.genes]


@BOTH
def test_what_a_step_leaves_out_weighs_nothing_in_it_and_its_alpha_stays(space):
    method = shrunk(methods.single_level.but(op_dropout=Without()))
    run = start(method, SPACES[space], machine=CPU64)
    before = run.arch.snapshot()
    play(run)
    for kind in SPACES[space].kinds:
        left_out = ~run.arch.kept[kind]
        assert left_out.any()
        sampled = run.arch.mixtures(0.0, run.generator)[kind].ops
        assert (sampled[left_out] == 0).all()
        torch.testing.assert_close(sampled.sum(dim=1), torch.ones_like(sampled[:, 0]))
        mixed = run.arch.mix(0.0)[kind].ops
        assert (mixed > 0).all()  # recorded as if nothing were left out
        assert not torch.equal(before[kind], run.arch.alpha[kind])


def test_a_view_knows_the_ended_epochs_and_the_seed():
    views: list[View] = []
    method = shrunk(methods.darts.but(stop=lambda view: views.append(view)), epochs=3)
    events = searched(method, SPACES["nasbench201"], seed=4)
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert [len(view.ended) for view in views] == [1, 2, 3]
    assert list(views[-1].ended) == ended
    assert {view.seed for view in views} == {4}


def test_a_trial_leaves_no_trace_and_judges_on_held_out_images():
    space, seen = SPACES["nasbench201"], []

    def stop(view: View) -> None:
        trial = view.trial
        assert trial is not None
        first = trial.evaluate(view.mix)
        assert trial.evaluate(view.mix) == first
        ops = view.mix["cell"].ops.clone().requires_grad_()
        (grad,) = torch.autograd.grad(trial.loss({"cell": Mixture(ops)}), ops)
        assert grad.abs().sum() > 0
        net = trial.net()
        net.load_state_dict({k: torch.zeros_like(v) for k, v in net.state_dict().items()})
        seen.append(first)

    plain = searched(shrunk(methods.darts, epochs=2), space, machine=CPU64)
    tried = searched(shrunk(methods.darts.but(stop=stop), epochs=2), space, machine=CPU64)
    assert_same(trajectory(plain), trajectory(tried))
    assert len(seen) == 2
    assert set(seen[0]) == {"loss", "accuracy"}


def test_a_trial_evaluates_what_a_hand_written_pass_over_the_held_out_half_gives():
    run = start(shrunk(methods.darts), SPACES["nasbench201"], machine=READABLE64)
    play(run)
    mix = {kind: Mixture(m.ops.double()) for kind, m in run.mix.items()}
    found = run.view(run.clock).trial.evaluate(mix)
    data, picks = tiny_data(), run.split["arch"]
    hits = total = 0
    for batch in run.held_out():
        logits = run.net(batch.images.double(), mix, 0.0)  # in training mode, of each batch
        hits += int((logits.argmax(1) == batch.labels).sum())
        total += len(batch.labels)
    assert total == len(picks) == len(data.train.labels) // 2
    assert found["accuracy"] == pytest.approx(hits / total)


def test_measures_are_taken_after_every_epoch_told_and_change_nothing():
    def count(view: View, bilevel: Bilevel) -> Mapping[str, Tensor]:
        return {
            "epochs_before": torch.tensor(float(len(view.ended))),
            "w": bilevel.weights[0].detach().sum(),
        }

    plain = searched(shrunk(methods.darts, epochs=2), SPACES["darts"])
    measured = searched(shrunk(methods.darts.but(measures=(count,)), epochs=2), SPACES["darts"])
    ended = [event for event in measured if isinstance(event, EpochEnded)]
    assert [event.scalars["epochs_before"] for event in ended] == [0.0, 1.0]
    names = {"epochs_before", "w"}
    kept = [{k: v for k, v in state.items() if k not in names} for state in trajectory(measured)]
    assert_same(trajectory(plain), kept)


def test_a_stage_may_take_fewer_steps_than_there_are_batches():
    method = shrunk(methods.darts.but(steps_per_epoch=2), epochs=2, batch_size=4)
    events = searched(method, SPACES["nasbench201"])
    assert [event.clock.step for event in steps(events)] == [0, 1, 2, 3]
    assert next(e for e in events if isinstance(e, StageStarted)).clock.steps == 4
    with pytest.raises(ValueError, match="steps_per_epoch"):
        methods.darts.but(steps_per_epoch=0)


def test_other_epochs_scale_what_parts_count_in_epochs_and_keep_the_stages_proportion():
    schedule = replace(methods.darts.stages[0].schedule, warmup_epochs=15)
    method = methods.darts.but(schedule=schedule, pruner=ExactZeros(grace_epochs=5))
    ten = method.lasting(10).stages[0]
    assert (ten.epochs, ten.schedule.warmup_epochs, ten.pruner.grace_epochs) == (10, 3, 1)
    assert method.lasting(50) == method
    three = replace(method, stages=tuple(replace(method.stages[0], epochs=n) for n in (15, 15, 10)))
    assert [s.epochs for s in three.lasting(8).stages] == [3, 3, 2]
    assert [s.epochs for s in three.lasting(3).stages] == [1, 1, 1]
    assert sum(s.epochs for s in three.lasting(7).stages) == 7
    with pytest.raises(ValueError, match="3 stages"):
        three.lasting(2)
    warm = methods.zero_cost_multi_step.lasting(7)
    assert [s.epochs for s in warm.stages] == [1, 7]


@dataclass(frozen=True)
class Graced:
    """A regularizer or probe with a setting in epochs, and perhaps another one in it."""

    grace_epochs: int = 10
    inner: object = None
    sizes: torch.Tensor = field(default_factory=lambda: torch.ones(2))  # has no yes or no


def test_other_epochs_scale_parts_in_tuples_and_those_that_others_wrap():
    method = methods.darts.but(
        regularizers=(Graced(), Graced(20)), measures=(Graced(None, (Graced(30),)),)
    )
    five = method.lasting(5).stages[0]
    assert [part.grace_epochs for part in five.regularizers] == [1, 2]
    assert five.measures[0].inner[0].grace_epochs == 3
    assert five.measures[0].grace_epochs is None
    none = methods.darts.but(measures=(still := Graced(None),))
    assert none.lasting(5).stages[0].measures[0] is still


# --- what an architecture gradient may ask --------------------------------------------------------


@dataclass(frozen=True)
class ZerothOrder:
    """The slope along a random direction, by two losses at alphas moved along it."""

    radius: float = 1e-4
    own: bool = True  # draw from the search's generator, not from torch's

    def __call__(self, bilevel: Bilevel, train: object, val: object) -> tuple[Tensor, ...]:
        ways = [
            torch.randn(x.shape, dtype=x.dtype, generator=bilevel.generator if self.own else None)
            for x in bilevel.alphas
        ]
        ends = []
        with torch.no_grad():
            for sign in (1, -1):
                there = [x + sign * self.radius * way for x, way in zip(bilevel.alphas, ways)]  # noqa: B905
                mixtures = bilevel.mixtures(there)
                ends.append(bilevel.loss(bilevel.weights, val, mixtures))
        slope = (ends[0] - ends[1]) / (2 * self.radius)
        return tuple(slope * way for way in ways)


@BOTH
def test_mixing_weights_at_other_alphas_are_those_of_a_search_that_is_there(space: str) -> None:
    found = []

    def looked(bilevel: Bilevel, train: object, val: object) -> tuple[Tensor, ...]:
        other = [x.detach() + 0.3 * torch.ones_like(x).cumsum(-1) for x in bilevel.alphas]
        for x in other:
            x.requires_grad_()
        there = bilevel.mixtures(other)
        before = [x.detach().clone() for x in bilevel.alphas]
        with torch.no_grad():
            for x, y in zip(bilevel.alphas, other, strict=True):
                x.copy_(y)
        here = bilevel.mixtures()
        for kind, mixture in here.items():
            assert torch.equal(mixture.ops, there[kind].ops)
            assert torch.equal(mixture.edges, there[kind].edges)
        total = sum(m.ops[:, 0].sum() + (m.edges * m.edges).sum() for m in there.values())
        grads = torch.autograd.grad(total, other)
        assert all(bool((grad != 0).any()) for grad in grads)
        with torch.no_grad():
            for x, y in zip(bilevel.alphas, before, strict=True):
                x.copy_(y)
        with pytest.raises(ValueError, match=r"must be those of `bilevel.alphas`"):
            bilevel.mixtures(other[:1])
        found.append(len(other))
        return tuple(torch.zeros_like(x) for x in bilevel.alphas)

    method = methods.darts.but(arch_gradient=looked, edge_weights=Thirds())
    searched(shrunk(method), SPACES[space], machine=CPU64)
    assert found


def test_a_gradient_that_draws_from_the_searchs_generator_repeats(caplog) -> None:
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        events = searched(
            shrunk(methods.darts.but(arch_gradient=ZerothOrder())), SPACES["darts"], machine=CPU64
        )
        runs.append(trajectory(events))
    assert_same(*runs)
    assert not caplog.records


def test_who_draws_from_torchs_own_generator_is_told_once(caplog) -> None:
    method = shrunk(methods.darts.but(arch_gradient=ZerothOrder(own=False)))
    searched(method, SPACES["darts"], machine=CPU64)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("a part of stage search drew from torch's own generator")


# --- what rules write into what they are given ----------------------------------------------------


@dataclass(frozen=True)
class Scribbles:
    """Writes into all it is given, and takes away what it leaves out of `alive` there."""

    every = "step"

    def __call__(self, view: View) -> dict[str, Tensor]:
        for kind, mixture in view.mix.items():
            mixture.ops.fill_(-1.0)
            view.alpha[kind].fill_(9.0)
            view.alive[kind][0, 1] = False
        return dict(view.alive)


def scribbled(space: object, mix: Mapping[str, Mixture], alive: Mapping[str, Tensor]) -> object:
    genotype = methods.darts.derivation(space, mix, alive)
    for kind, mixture in mix.items():
        mixture.ops.fill_(-1.0)
        alive[kind].fill_(False)
    return genotype


def test_what_rules_write_into_views_is_nowhere_else() -> None:
    def stops(view: View) -> None:
        assert all((rows >= 0).all() for past in view.history for rows in past.values())
        view.alive["normal"].fill_(False)

    parts = {"pruner": Scribbles(), "derivation": scribbled, "stop": stops}
    events = searched(shrunk(methods.darts.but(**parts)), SPACES["darts"], machine=CPU64)
    seen = steps(events)
    for step in seen:
        for kind, rows in step.mix.items():
            assert torch.allclose(rows.sum(dim=1), torch.ones(()).double())
            assert not (step.alpha[kind] == 9.0).all()
    gone = prunings(events)
    assert len(gone) == len(SPACES["darts"].cells)
    assert all(mask.any(dim=1).all() for mask in seen[-1].alive.values())
