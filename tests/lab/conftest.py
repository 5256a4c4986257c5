"""A real JupyterLab in a real, headless browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from workbench.lab import HOST, Places, arguments, free_port
from workbench.trace import open_run

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-tests"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60

playwright = pytest.importorskip("playwright.sync_api")


@dataclass(frozen=True)
class Server:
    """JupyterLab at `root`."""

    port: int
    root: Path

    def url(self, notebook: str) -> str:
        return f"http://{HOST}:{self.port}/lab/tree/{notebook}?token={TOKEN}&reset"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab, started with the options of `workbench lab`."""
    root = tmp_path_factory.mktemp("lab")
    settings = root / "jupyter" / "labconfig"
    settings.mkdir(parents=True)
    news = {"@jupyterlab/apputils-extension:announcements": True}
    (settings / "page_config.json").write_text(json.dumps({"disabledExtensions": news}))
    port = free_port()
    words = arguments(Places(root, root), port=port, browser=False, token=TOKEN)
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(root / "jupyter"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *words, "--LabApp.expose_app_in_browser=True"],
        cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _until_it_answers(port, process)
        yield Server(port, root)
    finally:
        for header in root.glob("runs/*/run.json"):  # a search outlives the notebook
            if not open_run(header.parent).ended:
                open_run(header.parent).control.stop()
        process.terminate()
        process.wait(20)


def _until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    request = urllib.request.Request(
        f"http://{HOST}:{port}/api/status", headers={"Authorization": f"token {TOKEN}"}
    )
    for _ in range(2 * SECONDS):
        assert process.poll() is None, "JupyterLab ended at once"
        try:
            with urllib.request.urlopen(request, timeout=2):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    raise AssertionError("JupyterLab never answered")


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Chromium as the system has it; without one nothing of this can be tested."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with playwright.sync_playwright() as play:
        started = play.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        yield started
        started.close()


class Lab:
    """A notebook in a page of JupyterLab."""

    def __init__(self, server: Server, browser, notebook: str, *, width: int = 1500) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 1400})
        self.page.set_default_timeout(1000 * SECONDS)
        self.url = server.url(notebook)
        self.open()

    def open(self) -> None:
        """Load the page, and wait until its kernel can be asked."""
        self.page.goto(self.url)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.page.evaluate(
            """async () => {
              const app = window.jupyterapp;
              await app.restored;
              for (;;) {
                const session = app.shell.currentWidget?.sessionContext;
                if (session) { await session.ready; if (session.session?.kernel) {
                  await session.session.kernel.info; return; } }
                await new Promise((done) => setTimeout(done, 100));
              }
            }"""
        )

    def run_all(self) -> None:
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")

    def run_cell(self, index: int) -> None:
        """One cell, as a person runs it."""
        self.page.locator(".jp-CodeCell .jp-Editor").nth(index).click()
        self.page.keyboard.press("Control+Enter")

    def save(self) -> None:
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def output(self, index: int):
        return self.page.locator(".jp-CodeCell").nth(index).locator(".jp-OutputArea")

    def theme(self, name: str) -> None:
        """`Light` or `Dark`."""
        self.page.evaluate(
            "(name) => window.jupyterapp.commands.execute('apputils:change-theme',"
            " { theme: `JupyterLab ${name}` })",
            name,
        )
        light = "true" if name == "Light" else "false"
        self.until(f"() => document.body.dataset.jpThemeLight === '{light}'")

    def until(self, script: str, what: object = None) -> None:
        """Wait until JavaScript finds something true."""
        self.page.wait_for_function(script, arg=what, timeout=1000 * SECONDS)


@pytest.fixture
def lab(server: Server, browser) -> Iterator:
    """Opens notebooks; closes their pages afterwards."""
    opened: list[Lab] = []

    def open_(notebook: str, **options: int) -> Lab:
        opened.append(Lab(server, browser, notebook, **options))
        return opened[-1]

    yield open_
    for number, one in enumerate(opened):
        one.page.screenshot(path=server.root / f"page-{number}.png")
        one.page.close()
