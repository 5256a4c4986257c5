"""Searches that come to numbers that are none: where they end, and what they say."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from tests.fakes import fake_run
from tests.tiny import CPU, CPU64, READABLE, SPACES, searched, shrunk, start, steps, tiny_data
from workbench import methods
from workbench.culprit import broken_rule
from workbench.divergence import dead_nodes
from workbench.engine import Machine
from workbench.evaluate import Recipe, evaluate
from workbench.events import Diverged, DivergenceError, Resumed
from workbench.parts.arch_gradients import first_order
from workbench.parts.edge_weights import SoftmaxEdges
from workbench.parts.objectives import CrossEntropy
from workbench.protocols import Loss, Mixture
from workbench.search import search
from workbench.snapshots import load_state
from workbench.trace import open_run, record, record_evaluation
from workbench.trace.checkpoints import Checkpointing, newest

DARTS = SPACES["darts"]


class Breaks(CrossEntropy):
    """Cross-entropy that is NaN from pass `at` on, on one side; healthy once `at` is None."""

    at: int | None = None

    def __call__(self, net, mixtures, batch, t, generator):
        loss = super().__call__(net, mixtures, batch, t, generator)
        if Breaks.at is None:
            return loss
        Breaks.at -= 1
        return Loss(loss.value * math.nan, loss.logs) if Breaks.at < 0 else loss


@dataclass(frozen=True)
class Rows:
    """A relaxation that gives the same rows, whatever the logits."""

    row_sum = "one"
    value: float = 0.0

    def mix(self, logits, alive, t):
        return torch.full_like(logits, self.value) + 0 * logits

    def sample(self, logits, alive, t, generator):
        return self.mix(logits, alive, t)


@dataclass(frozen=True)
class KillsEverything:
    """A pruner that leaves nothing."""

    every = "step"

    def __call__(self, view):
        return {kind: torch.zeros_like(mask) for kind, mask in view.alive.items()}


def diverges(method, *, machine: Machine = CPU) -> tuple[list, DivergenceError]:
    events = []
    with pytest.raises(DivergenceError) as caught:
        events.extend(search(method, DARTS, tiny_data(), machine=machine))
    assert events[-1] is caught.value.event
    return events, caught.value


@pytest.mark.parametrize("machine", [CPU, CPU64, READABLE])
@pytest.mark.parametrize(("passes", "loss"), [(2, "loss_val"), (3, "loss_train")])
def test_a_loss_that_is_no_number_ends_the_search_in_its_step(monkeypatch, machine, passes, loss):
    monkeypatch.setattr(Breaks, "at", passes)  # a step has a pass for alphas, then one for weights
    events, error = diverges(shrunk(methods.darts.but(objective=Breaks())), machine=machine)
    assert len(steps(events)) == 1
    assert str(error).startswith(f"{loss} became nan in step 1, epoch 0, stage 0 (search)")


@pytest.mark.parametrize("value", [math.nan, -1.0, 0.0, math.inf, 0.5])
def test_rows_that_are_no_mixing_weights_end_the_search_before_its_first_step(value):
    events, error = diverges(shrunk(methods.darts.but(relaxation=Rows(value))))
    assert not steps(events)
    assert error.event.what == "no valid mixing weights"
    assert error.event.edge == DARTS.cells[0].edge_names[0]


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (math.nan, "finite (a weight is nan)"),
        (-1.0, "not negative (a weight is -1)"),
        (0.5, "of sum 1, as its row_sum 'one' says (a sum is 4)"),
    ],
)
def test_the_rule_that_rows_break_is_named_with_what_was_met(value, rule):
    _, error = diverges(shrunk(methods.darts.but(relaxation=Rows(value))))
    remedy = error.event.remedy
    assert remedy.startswith(f"check that Rows(value={value}) gives rows that are {rule}")
    assert ("lower arch_lr" in remedy) == math.isnan(value)  # a rate does not mend the others


def test_rows_that_weigh_what_is_dead_or_are_all_0_are_told():
    alive = {"normal": torch.tensor([[True, False]])}

    def broken(row, row_sum, edges=None):
        found = broken_rule({"normal": Mixture(torch.tensor([row]), edges)}, alive, row_sum)
        assert found is not None
        return found.rule, found.met, found.of_edges

    assert broken([0.5, 0.5], "one") == ("0 where not alive", "a weight is 0.5", False)
    all_0 = "not all 0, as its row_sum 'positive' says"
    assert broken([0.0, 0.0], "positive") == (all_0, "a sum is 0", False)
    edges = torch.tensor([math.inf])
    assert broken([1.0, 0.0], "one", edges) == ("finite", "an edge's is inf", True)
    assert broken_rule({"normal": Mixture(torch.tensor([[1.0, 0.0]]))}, alive, "one") is None


@dataclass(frozen=True)
class NegativeEdges(SoftmaxEdges):
    """Weights of edges that are below 0."""

    def mix(self, beta, alive, t):
        return -super().mix(beta, alive, t)


def test_negative_weights_of_edges_are_not_the_relaxations_fault():
    _, error = diverges(shrunk(methods.darts.but(edge_weights=NegativeEdges())))
    assert error.event.remedy.startswith(
        "check that the edge weights NegativeEdges(scale=0.001) give weights that are not negative"
    )
    assert "Softmax" not in error.event.remedy


class KeepsNothing:
    """Leaves out every operation."""

    def kept(self, cell, alive, t, generator):
        return torch.zeros_like(alive)

    def adjusted(self, before, after, alive, kept):
        return after


def test_a_dropout_that_leaves_nothing_is_named():
    _, error = diverges(shrunk(methods.darts.but(op_dropout=KeepsNothing())))
    assert error.event.what.startswith("loss_val became nan")
    assert error.event.remedy.startswith("let `kept` of ")
    assert "KeepsNothing" in error.event.remedy
    assert "weight_lr" not in error.event.remedy


@pytest.mark.parametrize("machine", [CPU, READABLE])
def test_an_edge_whose_weights_are_infinite_is_named(machine):
    run = start(shrunk(methods.single_level), DARTS, machine=machine)
    with torch.no_grad():
        for name, value in run.net.named_parameters():
            if machine is READABLE and "sep_conv_5x5" in name and "edges.1" in name:
                value.fill_(math.inf)
            elif machine is CPU and "stem" in name:
                value.fill_(math.inf)
    with pytest.raises(DivergenceError) as caught:
        run.step(run.clock)
    event = caught.value.event
    if machine is READABLE:
        assert (event.op, event.edge) == ("sep_conv_5x5", DARTS.cells[0].edge_names[1])
    else:
        assert "first in stem" in event.what


def test_a_pruner_that_kills_a_node_ends_the_search():
    _, error = diverges(shrunk(methods.darts.but(pruner=KillsEverything())))
    cell = DARTS.cells[0]
    assert error.event.what == f"nothing alive into node {cell.inputs} of {cell.kind}"
    assert "KillsEverything" in error.event.remedy


def test_a_node_that_leads_nowhere_may_die():
    cell = SPACES["nasbench201"].cells[0]
    everything = [True] * len(cell.edges)
    assert dead_nodes(cell, everything) == []
    out_only = [edge == (0, 2) for edge in cell.edges]
    assert dead_nodes(cell, out_only) == []
    from_dead = [edge[1] == 2 for edge in cell.edges]
    assert dead_nodes(cell, from_dead) == [1]


EVERY_EPOCH = Checkpointing(share=None)  # however short


def test_a_recorded_search_names_its_last_state_and_goes_on_there(tmp_path: Path, monkeypatch):
    method = shrunk(methods.single_level.but(objective=Breaks()), epochs=3)
    path = tmp_path / "run"
    whole = searched(method, DARTS)
    per_epoch = len(steps(whole)) // 3
    monkeypatch.setattr(Breaks, "at", per_epoch + 1)
    with pytest.raises(DivergenceError, match=r"last saved state: epoch 0, step .*checkpoint_1"):
        list(record(search(method, DARTS, tiny_data(), machine=CPU), path, checkpoints=EVERY_EPOCH))
    run = open_run(path)
    assert run.header["status"] == "failed"
    assert "checkpoint_1.json" in run.header["error"]
    last = json.loads((path / "events.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["step"]) == ("Diverged", per_epoch + 1)
    assert "checkpoint_1.json" in last["saved"]
    assert last["remedy"]
    monkeypatch.setattr(Breaks, "at", None)
    saved = newest(path / "checkpoints", path)
    state = load_state(saved.state)
    again = search(method, DARTS, tiny_data(), machine=CPU, start=state)
    events = list(record(again, path, start=saved))
    assert isinstance(events[0], Resumed)
    assert open_run(path).header["status"] == "finished"
    assert not any(isinstance(event, Diverged) for event in events)
    assert '"Diverged"' not in (path / "events.jsonl").read_text()


def test_clipping_bounds_what_moves_the_alphas_and_nothing_else_changes_a_search():
    method = shrunk(methods.darts)
    plain = steps(searched(method, DARTS))
    same = steps(searched(method.but(clip_arch=1e9), DARTS))
    assert all(
        torch.equal(a.alpha[k], b.alpha[k])
        for a, b in zip(plain, same, strict=True)
        for k in a.alpha
    )
    assert all(float(step.scalars["grad_norm_alpha"]) > 0 for step in plain)
    with pytest.raises(ValueError, match="`clip_arch` must be more than 0"):
        replace(method.stages[0], clip_arch=0.0)


@pytest.mark.parametrize("name", ["darts", "single_level"])
def test_a_clip_that_bites_shortens_the_gradient_and_the_record_says_what_it_was(name):
    method, moved = shrunk(getattr(methods, name)), []
    bound = 1e-3
    for clip in (None, bound):
        run = start(method.but(clip_arch=clip), DARTS)
        move = run.arch.step

        def spied(optimizer, run=run, move=move):
            alphas = run.arch.parameters()
            moved.append(torch.cat([alpha.grad.flatten() for alpha in alphas]).clone())
            move(optimizer)

        run.arch.step = spied
        scalars, _ = run.step(run.clock)
        assert float(scalars["grad_norm_alpha"]) == pytest.approx(float(moved[0].norm()), rel=1e-5)
    plain, clipped = moved
    assert float(plain.norm()) > 2 * bound
    assert float(clipped.norm()) == pytest.approx(bound, rel=1e-3)
    torch.testing.assert_close(clipped / clipped.norm(), plain / plain.norm())


def infinite_at_the_last_edge(bilevel, train, val):
    """A gradient of the alphas that is infinite at one operation of the last edge."""
    grads = [grad.clone() for grad in first_order(bilevel, train, val)]
    grads[-1][-1, 0] = math.inf
    return grads


def test_the_edge_whose_alphas_have_an_infinite_gradient_is_named():
    _, error = diverges(shrunk(methods.darts.but(arch_gradient=infinite_at_the_last_edge)))
    assert error.event.what == "gradient of the alphas became inf"
    assert error.event.edge == DARTS.cells[-1].edge_names[-1]
    assert "lower arch_lr" in error.event.remedy


def test_the_operation_whose_weights_have_an_infinite_gradient_is_named():
    run = start(shrunk(methods.single_level), DARTS, machine=READABLE)
    name, weight = next(
        (name, value)
        for name, value in run.net.named_parameters()
        if name.startswith("blocks.1.edges.1.") and "dil_conv_3x3" in name
    )
    weight.register_hook(lambda grad: torch.full_like(grad, math.inf))
    before = [value.detach().clone() for value in run.net.parameters()]
    with pytest.raises(DivergenceError) as caught:
        run.step(run.clock)
    event = caught.value.event
    assert event.what == "gradient of the weights became inf", name
    kind = run.net.blocks[1].shape
    assert (event.cell, event.edge, event.op) == (1, kind.edge_names[1], "dil_conv_3x3")
    assert all(map(torch.equal, before, run.net.parameters()))  # nothing has moved


def test_an_evaluation_that_diverges_is_recorded_with_its_last_state(tmp_path: Path):
    run = fake_run(tmp_path / "run", nodes=2, evaluated=False)
    recipe = Recipe(channels=4, cells=3, epochs=2, batch_size=16, lr=1e30)
    events = record_evaluation(
        evaluate(run.genotype, tiny_data(), recipe, machine=CPU),
        run.path,
        recipe={"seed": 0},
        checkpoints=Checkpointing(steps=1),
    )
    seen = []
    with pytest.raises(DivergenceError) as caught:
        seen.extend(events)
    error, event = caught.value, caught.value.event
    assert seen[-1] is event
    assert (event.clock.epoch, event.clock.step) == (0, 1)  # its first step has moved the weights
    said = f"in step 1, epoch 0; last saved state: {error.saved}; to try: lower `lr` (now "
    assert said in str(error)
    assert error.saved.startswith("epoch 0, step 0 (")
    line = json.loads((run.path / "evaluation" / "epochs.jsonl").read_text().splitlines()[-1])
    told = {"event": "Diverged", "epoch": 0, "step": 1, "what": event.what, "saved": error.saved}
    assert told.items() <= line.items()
    again = open_run(run.path)
    assert again.evaluation is None
    assert again.evaluation_epochs.empty


def test_a_rule_that_measures_no_number_decides_nothing():
    @dataclass(frozen=True)
    class Asks:
        """A pruner that asks what the supernet is worth."""

        every = "epoch"

        def __call__(self, view):
            return view.alive if view.trial.evaluate(view.mix)["loss"] < 9 else {}

    run = start(shrunk(methods.darts.but(pruner=Asks())), DARTS, machine=READABLE)
    assert run.prune(run.clock, "epoch") == []
    with torch.no_grad():
        next(run.net.parameters()).fill_(math.nan)
    assert math.isnan(run.view(run.clock).trial.evaluate(run.mix)["loss"])  # a probe may see it
    with pytest.raises(DivergenceError, match="loss on the held-out images became nan"):
        run.prune(run.clock, "epoch")
    assert run.watch.met is None
