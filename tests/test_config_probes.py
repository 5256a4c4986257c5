"""Probes that settings name."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from workbench.config import SearchConfig
from workbench.probes import Every, EveryEpoch, HessianEigenvalue, OpOutputs
from workbench.settings import ConfigError, checked
from workbench.tasks import run_search

TINY = {
    "method": "darts", "space": "nasbench201", "channels": 4, "cells": 1, "nodes": 2, "epochs": 2,
    "batch_size": 450, "engine": "readable", "device": "cpu",
}  # fmt: skip


def test_probes_are_built_by_name_for_epochs_ends_or_every_so_many_steps():
    assert SearchConfig().build_probes() == ()
    config = SearchConfig(probes="op_outputs,hessian_eigenvalue")
    assert config.build_probes() == (EveryEpoch(OpOutputs()), EveryEpoch(HessianEigenvalue()))
    config = SearchConfig(probes="op_outputs", probe_every=50)
    assert config.build_probes() == (Every(50, OpOutputs()),)
    assert "--probes op_outputs --probe-every 50" in config.command("search")


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ConfigError, match="probes: there is no probe 'gap'; choose among alpha_gr"):
        checked(SearchConfig, {"probes": "gap"})
    with pytest.raises(ConfigError, match="probe_every: needs probes to measure"):
        SearchConfig(probe_every=5).build_probes()
    with pytest.raises(ConfigError, match="probes: method 'knas' has no such setting"):
        SearchConfig(method="knas", probes="op_outputs").build_method()


def test_a_value_that_looks_like_a_flag_is_copied_as_a_value() -> None:
    words = shlex.split(SearchConfig(out=Path("-dash"), probes="op_outputs").command("search"))
    assert "--out=-dash" in words
    assert words[words.index("--probes") + 1] == "op_outputs"


def test_a_search_of_the_command_line_records_them(tmp_path: Path):
    names = "op_outputs,discretisation_gap"
    config = checked(SearchConfig, {**TINY, "out": tmp_path / "run", "probes": names})
    run = run_search(config, quiet=True)
    trace = run.trace
    last = trace.isel(step=trace["epoch"].to_numpy() == 1).isel(step=-1)
    assert float(last["op_share"].sum("op")[0]) == pytest.approx(1, abs=1e-5)
    assert 0 <= float(last["accuracy_masked"]) <= 1
    assert int(trace["accuracy_masked"].notnull().sum()) == 2
    assert run.meta["config"]["probes"] == names
