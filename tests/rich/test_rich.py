from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import ClassVar

import pytest
from IPython.core.interactiveshell import InteractiveShell

import workbench as wb
from tests.fakes import fake_evaluation, fake_events, fake_run
from workbench import methods
from workbench.events import Evaluated
from workbench.rich import _HTML, _SVG, register
from workbench.spaces.named import named
from workbench.trace import Runs, find_runs, open_run, record, record_evaluation


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """IPython as a notebook has it, which was told how objects show themselves."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


@pytest.fixture
def shown(shell, monkeypatch):
    """What a notebook is given of a value, by MIME type."""
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert register()

    def data(value: object) -> dict[str, str]:
        return shell.display_formatter.format(value)[0]

    return data


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not open."""

    void: ClassVar = {"br", "img", "meta"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


VALUES = {
    "Machine": wb.Machine(device="cpu", threads=2),
    "SearchConfig": wb.SearchConfig(method="pc_darts", epochs=3),
    "EvaluateConfig": wb.EvaluateConfig(channels=8),
    "Method": methods.pc_darts,
    "Stage": methods.pc_darts.stages[0],
    "Differences": wb.differences(methods.darts, methods.pc_darts),
    "Walk": methods.random_search,
    "Space": wb.darts(),
    "CellShape": wb.darts().cells[0],
}
SAYS = {
    "Machine": "threads",
    "SearchConfig": "workbench search --method pc_darts --epochs 3",
    "EvaluateConfig": "workbench evaluate RUN --channels 8",
    "Method": "PartialChannels(k=4, edge=WeightedSum)",
    "Stage": "16 slots as in darts",
    "Differences": "batch_size",
    "Walk": "RandomGenotypes()",
    "Space": "× 10<sup>18</sup> genotypes",
    "CellShape": "normal:0→2",
}


@pytest.mark.parametrize("name", VALUES)
def test_a_notebook_shows(name, shown):
    html = shown(VALUES[name])["text/html"]
    Balanced(html)
    assert SAYS[name].replace("16 slots", "15 slots") in html


def test_every_view_is_of_a_class_that_is_there(shown, tmp_path):
    for name in {**_HTML, **_SVG}:
        module, _, kind = name.rpartition(".")
        __import__(module)
        assert hasattr(sys.modules[module], kind), name


def test_a_method_marks_what_differs_from_darts_and_folds_the_rest(shown):
    html = shown(methods.pc_darts)["text/html"]
    top, folded = html.split("<details")
    assert "edge_weights" in top
    assert "SoftmaxEdges" in top
    assert "in darts" in top
    assert "arch_gradient" in folded
    assert "●" not in folded
    assert "every slot as in darts" in shown(methods.darts)["text/html"]


def test_every_method_shows_itself_and_prints_in_a_few_lines(shown):
    for method in methods.named().values():
        Balanced(shown(method)["text/html"])
        assert len(repr(method)) < 1000, method.name
        assert method.paper in repr(method)


def test_a_finished_run_shows_figures_and_cells_and_a_list_of_runs_a_row_each(shown, tmp_path):
    run = fake_run(tmp_path / "one")
    html = shown(run)["text/html"]
    Balanced(html)
    assert "✓ finished" in html
    assert "test accuracy" in html
    assert "<svg" in html
    assert "progressbar" not in html
    fake_run(tmp_path / "two", seed=1)
    rows = shown(find_runs([tmp_path]))["text/html"]
    Balanced(rows)
    assert rows.count("✓ finished") == 2
    assert "3 of 3" in rows


def test_a_run_says_how_it_ended_also_before_its_first_epoch(shown, tmp_path):
    assert "reached its last epoch, 3 of 3" in shown(fake_run(tmp_path / "run"))["text/html"]
    events = record(fake_events(), tmp_path / "early", meta={})
    assert next(events)
    with pytest.raises(OSError, match="no room"):
        events.throw(OSError("no <room>, no room"))
    html = shown(open_run(tmp_path / "early"))["text/html"]
    Balanced(html)
    assert "✗ failed" in html
    assert "failed after 0 of 3 epochs: OSError: no &lt;room&gt;, no room" in html


def test_a_list_of_runs_has_the_mean_accuracy_as_a_comparison_has(shown, tmp_path):
    for name, accuracies in {"first_is_best": (0.9, 0.7), "mean_is_best": (0.8, 0.84)}.items():
        found = fake_run(tmp_path / name, evaluated=False).genotype
        for seed, accuracy in enumerate(accuracies):
            told = (
                replace(event, test_accuracy=accuracy) if isinstance(event, Evaluated) else event
                for event in fake_evaluation(found)
            )
            list(record_evaluation(told, tmp_path / name, recipe={"seed": seed}))
    html = shown(find_runs([tmp_path]))["text/html"]
    assert "80.00 % (mean of 2 trainings)" in html
    assert "82.00 % (mean of 2 trainings)" in html
    assert "90.00 %" not in html


def test_a_run_that_goes_on_shows_how_far_it_is(shown, tmp_path):
    events = record(fake_events(epochs=4, steps_per_epoch=2), tmp_path / "run", meta={})
    for event in events:
        if type(event).__name__ == "EpochEnded":
            break
    html = shown(open_run(tmp_path / "run"))["text/html"]
    events.close()
    Balanced(html)
    assert "running" in html
    assert "1 of 4 epochs" in html
    assert 'aria-valuenow="1"' in html


def test_text_from_outside_is_escaped(shown, tmp_path):
    bad = "<script>alert(1)</script>"
    run = fake_run(tmp_path / "run", meta={"method": bad, "seed": bad})
    values = [
        run,
        Runs([run]),
        replace(methods.darts, name=bad, summary=bad, paper=bad),
        replace(methods.random_search, name=bad, summary=bad),
        wb.SearchConfig(out=bad),
    ]
    for value in values:
        html = shown(value)["text/html"]
        assert "<script>" not in html
        assert "&lt;script&gt;" in html


def test_a_genotype_shows_its_cells_and_how_often_each_operation_occurs(shown, tmp_path):
    genotype = fake_run(tmp_path / "run").genotype
    data = shown(genotype)
    Balanced(data["text/html"])
    op, count = next(iter(genotype.op_counts().items()))
    assert f"{count} × {op}" in data["text/html"]
    assert data["text/html"].count("<svg") == 2
    assert data["image/svg+xml"].startswith("<svg")
    assert data["text/plain"].splitlines()[0].startswith("normal  2 ← ")
    assert shown([genotype])["text/plain"] == f"[{genotype!r}]"


def test_genotypes_are_counted_where_the_field_counts_them():
    assert named("nasbench201").genotypes == 15625
    # arXiv:1806.09055, section 3.1: per cell, pairs of inputs and seven operations on each
    assert wb.darts().genotypes == (1 * 3 * 6 * 10 * 7**8) ** 2


def test_values_print_in_a_line(tmp_path):
    assert repr(wb.darts()) == (
        "<Space darts: normal: 14 edges × 8 ops, reduce: 14 edges × 8 ops; 8 cells, 16 channels>"
    )
    assert repr(wb.Machine(device="cpu")) == "Machine(device='cpu')"
    assert repr(wb.SearchConfig(method="darts")) == "SearchConfig(method='darts')"
    assert repr(methods.darts) == "<Method darts (arXiv:1806.09055): Stage()>"
    assert "edge=PartialChannels()" in repr(methods.pc_darts)
    assert repr(methods.random_search).startswith("<Walk random_search (arXiv:1902.07638): 20 ca")
    assert "LimitedSkips(" in repr(methods.p_darts)
    text = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    assert eval(repr(wb.Genotype.parse(text)), {"Genotype": wb.Genotype}) == wb.Genotype.parse(text)


def test_nothing_is_loaded_before_something_is_shown():
    lines = """
import sys
import workbench
assert "workbench.rich" not in sys.modules  # without IPython
del sys.modules["workbench"]
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import workbench
assert "workbench.rich" in sys.modules
loaded = {"torch", "plotly", "pandas", "workbench.plots", "workbench.trace"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-W", "error", "-c", lines], check=True)
