"""Methods as values: differences, changes, stages put in front, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from functools import partial

import pytest

from workbench.method import Method, Stage, differences, part_text
from workbench.parts.arch_gradients import Unrolled, first_order, single_level
from workbench.parts.derivations import EdgeArgmax, as_published, surviving_edges
from workbench.parts.edges import WeightedSum
from workbench.parts.inits import Constant, Normal
from workbench.parts.pruners import ExactZeros
from workbench.parts.relaxations import Entmax, Softmax
from workbench.parts.schedules import Alternating, Joint, Linear, WeightsOnly
from workbench.parts.transitions import keep_weights
from workbench.parts.weight_optimizers import Sgd


@dataclass(frozen=True)
class Chain:
    rest: object = None


class Plain:
    """A part that is no dataclass."""

    def __init__(self, size: int) -> None:
        self.size, self.seen = size, []


BASE = Method("base", "arXiv:1806.09055", "The base.")
WARM_UP = Stage(name="warm_up", epochs=2, schedule=WeightsOnly())


def test_a_method_that_says_nothing_is_first_order_darts() -> None:
    (stage,) = BASE.stages
    assert stage == Stage()
    assert (stage.epochs, stage.batch_size, stage.train_portion) == (50, 64, 0.5)
    assert stage.relaxation == Softmax()
    assert stage.edge is WeightedSum
    assert stage.arch_gradient is first_order
    assert stage.schedule == Alternating(weight_steps=1, order="arch_first")
    assert stage.init == Normal(1e-3)
    assert (stage.pruner, stage.stop, stage.regularizers) == (None, None, ())
    assert BASE.derivation is as_published


# Changes


def test_but_changes_what_it_names_and_leaves_the_parent_alone() -> None:
    other = BASE.but(name="other", relaxation=Entmax(3.0), derivation=surviving_edges, epochs=9)
    assert (other.name, other.paper) == ("other", BASE.paper)
    assert other.derivation == EdgeArgmax(connected=True)
    assert other.stages == (Stage(relaxation=Entmax(3.0), epochs=9),)
    assert BASE == Method("base", "arXiv:1806.09055", "The base.")


def test_a_change_that_changes_nothing_gives_an_equal_method() -> None:
    assert BASE.but() == BASE
    assert BASE.but(epochs=50) == BASE
    assert hash(BASE.but()) == hash(BASE)


def test_but_reaches_every_search_stage_and_no_other() -> None:
    two = BASE.but(stages=(WARM_UP, Stage(), Stage(epochs=7)))
    changed = two.but(batch_size=8)
    assert [stage.batch_size for stage in changed.stages] == [64, 8, 8]
    assert [stage.epochs for stage in changed.stages] == [2, 50, 7]


def test_stages_given_with_a_field_are_changed_too() -> None:
    changed = BASE.but(stages=(WARM_UP, Stage(epochs=3)), batch_size=8)
    assert [stage.batch_size for stage in changed.stages] == [64, 8]


def test_an_unknown_field_is_refused_with_what_there_is() -> None:
    with pytest.raises(TypeError, match=r"a method has no pruning, tau; it has .*pruner"):
        BASE.but(pruning=ExactZeros(), tau=1.0)


def test_methods_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        BASE.name = "other"


def test_a_stage_put_in_front_hands_weights_and_alphas_on() -> None:
    warmed = BASE.but(epochs=9).after(WARM_UP, carry=keep_weights)
    assert warmed.stages[0] is WARM_UP
    assert warmed.stages[1] == Stage(epochs=9, init=None, carry=keep_weights)
    assert len(warmed.stages) == 2
    twice = warmed.after(WARM_UP, carry=keep_weights)
    assert [stage.init for stage in twice.stages] == [Normal(1e-3), None, None]
    assert warmed.name == BASE.name


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", -1, "`epochs` must be at least 0, not -1"),
        ("batch_size", 0, "`batch_size` must be at least 1, not 0"),
        ("train_portion", 0.0, r"`train_portion` must be in \(0, 1\], not 0.0"),
        ("train_portion", 1.5, r"`train_portion` must be in \(0, 1\], not 1.5"),
        ("train_portion", float("nan"), "`train_portion` must be in"),
    ],
)
def test_an_impossible_stage_is_refused_at_construction(
    field: str, value: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Stage(**{field: value})
    with pytest.raises(ValueError, match=message):
        BASE.but(**{field: value})


# Differences


def test_a_method_does_not_differ_from_itself() -> None:
    assert differences(BASE, BASE.but(name="twin", summary="Same.")) == ()
    assert str(differences(BASE, BASE)) == "no difference"


def test_differences_are_the_fields_that_changed() -> None:
    other = BASE.but(relaxation=Entmax(2.0), schedule=Joint(), derivation=surviving_edges)
    assert str(differences(BASE, other)) == (
        "relaxation: Softmax(temperature=1.0) → Entmax(alpha=2.0)\n"
        "schedule: Alternating(weight_steps=1, order='arch_first', warmup_epochs=0) → Joint()\n"
        "derivation: as_published → EdgeArgmax(connected=True)"
    )
    assert repr(differences(BASE, other)) == str(differences(BASE, other))


def test_differences_backwards_are_the_same_fields_turned_round() -> None:
    other = BASE.but(relaxation=Entmax(2.0), pruner=ExactZeros(hold=False), init=Constant())
    there, back = differences(BASE, other), differences(other, BASE)
    assert [(d.field, d.before, d.after) for d in there] == [
        (d.field, d.after, d.before) for d in back
    ]
    assert [d.field for d in there] == ["init", "relaxation", "pruner"]


def test_a_warm_up_put_in_front_shows_as_itself() -> None:
    warmed = BASE.after(WARM_UP, carry=keep_weights)
    rows = differences(BASE, warmed)
    assert [row.field for row in rows] == ["stage warm_up", "init", "carry"]
    assert rows[0].before == "(none)"
    assert rows[0].after == "Stage(epochs=2, schedule=WeightsOnly())"
    assert str(rows[2]) == "carry: None → keep_weights"
    assert [row.field for row in differences(warmed, BASE)] == [row.field for row in rows]
    assert differences(warmed, BASE)[0].after == "(none)"


def test_differences_of_methods_with_several_stages_name_the_stage() -> None:
    warmed = BASE.after(WARM_UP, carry=keep_weights)
    rows = differences(warmed, warmed.but(batch_size=8))
    assert [str(row) for row in rows] == ["search.batch_size: 64 → 8"]


# Texts


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (first_order, "first_order"),
        (WeightedSum, "WeightedSum"),
        (Unrolled(exact=True), "Unrolled(steps=1, exact=True, radius=0.01)"),
        (Entmax(Linear(1.0, 3.0)), "Entmax(alpha=Linear(start=1.0, end=3.0))"),
        ((Joint(), single_level), "(Joint(), single_level)"),
        (None, "None"),
        (0.5, "0.5"),
        ("search", "'search'"),
        (partial(first_order, 2, radius=Linear(0.0, 1.0)),
         "partial(first_order, 2, radius=Linear(start=0.0, end=1.0))"),
        (Plain(3), "Plain(size=3, seen=list)"),
    ],
)  # fmt: skip
def test_a_part_is_written_as_it_is_constructed(part: object, text: str) -> None:
    assert part_text(part) == text


def made(weight: float, seen: list[int], rule: object = first_order) -> Callable[..., float]:
    def term(view: object, mixtures: object, power: int = 2) -> float:
        seen.append(1)
        return weight**power if rule else term(view, mixtures)

    return term


def test_what_a_function_keeps_of_where_it_was_made_is_part_of_it() -> None:
    seen: list[int] = []
    term = made(0.5, seen)
    text = part_text(term)
    assert text == "term[rule=first_order, seen=list, term=term[rule=first_order, seen=list, " + (
        "term=term, weight=0.5, power=2], weight=0.5, power=2]"
    )
    term(None, None)
    assert part_text(term) == text  # what may change as a search goes on is none of it
    assert part_text(made(0.5, seen, Unrolled())) != text
    one, other = (BASE.but(regularizers=(made(w, seen),)) for w in (1.0, 1000.0))
    assert one.describe() != other.describe()
    assert str(differences(one, other)) != "no difference"


def test_lambdas_are_told_apart_by_what_they_compute() -> None:
    one, same, other = lambda view: 1.0, lambda view: 1.0, lambda view: 2.0
    assert part_text(one) == part_text(same)
    assert part_text(one) != part_text(other)
    assert part_text(one).startswith("lambda ")
    inner = [(lambda: [x + 1 for x in ()]), (lambda: [x + 2 for x in ()])]
    assert part_text(inner[0]) != part_text(inner[1])


def test_a_text_is_the_same_in_every_process() -> None:
    code = (
        "from workbench.part_text import part_text; import torch; from functools import partial\n"
        "class A:\n    __slots__ = ()\n    def f(self): ...\n"
        "rule = lambda op: op in {'skip_connect', 'none', 'max_pool_3x3'}\n"
        "print(part_text((rule, A().f, [A()], {'a': A()}, torch.relu, partial(A().f))))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    (text,) = said
    assert text.endswith(", A().f, [A()], {'a': A()}, relu, partial(A().f))\n")


def test_a_text_ends() -> None:
    itself = Chain()
    object.__setattr__(itself, "rest", itself)
    deep: tuple[object, ...] = ()
    for _ in range(3_000):
        deep = (deep,)
    for part in (itself, deep, made(1.0, [], "x" * 10**6), ("y" * 10**6,), tuple(range(10**5))):
        assert len(part_text(part)) < 5_000
    assert part_text("x" * 10**6 + "1") != part_text("x" * 10**6 + "2")


def test_a_description_is_plain_text_about_every_field() -> None:
    described = BASE.after(WARM_UP, carry=keep_weights).describe()
    assert json.loads(json.dumps(described)) == described
    assert (described["name"], described["derivation"]) == ("base", "as_published")
    assert [stage["name"] for stage in described["stages"]] == ["'warm_up'", "'search'"]
    assert described["stages"][1]["carry"] == "keep_weights"
    assert described["stages"][0]["weight_optimizer"] == part_text(Sgd())
    assert set(described["stages"][0]) == set(Stage.__dataclass_fields__)
