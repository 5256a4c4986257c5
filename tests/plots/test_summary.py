from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import fake_run
from workbench.plots import summary_table, summary_table_frame
from workbench.plots.summary import _count
from workbench.trace import Run


def values(run: Run) -> dict[str, str]:
    return summary_table_frame(run).set_index("name")["value"].to_dict()


def test_figures_are_those_of_the_evaluation(run: Run) -> None:
    table = values(run)
    assert table["test accuracy"] == "89.89 %"
    assert table["parameters"] == "54.3 k"
    assert table["pruned"] == "5 % of all candidates"
    assert table["operations left per edge"] == "7.60"
    assert "988 k multiply-adds" in table["cost of the network"]


def test_what_is_not_known_is_a_dash(unpruned: Run) -> None:
    table = values(unpruned)
    assert table["test accuracy"] == table["paper"] == "–"
    assert "<th" in summary_table(unpruned)._repr_html_()
    assert "paper</th>" not in summary_table(unpruned)._repr_html_()


def test_meta_may_be_names_or_descriptions(tmp_path: Path) -> None:
    meta = {
        "method": {"name": "darts", "paper": "arXiv:1806.09055"},
        "space": None,
        "data": {"name": "cifar10", "classes": []},
        "versions": {"torch": "2.11"},
        "command": "workbench search --method <darts>",
    }
    run = fake_run(tmp_path / "described", meta=meta, evaluated=False)
    table = values(run)
    assert (table["method"], table["paper"]) == ("darts", "arXiv:1806.09055")
    assert table["data"] == "cifar10"
    assert table["versions"] == "torch 2.11"
    assert "&lt;darts&gt;" in summary_table(run)._repr_html_()


def test_text_form_has_a_line_per_value(run: Run) -> None:
    assert len(str(summary_table(run)).splitlines()) == len(summary_table_frame(run))


def test_a_search_without_steps_has_a_table(started: Run) -> None:
    assert values(started)["status"] == "stopped"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"), (0, "0"), (999, "999"), (1000, "1 k"), (54_321, "54.3 k"),
        (999_400, "999 k"), (999_600, "1 M"), (999_999_999, "1 G"), (1_234_000_000_000, "1,234 G"),
    ],
)  # fmt: skip
def test_counts_are_no_powers_of_ten(value: int | None, said: str) -> None:
    assert _count(value) == said


def test_one_epoch_of_one_step_is_no_plural(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", epochs=1, steps_per_epoch=1)
    assert values(run)["epochs and steps"] == "1 epoch, 1 step"


def test_what_a_new_stage_leaves_out_was_not_pruned(tmp_path: Path) -> None:
    kept = fake_run(tmp_path / "kept", stages=2, prune=False)
    assert values(kept)["pruned"] == "0 % of all candidates; 12 % were left out by a new stage"
    both = values(fake_run(tmp_path / "both", stages=2, steps_per_epoch=4))
    # Of 80, 5 were pruned for good: 4 in the second stage, and 1 of those 10 that it leaves out.
    assert both["pruned"] == "6 % of all candidates; 11 % were left out by a new stage"


def test_python_shows_it_as_the_table_it_is(tmp_path: Path) -> None:
    table = summary_table(fake_run(tmp_path / "run"))
    assert repr(table) == str(table)
    assert repr(table).splitlines()[0].split()[0] == next(iter(table.values)).split()[0]
