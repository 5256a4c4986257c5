"""A signal waits for a step; not for one that takes too long, nor where nothing would be lost."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from workbench import interrupts
from workbench.cli import main
from workbench.interrupts import interruptible
from workbench.run import Run as Stage
from workbench.trace import open_run
from workbench.training import Training

WORDS = (
    "search --data digits --channels 4 --cells 1 --nodes 1 --batch-size 512 --epochs 1"
).split()
WORDS += ["--method", "single_level", "--device", "cpu", "--checkpoint-steps", "1"]
LONG = 60.0  # seconds, of what no test waits for


def hang() -> None:
    signal.raise_signal(signal.SIGTERM)
    time.sleep(LONG)


def ended(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that ends with 75, long before it is done."""
    began = time.monotonic()
    with pytest.raises(SystemExit) as error:
        main(words)
    assert error.value.code == 75
    assert time.monotonic() - began < LONG
    return capsys.readouterr().err


@pytest.mark.parametrize(("at", "steps"), [(0, 0), (1, 1)])
def test_a_step_that_takes_too_long_is_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at: int,
    steps: int,
) -> None:
    plain, out = Stage.step, tmp_path / "run"
    if at:  # else with the patience of 25 s, since nothing is to be waited for
        monkeypatch.setattr(interrupts, "PATIENCE", 0.1)

    def step(self: Stage, clock):
        if clock.step == at:
            hang()
        return plain(self, clock)

    monkeypatch.setattr(Stage, "step", step)
    said = ended([*WORDS, "--out", str(out)], capsys)
    assert f"SIGTERM: {out} is saved; go on with: workbench search --resume {out}" in said
    assert open_run(out).status == "stopped"
    assert len(open_run(out).trace["step"]) == steps
    monkeypatch.setattr(Stage, "step", plain)
    main(["search", "--resume", str(out)])
    whole = tmp_path / "whole"
    main([*WORDS, "--out", str(whole)])
    assert (open_run(out).trace["alpha"] == open_run(whole).trace["alpha"]).all()


def test_an_evaluation_that_takes_too_long_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, out = Training._step, tmp_path / "run"
    main([*WORDS, "--out", str(out)])
    monkeypatch.setattr(interrupts, "PATIENCE", 0.1)

    def step(self: Training, *arguments):
        hang()
        return plain(self, *arguments)

    monkeypatch.setattr(Training, "_step", step)
    small = ["--epochs", "1", "--batch-size", "512", "--channels", "4", "--device", "cpu"]
    said = ended(["evaluate", str(out), *small], capsys)
    assert said.strip().endswith(f"workbench evaluate {out} --resume")
    monkeypatch.setattr(Training, "_step", plain)
    main(["evaluate", str(out), "--resume"])
    assert open_run(out).evaluation


def test_afterwards_no_alarm_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "PATIENCE", 0.05)
    before = signal.getsignal(signal.SIGALRM)
    with interruptible() as asked:
        signal.raise_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert asked.name == "SIGTERM"
    assert signal.getsignal(signal.SIGALRM) == before


def test_with_nothing_saved_an_interrupted_search_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interrupts, "PATIENCE", 0.1)
    monkeypatch.setattr("workbench.config.SearchConfig.build_data", lambda self: hang())
    with pytest.raises(SystemExit) as error:
        main([*WORDS, "--out", str(tmp_path / "run")])
    assert error.value.code == 130
    assert "interrupted" in capsys.readouterr().err
