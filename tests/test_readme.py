"""The README is true: its Python runs, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workbench import open_run
from workbench.cli import COMMANDS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    smaller = code.replace("epochs=5", "epochs=1, batch_size=256")
    smaller = smaller.replace("channels=4, cells=3", "channels=2, cells=1")
    exec(compile(smaller, "README.md", "exec"), {})
    assert "relaxation: Softmax(temperature=1.0) → Entmax(alpha=1.5)" in capsys.readouterr().out
    assert open_run(tmp_path / "runs" / "mine").status == "finished"


def test_the_commands_of_the_readme_exist() -> None:
    named = re.findall(r"^workbench (\w+)", README, flags=re.MULTILINE)
    assert len(named) > 5
    assert set(named) <= set(COMMANDS)


def test_the_pictures_of_the_readme_are_there() -> None:
    for name in re.findall(r"!\[.*?\]\((.*?)\)|\]\((docs/.*?|workbench/.*?)\)", README):
        assert (Path(__file__).parents[1] / "".join(name)).is_file()
