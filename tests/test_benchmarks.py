"""Benchmarks run and say what they should; no time is judged."""

from __future__ import annotations

import csv
import importlib
import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.scripts import ROOT, ran
from workbench import Machine, darts
from workbench.zero_cost import proxies

KEYS = {
    "name", "device", "variant", "alive", "seconds", "spread", "ratio", "peak_bytes", "operations",
}  # fmt: skip


def test_the_step_benchmark_measures_both_supernets():
    row = "digits C=8 L=3 single level"
    options = ["--quick", "--json", "--device", "cpu", "--batch", "4", "--repeats", "1"]
    done = ran("step.py", [*options, "--rows", row])
    told = json.loads(done.stdout)
    assert told["machine"]["threads"] == 1
    readable, fast = told["rows"]
    assert (readable["variant"], fast["variant"]) == ("readable", "fast")
    assert readable["ratio"] == 1
    for each in (readable, fast):
        assert each.keys() == KEYS
        assert each["name"].startswith(row)
        assert each["device"] == "cpu"
        assert each["alive"] == 1
        assert each["seconds"] > 0
        assert each["peak_bytes"] > 0
    assert 0 < fast["operations"] < readable["operations"]


def test_any_method_that_has_a_supernet_has_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    cases = importlib.import_module("_cases")
    usual = cases.rows(quick=True, batch=None, on_gpu=False)
    found = cases.rows(quick=True, batch=None, on_gpu=False, of=["pc_darts"])
    assert len(usual) == 3 * len(found) == 9
    assert {row.method for row in found} == {"pc_darts"}
    assert "pc_darts" in cases.SEARCHED
    assert "random_search" not in cases.SEARCHED


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_step_is_taken_whatever_is_alive(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    cases = importlib.import_module("_cases")
    row = cases.Row("small", "darts", darts(channels=2, cells=1, nodes=2), 8, 4)
    search = cases.Search(cases.Case(row, share, Machine("cpu")))
    search.step()
    assert 0 < search.alive <= 0.6
    assert search.taken == 1


def test_calls_of_kernels_are_counted_whoever_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    cases, measure = importlib.import_module("_cases"), importlib.import_module("_measure")
    space = darts(channels=4, cells=1, nodes=1, ops=("none", "skip_connect"))
    row = cases.Row("strided", "single_level", space, 8, 4)
    search = cases.Search(cases.Case(row, 1.0, Machine("cpu", kernel_threads=1)))
    # A reduction cell of one node: halves and a norm for each of two inputs, scales and sum of the
    # node; its gradient's place, sums and coefficients, and halves again.
    forward, backward = 2 * 2 + 2, 1 + 2 + 2
    # Two inputs: convolution, norm, scales and the normed map; sums, coefficients, convolution.
    units = 2 * (4 + 3)
    assert measure.launches(search) == forward + backward + units


def test_scores_are_compared_with_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = ["333333", "222222", "100000", "000000", "321040", "444444"]
    rows = [f"{i},{code},{90 - i},{70 - i},{40 - i}\n" for i, code in enumerate(codes)]
    table, out = tmp_path / "table.csv", tmp_path / "scores.csv"
    table.write_text("index,code,c10_test200,c100_test200,in16_test200\n" + "".join(rows))
    small = "--n 6 --repeats 1 --channels 2 --cells 1 --batch 8 --noise-batch 2"
    files = ["--resamples", "20", "--table", str(table), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["nb201_scores.py", *small.split(), *files])
    runpy.run_path(str(ROOT / "benchmarks" / "nb201_scores.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    named = {line.split("`")[1]: line for line in lines if "`" in line}
    assert named.keys() == proxies.named().keys()
    scores = {row["code"]: row for row in csv.DictReader(out.read_text().splitlines())}
    assert scores.keys() == set(codes)
    assert float(scores["333333"]["macs"]) > float(scores["222222"]["macs"])
    beside = out.with_suffix(".correlations.csv")
    correlations = list(csv.DictReader(beside.read_text().splitlines()))
    assert len(correlations) == 3 * len(named)
    by_size = next(row for row in correlations if row["score"] == "parameters")
    assert float(by_size["rho_low"]) <= float(by_size["rho"]) <= float(by_size["rho_high"]) <= 1
