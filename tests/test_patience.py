"""A signal waits for a step; not for what says that it may be left, nor where nothing is lost."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from workbench import interrupts
from workbench.cli import main
from workbench.interrupts import interruptible
from workbench.leaving import may_leave
from workbench.run import Run as Stage
from workbench.trace import open_run

WORDS = "search --data digits --channels 4 --cells 1 --nodes 1 --batch-size 512 --epochs 1".split()
WORDS += ["--method", "single_level", "--device", "cpu", "--checkpoint-steps", "1"]
LONG = 60.0  # seconds, of what no test waits for


def long_work() -> None:
    """A signal comes in what takes long and may be left."""
    signal.raise_signal(signal.SIGTERM)
    began = time.monotonic()
    while time.monotonic() - began < LONG:
        may_leave()
        time.sleep(0.01)


@pytest.mark.parametrize(("at", "steps"), [(0, 0), (1, 1)])
def test_what_may_be_left_is_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at: int,
    steps: int,
) -> None:
    plain, out, began = Stage.step, tmp_path / "run", time.monotonic()
    if at:  # else with the patience of 25 s: before the first step nothing is to be waited for
        monkeypatch.setattr(interrupts, "PATIENCE", 0.1)

    def step(self: Stage, clock):
        if clock.step == at:
            long_work()
        return plain(self, clock)

    monkeypatch.setattr(Stage, "step", step)
    with pytest.raises(SystemExit) as error:
        main([*WORDS, "--out", str(out)])
    assert error.value.code == 75
    assert time.monotonic() - began < 25
    said = capsys.readouterr().err
    assert f"SIGTERM: {out} is saved; go on with: workbench search --resume {out}" in said
    assert open_run(out).status == "stopped"
    assert len(open_run(out).trace["step"]) == steps
    monkeypatch.setattr(Stage, "step", plain)
    main(["search", "--resume", str(out)])
    whole = tmp_path / "whole"
    main([*WORDS, "--out", str(whole)])
    assert (open_run(out).trace["alpha"] == open_run(whole).trace["alpha"]).all()


@pytest.mark.parametrize("method", ["darts_pt_small", "te_nas_small"])
def test_rounds_that_take_long_may_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(interrupts, "PATIENCE", 0.0)
    plain, out = Stage.prune, tmp_path / "run"

    def prune(self: Stage, clock, when):
        if when == "epoch" and self.stage.pruner is not None:
            signal.raise_signal(signal.SIGTERM)
        return plain(self, clock, when)

    monkeypatch.setattr(Stage, "prune", prune)
    with pytest.raises(SystemExit) as error:
        main([*WORDS, "--method", method, "--epochs", "3", "--out", str(out)])
    assert error.value.code == 75
    assert open_run(out).prunings.empty
    assert open_run(out).events[-1]["event"] != "EpochEnded", "it was not waited for"


def test_nothing_is_left_without_a_signal_or_before_it_was_waited_for() -> None:
    may_leave()
    with interruptible():
        may_leave()
        signal.raise_signal(signal.SIGTERM)
        may_leave()
    may_leave()


def test_with_nothing_saved_an_interrupted_search_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interrupts, "PATIENCE", 0.0)
    monkeypatch.setattr("workbench.config.SearchConfig.build_data", lambda self: long_work())
    with pytest.raises(SystemExit) as error:
        main([*WORDS, "--out", str(tmp_path / "run")])
    assert error.value.code == 130
    assert "interrupted" in capsys.readouterr().err
