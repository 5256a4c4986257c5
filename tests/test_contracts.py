"""Slips in parts of one's own: each is one line that names the part, the rule and the remedy."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tiny import CPU, SPACES, assert_same, moved, searched, shrunk, tiny_data, trajectory
from workbench import methods
from workbench.contracts import PartError
from workbench.events import Derived
from workbench.method import Method
from workbench.parts.arch_gradients import first_order
from workbench.protocols import Mixtures, Regularizer, View
from workbench.search import search
from workbench.spaces.darts import darts
from workbench.spaces.space import Space
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
