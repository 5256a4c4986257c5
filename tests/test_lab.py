from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.test_cli import refusal
from workbench import lab
from workbench.lab import HOST, LabError, Places, arguments, free_port, places

ROOT = Path(__file__).parents[1]


def test_a_checkout_shows_its_own_notebooks_and_the_runs_beside_them():
    notebooks = ROOT / "notebooks"
    assert places(notebooks, ROOT) == Places(ROOT, notebooks)
    assert places(notebooks, notebooks) == Places(ROOT, notebooks)
    assert places(notebooks, ROOT.parent) == Places(ROOT.parent, notebooks)
    assert places(notebooks, Path("/elsewhere")) == Places(ROOT, notebooks)


def test_installed_notebooks_are_copied_and_a_changed_copy_stays(tmp_path):
    source, here = tmp_path / "share", tmp_path / "here"
    source.mkdir(), here.mkdir()
    names = ["one.ipynb", "part.py", "two.ipynb"]
    for name in names:
        (source / name).write_text(name)
    found = places(source, here)
    assert found == Places(here, here / "workbench-notebooks")
    assert (found.notebooks / "one.ipynb").read_text() == "one.ipynb"
    (found.notebooks / "one.ipynb").write_text("mine")
    (found.notebooks / "two.ipynb").unlink()
    places(source, here)
    assert (found.notebooks / "one.ipynb").read_text() == "mine"
    assert sorted(path.name for path in found.notebooks.iterdir()) == names


def test_copies_that_cannot_be_written_are_refused_in_a_line(tmp_path):
    (tmp_path / "workbench-notebooks").write_text("a file")
    with pytest.raises(LabError, match=r"cannot be copied into .*workbench-notebooks"):
        places(tmp_path, tmp_path)


def test_jupyterlab_is_told_its_address_token_and_folders():
    words = arguments(
        Places(ROOT, ROOT / "notebooks"), port=8890, browser=False, token="secret-token"
    )
    assert "--ServerApp.ip=127.0.0.1" in words
    assert "--ServerApp.port=8890" in words
    assert "--ServerApp.open_browser=False" in words
    assert f"--ServerApp.root_dir={ROOT}" in words
    assert "--LabApp.default_url=/lab/tree/notebooks" in words
    assert "--IdentityProvider.token=secret-token" in words


def test_a_taken_port_is_refused_or_passed_over(monkeypatch):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match=f"port {port} is taken"):
            free_port(port)
        monkeypatch.setattr(lab, "PORTS", range(port, port + 20))
        assert free_port() in range(port + 1, port + 20)
    with pytest.raises(LabError, match="between 1 and 65535, not 70000"):
        free_port(70000)


def test_without_jupyterlab_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    assert "pip install jupyterlab" in refusal(capsys, "lab", "--no-browser")


# --- a real one ---------------------------------------------------------------------------------

OPEN_TO_ALL = """
c.IdentityProvider.token = ""
c.PasswordIdentityProvider.token = ""
c.ServerApp.token = ""
c.ServerApp.password = ""
c.ServerApp.ip = "0.0.0.0"
"""


def status_of(port: int, token: str | None = None) -> int:
    """The answer of the server's own status page; 0 as long as nobody answers."""
    headers = {"Authorization": f"token {token}"} if token else {}
    request = urllib.request.Request(f"http://{HOST}:{port}/api/status", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


@pytest.fixture
def server(tmp_path):
    """JupyterLab as the command starts it, where the user's own settings would open it to all."""
    port = free_port()
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jupyter_server_config.py").write_text(OPEN_TO_ALL)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    environment.pop("JUPYTER_TOKEN", None)
    words = [sys.executable, "-m", "workbench", "lab", "--no-browser", "--port", str(port)]
    with (tmp_path / "said").open("w+") as said:
        running = subprocess.Popen(
            words, env=environment, cwd=tmp_path, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + 60
            while not status_of(port) and running.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
            yield running, port, (tmp_path / "said").read_text()
        finally:
            running.terminate()
            running.wait(timeout=30)


def test_the_real_server_is_for_this_machine_only_and_asks_for_the_token(server):
    running, port, said = server
    address = f"http://{HOST}:{port}/lab/tree/notebooks?token="
    assert address in said
    token = said.partition(address)[2].split()[0]
    assert len(token) == 48
    assert status_of(port) == 403
    assert status_of(port, "") == 403
    assert status_of(port, "a guess") == 403
    assert status_of(port, token) == 200

    with urllib.request.urlopen(f"{address}{token}", timeout=20) as page:
        config = page.read().decode().partition('id="jupyter-config-data"')[2].partition("<")[0]
    assert "apputils-extension:announcements" in config  # among those that are disabled

    process = psutil.Process(running.pid)
    listening = [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} == {HOST}
    assert port in {c.laddr.port for c in listening}
    assert token not in " ".join(process.cmdline())
