"""Runs side by side: tables, agreement, figures, the report."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from tests.fakes import fake_run
from workbench import comparison, plots
from workbench.cli import main
from workbench.config import SearchConfig
from workbench.evaluate_config import EvaluateConfig
from workbench.evaluating import run_evaluation
from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.tasks import run_search
from workbench.trace import Run, RunError, find_runs
from workbench.trace.folder import read_sealed, write_sealed

TINY = {"channels": 4, "cells": 3, "nodes": 1, "epochs": 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    place = tmp_path_factory.mktemp("runs")
    for method, seed in (("darts_small", 0), ("darts_small", 1), ("single_level_small", 0)):
        out = place / f"{method}-{seed}"
        run_search(SearchConfig(method=method, seed=seed, out=out, **TINY), quiet=True)
        if seed == 0:
            run_evaluation(out, EvaluateConfig(epochs=1, channels=4), quiet=True)
    return find_runs([place])


def genotype(*genes: Gene) -> Genotype:
    return Genotype((CellGenes("normal", 2, 2, genes, (2, 3)),))


def test_runs_are_found_in_a_folder_of_them_or_one_by_one(runs):
    names = ["darts_small-0", "darts_small-1", "single_level_small-0"]
    assert [run.path.name for run in runs] == names
    again = find_runs([runs[2].path, runs[0].path.parent])
    assert [run.path.name for run in again] == [names[2], *names[:2]]
    with pytest.raises(RunError, match="no run folder"):
        find_runs([runs[0].path / "trace.zarr"])
    with pytest.raises(RunError, match="no run was named"):
        find_runs([])


def test_a_run_named_twice_by_whatever_path_is_one_seed(tmp_path: Path, monkeypatch):
    for name in ("a", "b"):
        fake_run(tmp_path / name, evaluated=False)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    found = find_runs(["b", tmp_path / "b", tmp_path / "link", "a", tmp_path])
    assert [str(run.path) for run in found] == ["b", str(tmp_path / "link")]
    assert comparison.methods_frame(found)["runs"].tolist() == [2]


def test_a_row_per_run_and_a_row_per_method_agree(runs):
    frame, methods = comparison.runs_frame(runs), comparison.methods_frame(runs)
    assert list(frame["method"]) == ["darts_small", "darts_small", "single_level_small"]
    assert list(frame["seed"]) == [0, 1, 0]
    darts = methods.set_index("method").loc["darts_small"]
    own = frame[frame["method"] == "darts_small"]
    assert darts["runs"] == 2
    assert darts["seconds"] == pytest.approx(own["seconds"].mean())
    assert darts["seconds_sd"] == pytest.approx(own["seconds"].std(ddof=1))
    assert darts["test_accuracy"] == own["test_accuracy"].iloc[0]  # the only evaluated one
    assert math.isnan(darts["accuracy_search_sd"])
    single = methods.set_index("method").loc["single_level_small"]
    assert math.isnan(single["same_genes"])


def test_agreement_is_what_two_genotypes_share_of_what_either_has():
    a = genotype(Gene("skip_connect", 0, 2), Gene("none", 1, 2), Gene("sep_conv_3x3", 0, 3))
    b = genotype(Gene("skip_connect", 0, 2), Gene("sep_conv_3x3", 1, 2))
    found = comparison.agreement([a, b])
    assert found["same_genes"] == 1 / 4  # one of a's three and b's two
    assert found["same_edges"] == 2 / 3
    assert comparison.agreement([a, a, a]) == {"same_genes": 1.0, "same_edges": 1.0}
    three = comparison.agreement([a, a, b])
    assert three["same_genes"] == pytest.approx((1 + 1 / 4 + 1 / 4) / 3)
    assert math.isnan(comparison.agreement([a])["same_edges"])


def test_two_genotypes_without_genes_are_the_same_and_share_nothing_with_others():
    empty = genotype()
    assert comparison.agreement([empty, empty]) == {"same_genes": 1.0, "same_edges": 1.0}
    other = genotype(Gene("skip_connect", 0, 2))
    assert comparison.agreement([empty, other]) == {"same_genes": 0.0, "same_edges": 0.0}


def test_settings_are_those_that_differ_alone(runs):
    frame = comparison.settings_frame(runs)
    assert set(frame.columns) == {"run", "method", "seed"}


def test_curves_are_means_over_seeds_at_equal_progress(runs):
    frame = comparison.curves_frame(runs, "loss_train").set_index("method")
    values = [float(run.epochs["loss_train"].iloc[0]) for run in runs[:2]]
    assert frame.loc["darts_small", "mean"] == pytest.approx(sum(values) / 2)
    assert frame.loc["darts_small", "runs"] == 2
    assert frame.loc["darts_small", "progress"] == 1.0
    assert comparison.curves_frame(runs, "no_such").empty


def test_the_table_people_read_is_sorted_and_keeps_one_search_without_a_deviation(runs):
    table = comparison.honest_table(runs)
    best = comparison.methods_frame(runs).sort_values("test_accuracy", ascending=False)
    assert list(table["method"]) == list(best["method"])
    lines = comparison.markdown(table).splitlines()
    assert len(lines) == 2 + len(table)
    assert "±" not in next(line for line in lines if "single_level" in line)


def test_an_accuracy_above_the_table_of_nasbench201_is_told_from_one_that_was_looked_up(
    tmp_path: Path,
):
    meta = {"method": {"name": "darts"}, "data": {"name": "cifar10"}}
    low = fake_run(tmp_path / "low", kinds=("cell",), nodes=3, meta=meta)
    assert not comparison.above_the_table(low)
    evaluation = low.path / "evaluation.json"
    write_sealed(evaluation, {**read_sealed(evaluation), "test_accuracy": 0.9734})
    high = find_runs([low.path])[0]
    assert comparison.above_the_table(high)
    assert "97.34 (retrained" in comparison.honest_table([high])["test accuracy (%)"][0]
    other = fake_run(tmp_path / "other", meta=meta)
    assert not comparison.above_the_table(other)


def test_figures_show_every_evaluated_run_and_say_when_there_is_none(runs):
    frame = plots.accuracy_frame(runs)
    assert len(frame) == 2
    assert (frame["accuracy"] <= 100).all()
    figure = plots.accuracy(runs)
    dots = [trace for trace in figure.data if "markers" in trace.mode and not trace.name]
    assert sorted(x for trace in dots for x in trace.x) == sorted(frame["accuracy"])
    named = plots.accuracy_against_time(runs).data[0]
    assert set(named.customdata) == set(frame["method"].astype(str))
    assert set(named.text) == {"darts", "single_level"}
    sides = dict(zip(named.x, named.textposition, strict=True))  # towards the middle
    assert sides[min(named.x)].endswith("right")
    assert sides[max(named.x)].endswith("left")
    lines = [trace.name for trace in plots.curves(runs).data if trace.name]
    assert lines == ["darts_small", "single_level_small"]
    assert "evaluated" in plots.accuracy([runs[1]]).layout.annotations[0].text
    assert "no_such" in plots.curves(runs, "no_such").layout.annotations[0].text


def test_compare_writes_a_report_and_a_table(runs, tmp_path: Path, capsys):
    out, csv = tmp_path / "compare.html", tmp_path / "runs.csv"
    latex, markdown = tmp_path / "table.tex", tmp_path / "table.md"
    files = ["--csv", str(csv), "--latex", str(latex), "--markdown", str(markdown)]
    folder = tmp_path / "with a blank"
    folder.symlink_to(runs[0].path.parent, target_is_directory=True)
    main(["compare", str(folder), "--out", str(out), *files])
    said = capsys.readouterr().out
    assert "| darts_small | 2 |" in said
    assert said.endswith(f"{out} ({out.stat().st_size / 1e6:.1f} MB)\n")
    page = out.read_text(encoding="utf-8")
    assert "Comparison of 3 runs" in page
    assert "single_level_small" in page
    assert len(pd.read_csv(csv)) == 3
    assert out.stat().st_size < 12 * 2**20
    assert r"darts\_small" in latex.read_text(encoding="utf-8")
    assert "| darts_small |" in markdown.read_text(encoding="utf-8")
    assert "±: standard deviation over searches" in markdown.read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path), "--out", str(out)])
    assert "no run folder" in capsys.readouterr().err
