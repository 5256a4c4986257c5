"""Output that nobody takes costs no run, and no exit code."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from workbench.cli import main
from workbench.run import Run as Stage
from workbench.trace import open_run

from .test_patience import WORDS

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no such device on this system")


@needs_full
def test_a_signal_has_its_exit_code_where_errors_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, out = Stage.step, tmp_path / "run"

    def step(self: Stage, clock):
        if clock.step == 1:
            signal.raise_signal(signal.SIGTERM)
        return plain(self, clock)

    monkeypatch.setattr(Stage, "step", step)
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        with pytest.raises(SystemExit) as error:
            main([*WORDS, "--out", str(out)])
    assert error.value.code == 75
    assert open_run(out).status == "stopped"


@needs_full
def test_output_that_cannot_be_written_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as error:
            main(["methods"])
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("workbench: its output cannot be written (No space left on device)")
    assert said.count("\n") == 1


def test_an_error_of_a_file_is_no_error_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("workbench.cli._parse", broken)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(OSError, match="Input/output error"):
        main(["methods"])


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams_go_nowhere_and_no_file_takes_their_place(closed: tuple[int, ...]) -> None:
    code = (
        f"import os, sys\nfor n in {closed}: os.close(n)\n"
        "sys.stdin = sys.stdout = sys.stderr = None\n"
        "from workbench.streams import prepare_streams, tell\n"
        "prepare_streams(); print('out'); tell('err'); sys.stdout.flush()\n"
        "sys.exit(7 if os.open(os.devnull, os.O_RDONLY) > 2 else 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 7


def test_what_others_called_their_files_is_no_command_to_the_terminal(tmp_path: Path) -> None:
    for split, name in product(("train", "test"), "ab"):
        for number in range(4):
            place = tmp_path / "images" / split / name / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 60 * number).save(place)
    (tmp_path / "images/train/a/bad\n\x1b[31m.png").write_bytes(b"no image")
    words = [sys.executable, "-m", "workbench", *WORDS, "--data", f"folder:{tmp_path / 'images'}"]
    words += ["--batch-size", "2", "--out", str(tmp_path / "run")]
    for more in ([], ["--skip-unreadable"]):
        said = subprocess.run([*words, *more], capture_output=True, text=True, check=False).stderr
        assert "\x1b" not in said
        (line,) = [line for line in said.split("\n") if "cannot be read" in line]
        assert line.startswith("workbench: ")
        assert "1 of 17 images cannot be read" in line
