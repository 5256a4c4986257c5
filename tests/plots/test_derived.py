"""A threshold that nothing reached is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.fakes import fake_run, fake_space
from workbench.parts.derivations import Threshold, TopEdges
from workbench.plots import summary_table
from workbench.plots.derived import fallen_back
from workbench.protocols import Mixture
from workbench.trace import Run


def of(path: Path, rule: object) -> Run:
    return fake_run(path, meta={"method": {"name": "fake", "derivation": str(rule)}})


def test_cells_that_fell_back_are_those_that_the_rule_gives_to_top_edges(tmp_path: Path) -> None:
    """At every threshold: from one that all cells reach to one that none does."""
    run = of(tmp_path / "run", TopEdges())
    assert fallen_back(run) == ""
    end, space = run.latest, fake_space(("normal", "reduce"), 2)
    rows = {k: (end["kind"] == k).to_numpy() for k in ("normal", "reduce")}
    mix = {k: Mixture(torch.tensor(end["mix"].to_numpy()[own])) for k, own in rows.items()}
    alive = {k: torch.tensor(end["alive"].to_numpy()[own]) for k, own in rows.items()}
    found = []
    for number, least in enumerate(np.linspace(0.1, 0.9, 9)):
        rule = Threshold(float(least))
        taken = TopEdges()(space, mix, alive)
        same = [k for k in rows if rule(space, mix, alive).cell(k) == taken.cell(k)]
        weak = [k for k in rows if all_weaker(mix[k].ops, space.cell(k).columns, least)]
        said = fallen_back(of(tmp_path / str(number), rule))
        found.append(tuple(k for k in rows if f" in {k}" in said or f", {k}" in said))
        assert set(weak) <= set(found[-1]) <= set(same)
    assert found[0] == ()
    assert found[-1] == ("normal", "reduce")


def all_weaker(rows: torch.Tensor, columns: tuple[str, ...], least: float) -> bool:
    return bool((rows[:, [op != "none" for op in columns]] < least).all())


def test_the_summary_says_it(tmp_path: Path) -> None:
    told = summary_table(of(tmp_path / "run", Threshold(0.95))).values["derived"]
    assert told.startswith("no operation reached Threshold(threshold=0.95, edges=2, ops=1) in nor")
    assert summary_table(of(tmp_path / "no", Threshold(0.001))).values["derived"] == "–"
