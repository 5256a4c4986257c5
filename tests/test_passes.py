"""Passes of a step are counted, and the list of methods tells them."""

from __future__ import annotations

import json

import pytest

from workbench import methods
from workbench.cli import main
from workbench.listing import card, listed, table
from workbench.parts.arch_gradients import Unrolled
from workbench.parts.schedules import Alternating, WeightsOnly
from workbench.passes import Passes, passes
from workbench.walk import Walk


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [
        ("darts", 2, 2),  # one for alphas, one for weights
        ("darts_second_order", 5, 5),  # train, held out, two sides of a difference; weights
        ("milenas", 3, 3),
        ("single_level", 1, 1),
        ("multi_step", 1.2, 1.2),  # five for weights to one for alphas
        ("amended", 6, 6),
        ("d_darts", 11, 11),  # darts, the held-out loss, and it without each of eight cells
    ],
)
def test_passes_are_those_of_the_formula(name, forward, backward):
    found = passes(getattr(methods, name))
    assert found.forward == pytest.approx(forward)
    assert found.backward == pytest.approx(backward)


def test_differentiating_through_the_virtual_step_goes_back_through_the_net_once_more():
    exact = passes(methods.darts.but(arch_gradient=Unrolled(exact=True)))
    assert exact.forward < 5
    assert exact.backward >= exact.forward


def test_a_warm_up_is_not_what_is_counted_and_a_stage_without_alphas_is():
    waiting = methods.darts.but(schedule=Alternating(warmup_epochs=15))
    assert passes(waiting) == passes(methods.darts)
    assert passes(methods.darts.but(schedule=WeightsOnly())) == Passes(1.0, 1.0)


def test_the_list_as_data_has_what_the_table_has(capsys):
    main(["methods", "milenas", "--json"])
    row = json.loads(capsys.readouterr().out)
    assert {"name", "paper", "differs", "passes"} <= set(row)
    assert row["differs"] == ["arch_gradient: first_order → MixedLevel(train=1.0, val=1.0)"]
    assert row["passes"] == {"forward": 3.0, "backward": 3.0}


def test_the_table_has_every_method_once_under_its_family():
    rows = [listed(getattr(methods, name)) for name in ("darts", "single_level", "multi_step")]
    lines = table(rows).splitlines()
    told = [line.split()[:2] for line in lines if line.startswith(("darts", "single", "multi"))]
    assert told == [["darts", "2+2"], ["single_level", "1+1"], ["multi_step", "1.2+1.2"]]
    assert sum(line.startswith("# ") for line in lines) == 3
    assert "schedule: Alternating(" in card(rows[2])
    assert methods.family("darts_small") == methods.family("darts")


def test_every_method_has_a_small_form_that_lasts_twelve_epochs_or_one_a_stage():
    for name, method in methods.named().items():
        small = getattr(methods, f"{name}_small")
        assert small.name == f"{name}_small"
        if isinstance(method, Walk):
            assert small.candidates <= 64
            continue
        own = [stage.epochs for stage in small.stages if stage.name != "warm_up"]
        assert len(small.stages) == len(method.stages)
        rounds = {"te_nas": 7}  # of pruning: it has no passes over images
        assert sum(own) == rounds.get(name, max(12, len(method.stages)))
        assert all(stage.batch_size <= 64 for stage in small.stages)
    assert methods.darts_small.stages[0].arch_optimizer.lr == 5e-3
    with pytest.raises(AttributeError, match="no_such"):
        getattr(methods, "no_such")  # noqa: B009
    assert methods.find("no_such_small") is None
