"""Where nothing can be written is refused before any work."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.cli import main
from workbench.trace import RunError
from workbench.trace.folder import refuse_unwritable

from ..fakes import fake_run


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path)
    refuse_unwritable(tmp_path / "new" / "run")
    refuse_unwritable(tmp_path / "new" / "report.html", file=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match=r"cannot be written: .*/file is no folder"):
            refuse_unwritable(path)
    with pytest.raises(RunError, match="is a folder; choose the name of a file"):
        refuse_unwritable(tmp_path, file=True)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"is a link to nothing"):
        refuse_unwritable(tmp_path / "link")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_a_place_where_even_root_cannot_write_is_refused() -> None:
    with pytest.raises(RunError, match=r"/proc/run cannot be written \(.+\); choose"):
        refuse_unwritable(Path("/proc/run"))


def test_paths_that_are_none_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot be written .*too long"):
        refuse_unwritable(tmp_path / ("x" * 300) / "run")
    with pytest.raises(RunError, match="zero byte"):
        refuse_unwritable(tmp_path / "a\0b")


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"No space left on device.*free of space"):
        refuse_unwritable(tmp_path / "run")


def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0o555)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from workbench.trace.folder import refuse_unwritable\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "refuse_unwritable(Path(sys.argv[1]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "closed" / "run")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "run cannot be written (Permission denied); choose another place" in said.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["report", "RUN", "--out", "FILE/x.html"],
        ["compare", "RUN", "RUN", "--out", "FILE/x.html"],
        ["compare", "RUN", "RUN", "--csv", "FILE/x.csv"],
        ["export", "RUN", "--out", "FILE/x"],
    ],
)
def test_commands_refuse_before_they_draw(
    tmp_path: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_run(tmp_path / "run")
    (tmp_path / "file").write_text("here")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("work was done")

    for name in ("workbench.report._execute", "workbench.comparison.honest_table"):
        monkeypatch.setattr(name, never)
    monkeypatch.setattr("workbench.export._texts", never)
    places = {"RUN": str(tmp_path / "run"), "FILE": str(tmp_path / "file")}
    for name, path in places.items():
        words = [word.replace(name, path) for word in words]
    with pytest.raises(SystemExit):
        main(words)
    error = capsys.readouterr().err
    assert f"{tmp_path / 'file'} is no folder; choose another place" in error
    assert error.count("\n") == 1
