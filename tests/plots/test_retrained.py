"""A figure that shows the first of several trainings says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.fakes import fake_evaluation, fake_events, fake_run
from workbench.events import Evaluated, Probed, Stepped
from workbench.plots import evaluation, gap, summary_table, summary_table_frame
from workbench.trace import Run, open_run, record, record_evaluation

SAID = "first of 2 trainings (seed 3); mean 85.00 %"


@pytest.fixture
def twice(tmp_path: Path) -> Run:
    """Trained with seed 3 to 90 %, then with seed 1 to 80 %; with its gap measured."""
    path = tmp_path / "twice"
    list(record(with_gap(), path))
    for seed, accuracy in ((3, 0.9), (1, 0.8)):
        found = open_run(path).genotype
        assert found is not None
        events = (
            replace(event, test_accuracy=accuracy) if isinstance(event, Evaluated) else event
            for event in fake_evaluation(found)
        )
        list(record_evaluation(events, path, recipe={"seed": seed}))
    return open_run(path)


def with_gap():
    for event in fake_events():
        yield event
        if isinstance(event, Stepped):
            values = {"accuracy_supernet": 0.9, "accuracy_masked": 0.5}
            yield Probed(event.clock, {k: torch.tensor(v) for k, v in values.items()})


def test_summary_gap_and_evaluation_say_which_training_they_show(twice: Run) -> None:
    values = summary_table_frame(twice).set_index("name")["value"]
    assert (values["test accuracy"], values["trainings"]) == ("90.00 %", SAID)
    assert f"test accuracy<br><small>{SAID}</small>" in summary_table(twice)._repr_html_()
    for draw in (gap, evaluation):
        said = draw(twice).layout.title.subtitle.text
        assert "90.00 %" in said
        assert said.endswith(SAID)


def test_of_one_training_there_is_nothing_to_say(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    assert summary_table_frame(run).set_index("name")["value"]["trainings"] == "–"
    assert "<small>" not in summary_table(run)._repr_html_()
    assert "trainings" not in evaluation(run).layout.title.subtitle.text
