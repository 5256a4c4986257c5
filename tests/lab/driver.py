"""A real JupyterLab in a real, headless browser, and how it is driven."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench.lab import HOST, Places, arguments
from workbench.trace import open_run

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-tests"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 180  # a machine may be busy, and torch takes its time


def find_browser() -> str | None:
    """Chromium or Chrome as the system has it."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def browsing(program: str) -> Iterator[object]:
    """The browser, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
        started = play.chromium.launch(executable_path=program, args=options)
        yield started
        started.close()


@dataclass(frozen=True)
class Server:
    """JupyterLab at `root`."""

    port: int
    root: Path

    def url(self, notebook: str) -> str:
        return f"http://{HOST}:{self.port}/lab/tree/{notebook}?token={TOKEN}&reset"


@contextmanager
def serving(root: Path, *, by_hand: bool = False) -> Iterator[Server]:
    """JupyterLab at `root`, started with the options of `workbench lab`, or without them."""
    settings = root / "jupyter" / "labconfig"
    settings.mkdir(parents=True)
    news = {"@jupyterlab/apputils-extension:announcements": True}
    (settings / "page_config.json").write_text(json.dumps({"disabledExtensions": news}))
    port = _own_port()
    words = arguments(Places(root, root), port=port, browser=False, token=TOKEN)
    if by_hand:
        plain = {"ServerApp.port": port, "ServerApp.open_browser": False}
        words = [f"--{name}={value}" for name, value in plain.items()]
        words += ["--allow-root", f"--IdentityProvider.token={TOKEN}"]
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
        process.wait(SECONDS)


def _own_port() -> int:
    """A port that no server of another test process is about to take, as 8888 would be."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


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


class Lab:
    """A notebook in a page of JupyterLab."""

    def __init__(self, server: Server, browser, notebook: str, *, width: int = 1500) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 1400})
        self.page.set_default_timeout(1000 * SECONDS)
        self.url, self.errors = server.url(notebook), list[str]()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._heard)
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

    def _heard(self, message) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url')})")

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

    def click(self, script: str) -> None:
        """Click at what JavaScript finds, wherever it lies."""
        self.page.evaluate_handle(script).as_element().click(force=True)

    def slide(self, figure: str, share: float) -> None:
        """Click into the slider of a figure, at `share` of its length, once it is drawn."""
        self.until(f"() => {figure}?.querySelector('.slider-rail-touch-rect')")
        rail = self.page.evaluate_handle(
            f"() => {{ const rail = {figure}.querySelector('.slider-rail-touch-rect');"
            " rail.scrollIntoView({ block: 'center' }); return rail; }"
        ).as_element()
        box = rail.bounding_box()
        self.page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)

    def until(self, script: str, what: object = None) -> None:
        """Wait until JavaScript finds something true."""
        self.page.wait_for_function(script, arg=what, timeout=1000 * SECONDS)


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of code cells."""
    made = [
        {
            "cell_type": "code", "id": f"cell-{i}", "metadata": {}, "outputs": [], "source": cell,
            "execution_count": None,
        }
        for i, cell in enumerate(cells)
    ]  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    whole = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(whole))
