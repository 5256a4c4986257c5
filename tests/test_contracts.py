"""Slips in parts of one's own: each is one line that names the part, the rule and the remedy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tiny import (
    CPU,
    SPACES,
    assert_same,
    moved,
    searched,
    shrunk,
    steps,
    tiny_data,
    trajectory,
)
from workbench import methods
from workbench.contracts import PartError, fits
from workbench.events import Derived
from workbench.method import Method, Stage
from workbench.parts.arch_gradients import first_order
from workbench.parts.edges import WeightedSum
from workbench.parts.inits import Normal
from workbench.parts.objectives import CrossEntropy
from workbench.parts.relaxations import Softmax
from workbench.parts.schedules import Joint
from workbench.protocols import Loss, Mixtures, Regularizer, Rows, View
from workbench.search import search
from workbench.spaces.darts import darts
from workbench.spaces.genotype import GenotypeError
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import Space, SpaceError
from workbench.trace import open_run, record

ROOT = Path(__file__).parents[1]
DARTS = SPACES["darts"]


def refused(line: str, method: Method, space: Space = DARTS) -> None:
    """A search by `method` ends with an error that begins with `line`, and is one line."""
    with pytest.raises(PartError) as caught:
        searched(shrunk(method), space)
    assert str(caught.value).startswith(line), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", [True, False, 1, 3.5, ["enough"], np.True_, torch.tensor(True)])
def test_a_reason_to_stop_is_text(said: object) -> None:
    def rule(view: object) -> object:
        return said

    refused("the rule to stop rule returned ", methods.darts.but(stop=rule))


def test_a_run_whose_rule_said_yes_is_failed_and_can_be_read(tmp_path: Path) -> None:
    method, path = shrunk(methods.darts.but(stop=lambda view: True)), tmp_path / "run"
    with pytest.raises(PartError, match="returned True; it returns the reason to stop as text"):
        list(record(search(method, DARTS, tiny_data(), machine=CPU), path))
    run = open_run(path)
    assert run.header["status"] == "failed"
    assert len(run.epochs) == 1


@pytest.mark.parametrize(
    "said",
    [("alpha", "weights"), "weights", ("weight",), None, {"weights"}, ("arch", 1), [["arch"]]],
)
def test_a_schedule_names_weights_arch_and_joint_in_a_sequence(said: object) -> None:
    def who(clock: object) -> object:
        return said

    refused("the schedule who returned ", methods.darts.but(schedule=who))


def test_a_schedule_may_return_a_list_and_move_nobody() -> None:
    lists = methods.darts.but(schedule=lambda clock: ["arch", "weights"])
    usual = trajectory(searched(shrunk(methods.darts), DARTS))
    assert_same(trajectory(searched(shrunk(lists), DARTS)), usual)
    nobody = searched(shrunk(methods.darts.but(schedule=lambda clock: [])), DARTS)
    assert not moved(nobody)


def skips(view: View, mixtures: Mixtures) -> Tensor:
    """What every edge gives to `skip_connect`."""
    column = view.space.cells[0].columns.index("skip_connect")
    return torch.stack([mixture.ops[:, column].mean() for mixture in mixtures.values()]).sum()


def test_a_constant_regularizer_adds_nothing() -> None:
    def later(view: View, mixtures: Mixtures) -> Tensor:
        return torch.tensor(2.0) if view.clock.epoch < 9 else skips(view, mixtures)

    def same(a: tuple[Regularizer, ...], b: tuple[Regularizer, ...]) -> None:
        left, right = (searched(shrunk(methods.darts.but(regularizers=r)), DARTS) for r in (a, b))
        assert_same(trajectory(left), trajectory(right))
        assert moved(left)

    same((later,), ())
    same((later, skips), (skips,))


def test_the_template_of_a_regularizer_takes_a_space_without_its_operation() -> None:
    found = spec_from_file_location("my_method", ROOT / "notebooks" / "my_method.py")
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    sys.modules["my_method"] = module  # where its dataclasses look for their types
    found.loader.exec_module(module)
    space = darts(channels=4, cells=3, nodes=1, ops=("skip_connect", "sep_conv_3x3"))
    events = searched(shrunk(module.mine), space)
    assert isinstance(events[-1], Derived)


@pytest.mark.parametrize("said", [0.0, None, torch.zeros(3), torch.zeros(0), [torch.zeros(())]])
def test_a_regularizer_is_a_scalar(said: object) -> None:
    def cheap(view: object, mixtures: object) -> object:
        return said

    refused("the regularizer cheap returned ", methods.darts.but(regularizers=(cheap,)))


def boom(bilevel: object, train: object, val: object) -> object:
    """An architecture gradient that nobody is to ask."""
    raise AssertionError("asked")


def test_a_gradient_that_joint_steps_leave_out_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    searched(shrunk(methods.single_level.but(arch_gradient=boom), epochs=2), DARTS)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("joint steps take the training loss's gradient for the alphas")
    assert "arch_gradient boom of stage search is not asked" in line
    caplog.clear()
    for method in (methods.single_level, methods.single_level.but(arch_gradient=first_order)):
        searched(shrunk(method), DARTS)
    searched(shrunk(methods.darts_second_order), DARTS)
    assert not caplog.records


# --- what is told before anything is built ------------------------------------------------------


class Bare:
    """A part that can be called, and no more; `every` and `row_sum` as a test sets them."""

    def __init__(self, **facts: object) -> None:
        vars(self).update(facts)

    def __call__(self, *args: object) -> object:
        return None


ASKED = "which a search asks for; add it, as workbench/protocols.py says"
SLIPS = {
    "a class": ({"relaxation": Softmax}, "relaxation is the class Softmax, and needs one of it"),
    "a class that is called": ({"schedule": Joint}, "schedule is the class Joint, and needs one"),
    "no row_sum": (
        {"relaxation": Bare(mix=1, sample=1)}, f"relaxation Bare has no `row_sum`, {ASKED}",
    ),
    "a typo in row_sum": (
        {"relaxation": Bare(mix=1, sample=1, row_sum="on")},
        "relaxation Bare has row_sum 'on'; choose one of 'one', 'positive', 'any'",
    ),
    "no every": ({"pruner": Bare()}, f"pruner Bare has no `every`, {ASKED}"),
    "a typo in every": (
        {"pruner": Bare(every="never")},
        "pruner Bare has every 'never'; choose one of 'step', 'epoch'",
    ),
    "no clip": ({"weight_optimizer": Bare()}, f"weight_optimizer Bare has no `clip`, {ASKED}"),
    "no lr_at": ({"weight_optimizer": Bare(clip=None)}, "weight_optimizer Bare has no `lr_at`"),
    "no needs_data": ({"objective": Bare()}, "objective Bare has no `needs_data`"),
    "nothing": ({"arch_gradient": None}, "arch_gradient NoneType has no `__call__`"),
    "not called": ({"stop": 3}, "stop int has no `__call__`"),
    "one regularizer": ({"regularizers": skips}, "regularizers is skips; write a tuple of parts"),
    "a list": ({"measures": [skips]}, "measures is list; write a tuple of parts, as (part,)"),
    "no derivation": ({"derivation": Bare}, "derivation is the class Bare, and needs one of it"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "line"), SLIPS.values(), ids=SLIPS)
def test_a_part_that_does_not_fit_is_told_before_anything_is_built(
    changes: dict[str, object], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.run.first_supernet", None)
    refused(line, methods.darts.but(**changes))


def test_a_class_that_makes_what_its_slot_builds_fits() -> None:
    class Rule:
        """A rule to stop that is a class: what it makes of a view is no reason."""

        def __new__(cls, view: View) -> None:
            return None

    fits(methods.darts.but(edge=WeightedSum, arch_optimizer=torch.optim.Adam, stop=Rule))


@pytest.mark.parametrize("name", methods.named())
def test_every_method_fits(name: str) -> None:
    method = methods.named()[name]
    if isinstance(method, Method):
        fits(method)


# --- what is told when it is handed back --------------------------------------------------------


@dataclass(frozen=True)
class Returns:
    """Every method of every slot, and what `name` returns is `value`; the rest are DARTS's."""

    name: str
    value: object = None
    row_sum = "one"
    every = "step"

    def _or(self, name: str, usual: object) -> object:
        return self.value if name == self.name else usual

    def __call__(self, *args: object) -> object:
        return self.value

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: object) -> object:
        return self._or("sample", self.mix(logits, alive, t))

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> object:
        return self._or("mix", Softmax().mix(logits, alive, t))

    def first(self, alive: Tensor, generator: torch.Generator) -> object:
        return self._or("first", torch.zeros(alive.shape))

    def kept(self, cell: object, alive: Tensor, t: float, generator: object) -> object:
        return self._or("kept", alive)

    def adjusted(self, before: Tensor, after: Tensor, alive: Tensor, kept: Tensor) -> object:
        return self._or("adjusted", after)


SMALL, HALF = torch.full((2, 7), 1 / 7), torch.full((2, 8), 0.5)
KINDS = "it returns a tensor for every kind of cell: {'normal': (2, 8), 'reduce': (2, 8)}"
GRADIENT = "it returns a tensor for each of bilevel.alphas, shaped like it: (2, 8), (2, 8)"


@pytest.mark.parametrize(
    ("slot", "name", "value", "said"),
    [
        ("relaxation", "mix", SMALL, "float32 (2, 7); it returns a tensor ("),
        ("relaxation", "mix", None, "None; it returns a tensor ("),
        ("relaxation", "sample", SMALL, "float32 (2, 7); it returns a tensor ("),
        ("edge_weights", "first", torch.zeros(3), "float32 (3,); it returns a tensor (1, 2)"),
        ("edge_weights", "mix", HALF, "float32 (2, 8); it returns a tensor (1, 2)"),
        ("op_dropout", "kept", HALF, "float32 (2, 8) for normal cells; it returns a bool mask ("),
        ("op_dropout", "adjusted", SMALL, "float32 (2, 7); it returns a tensor (2, 8)"),
        ("init", "", None, f"None; {KINDS}"),
        ("init", "", {"normal": HALF}, f"{{'normal'}}; {KINDS}"),
        ("init", "", {"normal": HALF, "reduce": SMALL}, "float32 (2, 7) for reduce cells; it"),
        ("pruner", "", None, f"None; {KINDS}"),
        ("pruner", "", {"reduce": HALF > 0}, f"{{'reduce'}}; {KINDS}"),
        ("pruner", "", {"normal": HALF, "reduce": HALF > 0}, "float32 (2, 8) for normal cells; it"),
        ("arch_gradient", "", None, f"(None); {GRADIENT}"),
        ("arch_gradient", "", (HALF,), f"(float32 (2, 8)); {GRADIENT}"),
        ("arch_gradient", "", [HALF, SMALL], f"(float32 (2, 8), float32 (2, 7)); {GRADIENT}"),
        ("arch_gradient", "", [HALF, None], f"(float32 (2, 8), None); {GRADIENT}"),
    ],
)  # fmt: skip
def test_what_a_part_hands_back_is_told_if_it_does_not_fit(
    slot: str, name: str, value: object, said: str
) -> None:
    whose = f"`{name}` of the {slot}" if name else f"the {slot}"
    method = methods.darts.but(**{slot: Returns(name, value)})
    refused(f"{whose} Returns returned {said}", method)


@dataclass(frozen=True)
class Loses(CrossEntropy):
    """An objective that returns what a test says."""

    returns: Callable[[Loss], object] = tuple

    def __call__(self, *args: object) -> object:
        return self.returns(CrossEntropy()(*args))


@pytest.mark.parametrize(
    ("returns", "line"),
    [
        (lambda loss: loss.value, "the objective Loses returned float32 (); it returns Loss("),
        (lambda loss: None, "the objective Loses returned None; it returns Loss(value, logs)"),
        (
            lambda loss: Loss(loss.value.expand(2), {}),
            "the objective Loses returned a loss that is ",
        ),
        (lambda loss: Loss(2.0, {}), "the objective Loses returned a loss that is 2.0; it is a"),
        (
            lambda loss: Loss(loss.value, {"loss": torch.zeros(())}),
            "the objective Loses returned logs with the name 'loss', under which its value is",
        ),
    ],
)
def test_an_objective_returns_its_loss_and_logs_under_other_names(
    returns: Callable[[Loss], object], line: str
) -> None:
    refused(line, methods.darts.but(objective=Loses(returns=returns)))


def test_parts_may_return_more_than_they_are_asked_for() -> None:
    """Kinds that are not there, a loss of one dimension, a list of gradients."""

    class More(Normal):
        def __call__(self, space: Space, net: object, generator: torch.Generator) -> Rows:
            return {**super().__call__(space, net, generator), "other": SMALL}

    def listed(*args: object) -> list[Tensor]:
        return [*first_order(*args)]

    objective = Loses(returns=lambda loss: Loss(loss.value[None], {"mine": loss.value.detach()}))
    more = methods.darts.but(init=More(1e-3), arch_gradient=listed, objective=objective)
    usual = [step.alpha for step in steps(searched(shrunk(methods.darts), DARTS))]
    for alpha, step in zip(usual, steps(searched(shrunk(more), DARTS)), strict=True):
        assert all(torch.equal(rows, step.alpha[kind]) for kind, rows in alpha.items())


def test_changes_that_reach_no_stage_are_told() -> None:
    other = Method("other", "", "", (Stage(name="mine"), Stage(name="last")))
    line = r"epochs would change the stages named 'search', and other has none \(mine, last\): name"
    with pytest.raises(ValueError, match=line):
        other.but(epochs=1)
    assert other.but(name="same", stages=(Stage(),)).but(epochs=1).stages[0].epochs == 1
    assert other.but(stages=(Stage(),), epochs=2).stages[0].epochs == 2


def test_a_space_that_no_supernet_is_built_of_is_told_at_once() -> None:
    with pytest.raises(SpaceError, match=r"family 'mine', which decides .* choose 'darts' or"):
        replace(DARTS, family="mine")
    with pytest.raises(SpaceError, match="'normal' has output 'sum'; choose 'concat' or 'last'"):
        replace(DARTS.cells[0], output="sum")
    for build in (darts, nasbench201):
        with pytest.raises(GenotypeError, match="there is no operation 'typo'; choose of none,"):
            build(ops=("none", "typo"))
        assert "sep_conv_5x5_d2_x3" in build(ops=("none", "sep_conv_5x5_d2_x3")).columns
