"""What is missed most stays, on a model whose parts are known to add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.tiny import CPU, READABLE, SPACES, prunings, searched, shrunk, steps
from workbench import methods
from workbench.parts.perturbation import Perturbation
from workbench.protocols import Clock, Mixture, Mixtures, Rows, View
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import Space

DARTS, NB201 = darts(channels=4, cells=3), nasbench201(channels=4, cells_per_stage=1)
ROUNDS = 14 + 3  # edges, and nodes of more than two inputs


class Additive:
    """Accuracy is the sum of what every operation that takes part is worth; loss tells nothing."""

    def __init__(self, worth: Rows) -> None:
        self.worth, self.calls = worth, 0
        self.tried: list[dict[str, Tensor]] = []

    def evaluate(self, mixtures: Mixtures) -> Mapping[str, float]:
        self.calls += 1
        self.tried.append({kind: m.ops.clone() for kind, m in mixtures.items()})
        parts = [(rows * (mixtures[kind].ops > 0)).sum() for kind, rows in self.worth.items()]
        return {"loss": 0.0, "accuracy": float(torch.stack(parts).sum())}


def worths(space: Space, seed: int = 0) -> dict[str, Tensor]:
    """All different, exact in float32 sums."""
    draw = torch.Generator().manual_seed(seed)
    out = {}
    for cell in space.cells:
        size = (len(cell.edges), len(cell.columns))
        out[cell.kind] = torch.randperm(size[0] * size[1], generator=draw).view(size).float()
    return out


def everything(space: Space) -> dict[str, Tensor]:
    return {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}


def view(space: Space, trial: object, alive: Rows, epoch: int, epochs: int, seed: int = 0) -> View:
    rows = {kind: mask / mask.sum(dim=1, keepdim=True).clamp_min(1) for kind, mask in alive.items()}
    mix = {kind: Mixture(row) for kind, row in rows.items()}
    clock = Clock(1, epoch, epochs, epoch, epochs)
    return View(clock, space, {}, mix, alive, seed=seed, trial=trial)


def played(
    space: Space, trial: object, rule: Perturbation, epochs: int, seed: int = 0
) -> list[dict[str, Tensor]]:
    """`alive` after every epoch; checked never to grow, and left alone by the rule itself."""
    told, alive = [], everything(space)
    for epoch in range(epochs):
        before = {kind: mask.clone() for kind, mask in alive.items()}
        new = rule(view(space, trial, alive, epoch, epochs, seed))
        for kind in alive:
            assert torch.equal(alive[kind], before[kind])
            assert not (new[kind] & ~alive[kind]).any()
        told.append(new)
        alive = new
    return told


def best(space: Space, worth: Rows) -> dict[str, Tensor]:
    """What should be left: per edge the worthiest operation, per node the two worthiest edges."""
    out = {}
    for cell in space.cells:
        rows = worth[cell.kind].clone()
        if space.family == "darts":
            rows[:, cell.columns.index("none")] = -1
        top = torch.zeros_like(rows, dtype=torch.bool)
        top[torch.arange(len(rows)), rows.argmax(dim=1)] = True
        if space.family == "darts":
            for node in range(cell.inputs, cell.inputs + cell.nodes):
                into = [i for i, (_, dst) in enumerate(cell.edges) if dst == node]
                for edge in sorted(into, key=lambda i: -float(rows[i].max()))[2:]:
                    top[edge] = False
        out[cell.kind] = top
    return out


@pytest.mark.parametrize("epochs", [81, 40, 17, 3, 1])
@pytest.mark.parametrize("space", [DARTS, NB201], ids=["darts", "nasbench201"])
def test_the_worthiest_operations_and_edges_are_left_at_any_length(space, epochs):
    worth = worths(space)
    last = played(space, Additive(worth), Perturbation(5), epochs)[-1]
    for kind, mask in best(space, worth).items():
        assert torch.equal(last[kind], mask)


def test_every_node_has_two_inputs_of_one_operation_at_the_end():
    last = played(DARTS, Additive(worths(DARTS, 1)), Perturbation(), 81)[-1]
    for cell in DARTS.cells:
        assert int(last[cell.kind].sum()) == 2 * cell.nodes
        ends = [cell.edges[e][1] for e in last[cell.kind].nonzero()[:, 0].tolist()]
        assert ends == [2, 2, 3, 3, 4, 4, 5, 5]


def decided(told: list[dict[str, Tensor]], kind: str, space: Space) -> list[int]:
    """Epochs after which `alive` of a kind was another."""
    masks = [everything(space)[kind], *[alive[kind] for alive in told]]
    return [e for e in range(len(told)) if not torch.equal(masks[e], masks[e + 1])]


def test_rounds_are_every_fifth_epoch_and_all_kinds_decide_in_one():
    told = played(DARTS, Additive(worths(DARTS)), Perturbation(tune_epochs=5), 81)
    assert decided(told, "normal", DARTS) == decided(told, "reduce", DARTS)
    assert decided(told, "normal", DARTS) == [5 * n for n in range(ROUNDS)]
    for e in range(0, 70, 5):  # one edge each: seven operations go
        gone = [int((~told[e][kind]).sum()) for kind in DARTS.kinds]
        assert gone == [7 * (e // 5 + 1)] * 2


def test_nasbench201_has_six_rounds_the_last_at_the_last_of_25_epochs():
    told = played(NB201, Additive(worths(NB201)), Perturbation(), 25)
    assert decided(told, "cell", NB201) == [0, 5, 10, 15, 20, 24]


def test_too_few_epochs_share_the_rounds_evenly():
    told = played(DARTS, Additive(worths(DARTS)), Perturbation(), 5)
    gone = [int((~alive["normal"]).sum()) // 7 for alive in told]
    assert gone[:4] == [1, 5, 9, 13]
    assert decided(told, "normal", DARTS) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("space", "tries"), [(DARTS, 2 * (14 * 7 + 3 + 7 + 12)), (NB201, 6 * 5)])
def test_every_candidate_is_tried_once_and_then_the_edges_of_every_node(space, tries):
    trial = Additive(worths(space))
    played(space, trial, Perturbation(), 81)
    assert trial.calls == tries  # nodes of 3, 4, 5 inputs: 3, 4 + 3, 5 + 4 + 3


def test_one_weight_is_zeroed_and_the_others_stay_as_they_were():
    trial, alive = Additive(worths(NB201)), everything(NB201)
    Perturbation()(view(NB201, trial, alive, 0, 25))
    (edge,) = {int(e) for rows in trial.tried for e in (rows["cell"] == 0).nonzero()[:, 0]}
    assert [(rows["cell"] == 0).nonzero().tolist() for rows in trial.tried] == [
        [[edge, column]] for column in range(5)
    ]
    assert all((rows["cell"][rows["cell"] > 0] == 0.2).all() for rows in trial.tried)


def test_an_edge_that_is_decided_weighs_all_it_may_within_its_round():
    trial = Additive(worths(DARTS))
    played(DARTS, trial, Perturbation(), 1)
    last = trial.tried[-1]
    for rows in last.values():
        assert set(rows.unique().tolist()) == {0.0, 1.0}


def test_the_order_of_edges_is_the_seeds_and_each_kinds_own():
    def order(seed: int, kind: str) -> list[int]:
        told = played(DARTS, Additive(worths(DARTS)), Perturbation(1), 17, seed)[:14]
        sums = [alive[kind].sum(dim=1) for alive in told]
        return [int((mask == 1).nonzero().sum()) for mask in sums]

    assert order(1, "normal") == order(1, "normal")
    assert order(1, "normal") != order(2, "normal")
    assert order(1, "normal") != order(1, "reduce")


def test_ties_go_to_the_other_criterion_and_then_to_the_lower_column():
    class Tied(Additive):
        def evaluate(self, mixtures: Mixtures) -> Mapping[str, float]:
            found = super().evaluate(mixtures)
            return {"loss": -found["accuracy"], "accuracy": 0.5}

    worth = worths(NB201)
    last = played(NB201, Tied(worth), Perturbation(criterion="accuracy"), 3)[-1]
    assert torch.equal(last["cell"], best(NB201, worth)["cell"])
    equal = {kind: torch.zeros_like(rows) for kind, rows in worths(DARTS).items()}
    last = played(DARTS, Additive(equal), Perturbation(), 3)[-1]
    assert (last["normal"].nonzero()[:, 1] == 1).all()  # max_pool_3x3; `none` is no choice
    assert last["normal"][[0, 1, 3, 4, 7, 8, 12, 13]].any(dim=1).all()


def test_by_loss_what_makes_it_rise_most_stays():
    class Lossy(Additive):
        def evaluate(self, mixtures: Mixtures) -> Mapping[str, float]:
            found = super().evaluate(mixtures)
            return {"loss": -found["accuracy"], "accuracy": found["accuracy"] * -1}

    worth = worths(NB201)
    last = played(NB201, Lossy(worth), Perturbation(criterion="loss"), 2)[-1]
    assert torch.equal(last["cell"], best(NB201, worth)["cell"])


def test_an_impossible_rule_or_a_view_without_a_trial_is_refused():
    with pytest.raises(ValueError, match="tune_epochs"):
        Perturbation(tune_epochs=0)
    with pytest.raises(ValueError, match="criterion"):
        Perturbation(criterion="speed")
    with pytest.raises(ValueError, match="running search"):
        Perturbation()(view(NB201, None, everything(NB201), 0, 1))


def test_a_search_keeps_the_operation_its_own_held_out_images_miss_most():
    wanted: list[int] = []

    class Watched:
        every = "epoch"

        def __call__(self, view: View) -> Rows:
            rows = view.mix["cell"].ops
            if not wanted:
                found = [
                    view.trial.evaluate({"cell": Mixture(rows * (torch.arange(5) != column))})
                    for column in range(5)
                ]
                hurt = [(-f["accuracy"], f["loss"]) for f in found]
                wanted.append(hurt.index(max(hurt)))
            return Perturbation()(view)

    first, second = shrunk(methods.darts_pt, epochs=2).stages
    method = replace(methods.darts_pt, stages=(first, replace(second, pruner=Watched())))
    space = nasbench201(channels=4, cells_per_stage=1, nodes=1)
    events = searched(method, space, machine=READABLE)
    assert steps(events)[-1].alive["cell"].nonzero().tolist() == [[0, wanted[0]]]
    assert {event.clock.stage for event in prunings(events)} == {1}


@pytest.mark.parametrize("name", ["darts_pt", "darts_pt_blank"])
def test_a_search_keeps_weights_and_alphas_from_stage_to_stage(name):
    method = shrunk(methods.named()[name], epochs=2)
    events = searched(method, SPACES["darts"], machine=CPU)
    started = [event for event in events if type(event).__name__ == "StageStarted"]
    before = [event for event in steps(events) if event.clock.stage == 0][-1]
    for kind in SPACES["darts"].kinds:
        assert torch.equal(started[1].alpha[kind], before.alpha[kind])
    moved = any(
        not torch.equal(started[0].alpha[kind], before.alpha[kind]) for kind in before.alpha
    )
    assert moved == (name == "darts_pt")
