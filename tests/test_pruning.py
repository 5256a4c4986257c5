"""Permanence, bookkeeping and savings of pruning; and the warm-up that reads no labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise, takewhile
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import (
    CPU,
    CPU64,
    READABLE,
    READABLE64,
    SPACES,
    assert_same,
    holdings,
    moved,
    play,
    prunings,
    searched,
    shrunk,
    start,
    steps,
    tiny_data,
    trajectory,
)
from workbench import methods
from workbench.engine import FastSupernet
from workbench.events import Derived, EpochEnded, Pruned, Resumable, StageStarted, Stepped
from workbench.parts.arch_optimizers import Adam
from workbench.parts.pruners import ExactZeros
from workbench.parts.relaxations import Entmax
from workbench.parts.schedules import Alternating, Linear
from workbench.parts.weight_optimizers import Sgd
from workbench.protocols import Clock, Holding
from workbench.search import Run, epoch_of, search
from workbench.spaces.space import Space
from workbench.spaces.supernet import SearchCell, Supernet

ENGINES = pytest.mark.parametrize("machine", [CPU, READABLE], ids=["fast", "readable"])
BOTH = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
NASBENCH = SPACES["nasbench201"]

# Fast alphas with much to drag them back: heavy L2 and, from Adam, momentum.
HASTY = methods.entmax3_prune.but(arch_optimizer=Adam(lr=0.03, weight_decay=0.3))
VARIANTS = {
    "bilevel": HASTY,
    "single_level": methods.entmax3_prune_single_level.but(
        arch_optimizer=Adam(lr=0.03, weight_decay=0.3)
    ),
    "multi_step": HASTY.but(schedule=Alternating(2, order="weights_first")),
    "sparsemax": HASTY.but(relaxation=Entmax(2.0), arch_optimizer=Adam(lr=0.2, weight_decay=0.3)),
    # Here the order, and with it the mixing weights, move in weight steps too.
    "annealed": HASTY.but(
        relaxation=Entmax(Linear(2.0, 5.0)), schedule=Alternating(2, order="weights_first")
    ),
}
EACH = pytest.mark.parametrize(
    ("method", "space"),
    [pytest.param(m, NASBENCH, id=f"{name}-nasbench201") for name, m in VARIANTS.items()]
    + [
        pytest.param(VARIANTS[n], SPACES["darts"], id=f"{n}-darts") for n in ("bilevel", "annealed")
    ],
)

Place = tuple[str, str]  # edge, op


def places(space: Space, masks: Mapping[str, Tensor]) -> set[Place]:
    """The operations a mask holds, by name."""
    return {
        (cell.edge_names[edge], cell.columns[op])
        for cell in space.cells
        for edge, op in masks[cell.kind].nonzero().tolist()
    }


def dead(space: Space, alive: Mapping[str, Tensor]) -> set[Place]:
    return places(space, {kind: ~mask for kind, mask in alive.items()})


def modules(net: nn.Module) -> Iterator[tuple[Place, nn.Module]]:
    """Every operation's module with its place; an operation has one per cell of its kind."""
    for block in net.blocks:
        if isinstance(block, SearchCell):
            for name, edge in zip(block.shape.edge_names, block.edges, strict=True):
                for op, module in edge.ops.items():
                    yield (name, op), module


# --- gone for good ------------------------------------------------------------------------------


@EACH
def test_what_is_pruned_stays_pruned_and_its_logit_stays_where_it_was(method, space):
    events = searched(shrunk(method, epochs=2), space)
    states = [e for e in events if isinstance(e, (StageStarted, Stepped))]
    assert dead(space, states[-1].alive), "else there is nothing to stay dead"
    assert dead(space, states[len(states) // 2].alive), "and for a while"
    for now, after in pairwise(states):
        for kind in space.kinds:
            gone = ~now.alive[kind]
            assert not (gone & after.alive[kind]).any()
            assert torch.equal(now.alpha[kind][gone], after.alpha[kind][gone])
            assert (after.mix[kind][gone] == 0).all()


def test_nothing_comes_back_to_life_whatever_the_pruner_says():
    @dataclass(frozen=True)
    class Fickle:
        """Rules out another operation at every step, and would give back the one before."""

        every = "step"

        def __call__(self, view):
            alive = {kind: torch.ones_like(mask) for kind, mask in view.alive.items()}
            for mask in alive.values():
                mask[:, 1 + view.clock.step % 4] = False
            return alive

    events = searched(shrunk(methods.darts.but(pruner=Fickle())), NASBENCH)
    alive = [event.alive["cell"].sum().item() for event in steps(events)]
    assert alive == [12, 9, 6]


@EACH
def test_every_removal_is_told_once_at_its_step_with_the_weight_before(method, space):
    events = searched(shrunk(method, epochs=2), space)
    last: dict[Place, float] = {}  # the last mixing weight that was not 0
    told: list[Place] = []
    previous: StageStarted | Stepped = events[0]
    for index, event in enumerate(events):
        if isinstance(event, (StageStarted, Stepped)):
            mine = list(takewhile(lambda e: isinstance(e, Pruned), events[index + 1 :]))
            assert all(e.clock == event.clock for e in mine)
            newly = dead(space, event.alive) - dead(space, previous.alive)
            assert {(e.edge, e.op) for e in mine} == newly
            for removal in mine:
                assert removal.weight == last[removal.edge, removal.op] > 0
                assert removal.reason
            told += [(e.edge, e.op) for e in mine]
            for cell in space.cells:
                for edge, row in zip(cell.edge_names, event.mix[cell.kind].tolist(), strict=True):
                    named = zip(cell.columns, row, strict=True)
                    last.update({(edge, op): weight for op, weight in named if weight})
            previous = event
    assert told
    assert Counter(told) == Counter(dead(space, previous.alive))


def test_what_is_zero_before_the_first_step_is_pruned_at_it_with_weight_zero():
    still = Adam(lr=1e-9, weight_decay=0.0)
    method = methods.entmax2_prune.but(relaxation=Entmax(4.0), arch_optimizer=still)
    events = searched(shrunk(method), SPACES["darts"])
    zero = places(SPACES["darts"], {kind: mix == 0 for kind, mix in events[0].mix.items()})
    assert zero, "order 4 has zeros at the usual first logits"
    first = {(e.edge, e.op): e.weight for e in prunings(events) if e.clock.step == 0}
    assert zero <= first.keys()
    assert all(first[place] == 0 for place in zero)


def test_nothing_is_pruned_without_a_pruner():
    events = searched(shrunk(HASTY.but(pruner=None), epochs=2), NASBENCH)
    assert any((event.mix["cell"] == 0).any() for event in steps(events))
    assert not prunings(events)
    assert not holdings(events)
    assert all(event.alive["cell"].all() for event in steps(events))


def test_pruning_by_epoch_prunes_at_the_ends_of_epochs():
    events = searched(shrunk(HASTY.but(pruner=ExactZeros(every="epoch")), epochs=3), NASBENCH)
    for index, event in enumerate(events):
        if isinstance(event, Pruned):
            told = next(e for e in events[index:] if not isinstance(e, Pruned))
            assert isinstance(told, EpochEnded)
            assert told.clock == event.clock
    assert prunings(events)


def test_nothing_is_pruned_or_held_in_the_grace_epochs():
    method = shrunk(HASTY.but(pruner=ExactZeros(grace_epochs=1)), epochs=2)
    events = searched(method, NASBENCH)
    grace = [event for event in events if event.clock.epoch == 0]
    assert any((event.mix["cell"] == 0).any() for event in steps(grace))
    assert not prunings(grace)
    assert not holdings(grace), "its reason would be wrong"
    assert prunings(events)


# --- what a removal frees -----------------------------------------------------------------------


@ENGINES
@BOTH
def test_parameters_of_the_supernet_fall_by_those_of_the_operations_pruned(space, machine):
    run = start(shrunk(HASTY, epochs=2), space, machine=machine)
    sizes = Counter[Place]()
    for place, module in modules(run.readable()):
        sizes[place] += sum(weight.numel() for weight in module.parameters())
    events = play(run)
    freed = 0
    for event in events:
        if isinstance(event, Pruned):
            freed += sizes[event.edge, event.op]
        elif isinstance(event, EpochEnded):
            assert event.supernet_parameters == events[0].parameters - freed
    assert freed > 0
    assert sum(weight.numel() for weight in run.net.parameters()) == events[0].parameters - freed


@BOTH
@pytest.mark.parametrize("name", ["bilevel", "single_level"])
def test_optimizers_forget_what_was_pruned(name, space):
    run = start(shrunk(VARIANTS[name], epochs=2), space, machine=READABLE)
    at_first = {id(weight) for weight in run.net.parameters()}
    for _ in range(2):
        for event in epoch_of(run, 0, ()):
            if not isinstance(event, Stepped):
                continue
            mine = {id(weight) for weight in run.net.parameters()}
            groups = run.weight_optimizer.param_groups
            assert {id(w) for group in groups for w in group["params"]} == mine
            assert {id(w) for w in run.weight_optimizer.state} == mine
            gone = {kind: ~mask for kind, mask in event.alive.items()}
            for kind, dead_here in gone.items():
                state = run.arch_optimizer.state[run.arch.alpha[kind]]
                for moment in ("exp_avg", "exp_avg_sq"):
                    assert not state[moment][dead_here].any()
                    assert state[moment][run.arch.alive[kind]].any()
    assert mine < at_first
    assert any(dead_here.any() for dead_here in gone.values())


def test_only_state_of_a_weights_shape_shrinks_with_it():
    class Remembers(torch.optim.SGD):
        """Keeps ten numbers of every weight beside its momentum."""

        def step(self, closure=None):
            super().step(closure)
            for group in self.param_groups:
                for weight in group["params"]:
                    self.state[weight]["last"] = torch.arange(10.0)

    @dataclass(frozen=True)
    class Remembering(Sgd):
        """Its optimizer."""

        def __call__(self, params):
            return Remembers(params, lr=self.lr_at(0.0), momentum=0.9)

    run = start(shrunk(HASTY.but(weight_optimizer=Remembering())), SPACES["darts"])
    assert isinstance(run.net, FastSupernet)
    assert prunings(play(run))
    for weight in run.net.parameters():
        state = run.weight_optimizer.state[weight]
        assert torch.equal(state["last"], torch.arange(10.0))
        assert state["momentum_buffer"].shape == weight.shape


@BOTH
def test_an_operation_is_not_called_after_it_was_pruned_and_the_others_are(space):
    run = start(shrunk(HASTY, epochs=2), space, machine=READABLE)
    called: set[Place] = set()
    for place, module in modules(run.net):
        module.register_forward_hook(lambda *_, place=place: called.add(place))
    everything = {place for place, _ in modules(run.net)}
    built = {layer.kind for layer in space.layers}
    assert everything == {p for p in dead(space, {k: ~m for k, m in run.arch.alive.items()})
                          if p[0].split(":")[0] in built}  # fmt: skip
    gone: set[Place] = set()
    for epoch in range(2):
        for event in epoch_of(run, epoch, ()):
            if isinstance(event, Stepped):
                assert called == everything - gone
                gone = dead(space, event.alive)
                called.clear()
    assert gone


class Dispatches(TorchDispatchMode):
    """Counts the operations torch carries out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def dispatches_of_a_step(space: Space, keep: int) -> int:
    """In a step with the last `keep` operations alive on every edge."""
    run = start(shrunk(methods.entmax2_prune.but(pruner=None)), space, machine=READABLE)
    alive = {kind: mask.clone() for kind, mask in run.arch.alive.items()}
    for mask in alive.values():
        mask[:, : mask.shape[1] - keep] = False
    run.arch.prune(alive)
    run.net.drop(run.arch.alive)
    run.mix = run.arch.mix(0.0)
    with Dispatches() as counter:
        run.step(Clock(0, 0, 1, 0, run.steps_per_epoch))
    return counter.count


@BOTH
def test_a_step_with_fewer_operations_alive_costs_fewer_operations(space):
    ops = len(space.columns)
    counts = [dispatches_of_a_step(space, keep) for keep in range(ops, 0, -1)]
    assert counts == sorted(set(counts), reverse=True)
    assert counts[-1] < (1 / ops + 0.35) * counts[0]  # the rest is stem, head and optimizers


# --- pruned and masked --------------------------------------------------------------------------


@pytest.mark.parametrize("machine", [CPU64, READABLE64], ids=["fast", "readable"])
@EACH
def test_the_pruned_search_is_the_masked_search(method, space, machine, monkeypatch):
    method = shrunk(method, epochs=2)
    pruned = searched(method, space, machine=machine)
    for net in (Supernet, FastSupernet):
        monkeypatch.setattr(net, "drop", lambda self, alive: {})
    masked = searched(method, space, machine=machine)
    # The outputs are equal to the bit; the gradient norm that clips adds up in another order.
    rounded = [
        [replace(e, weight=round(e.weight, 12)) for e in prunings(es)] for es in (pruned, masked)
    ]
    assert rounded[0] == rounded[1] != []
    assert moved(pruned)
    assert_same(trajectory(pruned), trajectory(masked), atol=1e-12)
    ended = [[e for e in events if isinstance(e, EpochEnded)][-1] for events in (pruned, masked)]
    assert ended[0].supernet_parameters < ended[1].supernet_parameters
    assert pruned[-1].genotype == masked[-1].genotype


# --- the last operations into a node ------------------------------------------------------------


@dataclass(frozen=True)
class NoneWins:
    """Logits under which `none` has all the weight of every edge."""

    def __call__(self, space, net, generator):
        rows = {c.kind: torch.zeros(len(c.edges), len(c.columns)) for c in space.cells}
        for cell in space.cells:
            rows[cell.kind][:, cell.columns.index("none")] = 2.0
        return rows


@BOTH
def test_the_last_operations_into_a_node_are_held_and_told_once(space):
    events = searched(shrunk(methods.entmax3_prune.but(init=NoneWins())), space)
    useful = {(edge, op) for c in space.cells for edge in c.edge_names for op in c.columns}
    useful = {place for place in useful if place[1] != "none"}
    held = [(e.edge, e.op) for e in holdings(events)]
    assert Counter(held) == Counter(useful)
    assert all(e.clock.step == 0 and e.reason for e in holdings(events))
    assert not prunings(events)
    assert useful <= places(space, steps(events)[-1].alive)
    for cell in events[-1].genotype.cells:
        assert all(degree == 1 for degree in cell.in_degrees.values())


@dataclass(frozen=True)
class OneByOne:
    """At every step the next column of every first edge goes; the other zeros are held."""

    every: Literal["step"] = "step"

    def __call__(self, view):
        alive = {kind: mask.clone() for kind, mask in view.alive.items()}
        for mask in alive.values():
            mask[0, 1 + view.clock.step] = False
        held = {kind: mask & (view.mix[kind].ops == 0) for kind, mask in alive.items()}
        return Holding(alive, held)


@BOTH
def test_what_is_held_is_not_told_again_after_a_later_pruning(space):
    method = methods.entmax3_prune.but(init=NoneWins(), pruner=OneByOne())
    events = searched(shrunk(method), space)
    assert {event.clock.step for event in prunings(events)} == {0, 1, 2}
    held = [(event.edge, event.op) for event in holdings(events)]
    assert held
    assert len(held) == len(set(held))


def test_a_pruner_that_holds_nothing_back_is_not_said_to():
    """Weights of exactly 0 that no rule wanted gone are not among the last into a node."""

    @dataclass(frozen=True)
    class KeepsAll:
        """Hands back new masks of what is alive."""

        every: Literal["step"] = "step"

        def __call__(self, view):
            return {kind: mask.clone() for kind, mask in view.alive.items()}

    @dataclass(frozen=True)
    class First(KeepsAll):
        """Would take the first operation of every edge and, saying so, keeps it."""

        def __call__(self, view):
            alive = KeepsAll.__call__(self, view)
            held = {kind: torch.zeros_like(mask) for kind, mask in alive.items()}
            for mask in held.values():
                mask[:, 0] = True
            return Holding(alive, held)

    method = VARIANTS["sparsemax"]
    events = searched(shrunk(method.but(pruner=KeepsAll())), NASBENCH)
    assert any((event.mix["cell"] == 0).any() for event in steps(events))
    assert not holdings(events)
    told = holdings(searched(shrunk(method.but(pruner=First())), NASBENCH))
    cell = NASBENCH.cells[0]
    assert [(e.edge, e.op) for e in told] == [(edge, cell.columns[0]) for edge in cell.edge_names]


@BOTH
def test_without_hold_a_node_may_lose_everything(space):
    method = methods.entmax3_prune.but(init=NoneWins(), pruner=ExactZeros(hold=False))
    events = searched(shrunk(method), space)
    assert not holdings(events)
    assert {op for _, op in places(space, steps(events)[-1].alive)} == {"none"}
    assert not any(cell.genes for cell in events[-1].genotype.cells)


# --- the label-free warm-up ---------------------------------------------------------------------

WARM_UP, SEARCH = 0, 1


def warmed(epochs: int = 1):
    """Zero-cost multi-step with a small warm-up: few steps, few Gaussian pictures."""
    first, second = shrunk(methods.zero_cost_multi_step, epochs=epochs, batch_size=12).stages
    first = replace(first, objective=replace(first.objective, batch_size=3))
    return replace(methods.zero_cost_multi_step, stages=(first, second))


@cache
def warm_run(name: str) -> tuple[list[Tensor], list, Run]:
    """A warm-up in space `name`: the weights before it, its events, and its end."""
    run = start(warmed(), SPACES[name], index=WARM_UP)
    first = [weight.detach().clone() for weight in run.net.parameters()]
    return first, play(run), run


class Secret(Tensor):
    """Labels that fail at every use while `closed`."""

    closed = False

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if cls.closed:
            raise AssertionError(f"a label was touched by {func.__name__}")
        return super().__torch_function__(func, types, args, kwargs)


def secretive():
    data = tiny_data()
    labels = data.train.labels.clone().as_subclass(Secret)
    return replace(data, train=replace(data.train, labels=labels))


def test_the_warm_up_touches_no_label():
    events = search(warmed(epochs=2), NASBENCH, secretive())
    seen = []
    try:
        for event in events:
            if isinstance(event, Resumable):
                continue
            seen.append(event)
            ended = isinstance(event, EpochEnded) and event.clock.epoch == 1
            Secret.closed = event.clock.stage == WARM_UP and not ended
            if event.clock.stage == SEARCH:
                break
        assert [type(e) for e in seen[:-1]] == [
            StageStarted,
            *[Stepped, Stepped, EpochEnded] * 2,
        ]
        Secret.closed = True
        with pytest.raises(AssertionError, match="a label was touched"):
            list(events)
    finally:
        Secret.closed = False


def test_other_labels_give_the_same_warm_up():
    data = tiny_data()
    other = replace(data, train=replace(data.train, labels=data.train.labels.flip(0)))
    run = start(warmed(), NASBENCH, data=other)
    _, events, plain = warm_run("nasbench201")
    assert_same(trajectory(events), trajectory(play(run)))
    assert_same([plain.net.state_dict()] * 2, [run.net.state_dict()] * 2)


@pytest.mark.parametrize("name", SPACES)
def test_the_warm_up_moves_weights_and_keeps_their_norms_and_the_alphas(name):
    first, events, run = warm_run(name)
    assert not moved(events)
    last = [weight.detach() for weight in run.net.parameters()]
    norms = [torch.stack([w.norm() for w in weights]) for weights in (first, last)]
    scaled = norms[0] > 0  # a bias starts at 0: no scale to keep
    assert scaled.sum() > len(first) / 2
    torch.testing.assert_close(norms[1][scaled], norms[0][scaled], rtol=1e-4, atol=0)
    moving = sum(not torch.allclose(a, b, rtol=1e-4) for a, b in zip(first, last, strict=True))
    assert moving > len(first) / 2, "else norms are kept by standing still"


@pytest.mark.parametrize("name", SPACES)
def test_the_search_takes_over_weights_and_alphas_but_not_momentum_or_statistics(name):
    space, (_, _, warm) = SPACES[name], warm_run(name)
    run = start(warmed(), space, index=SEARCH, before=warm)
    for kind in space.kinds:
        assert torch.equal(run.arch.alpha[kind], warm.arch.alpha[kind])
    nets = [run.readable(), warm.readable()]
    assert_same(*([dict(net.named_parameters())] * 2 for net in nets))
    assert any("momentum_buffer" in state for state in warm.weight_optimizer.state.values())
    assert not run.weight_optimizer.state
    fresh = dict(start(shrunk(methods.darts), space).readable().named_buffers())
    assert_same([dict(nets[0].named_buffers())] * 2, [fresh] * 2)
    assert not all(torch.equal(x, fresh[name]) for name, x in warm.net.named_buffers())


def test_the_search_goes_on_after_the_warm_up():
    events = searched(warmed(), NASBENCH)
    clocks = [event.clock for event in events if isinstance(event, StageStarted)]
    assert [clock.stage for clock in clocks] == [WARM_UP, SEARCH]
    assert isinstance(events[-1], Derived)
    assert events[-1].clock.stage == SEARCH
    by_stage = [
        {name for e in steps(events) if e.clock.stage == stage for name in e.scalars}
        for stage in (WARM_UP, SEARCH)
    ]
    assert "accuracy_train" in by_stage[SEARCH] - by_stage[WARM_UP]
    assert "zen" in by_stage[WARM_UP] - by_stage[SEARCH]


@pytest.mark.parametrize(
    ("reading", "weights_move", "alphas_move"),
    [("weights", True, False), ("alphas", False, True), ("both", True, True)],
)
def test_a_reading_of_the_warm_up_moves_what_it_says(reading, weights_move, alphas_move):
    stage = replace(methods.papers.zero_cost_readings[reading], batch_size=12)
    stage = replace(stage, objective=replace(stage.objective, batch_size=3))
    method = replace(methods.zero_cost_multi_step, stages=(stage,))
    run = start(method, NASBENCH)
    first = [weight.detach().clone() for weight in run.net.parameters()]
    events = play(run)
    assert moved(events) == alphas_move
    same = all(map(torch.equal, first, run.net.parameters()))
    assert same != weights_move
