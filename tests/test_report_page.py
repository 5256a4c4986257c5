"""The report in a real browser, with the network off; runs wherever Chromium is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes import fake_run
from workbench.report import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--virtual-time-budget=60000 --enable-logging=stderr --v=0"
).split()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_every_figure_is_drawn_with_the_network_off(tmp_path: Path) -> None:
    page = report(fake_run(tmp_path / "run").path)
    assert CHROMIUM is not None
    seen = subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    places = seen.stdout.count('class="wb-figure')
    assert places == 7
    drawn = re.findall(r'class="[^"]*js-plotly-plot', seen.stdout)
    assert len(drawn) == places
    said = [line for line in seen.stderr.splitlines() if "CONSOLE" in line]
    assert said == []
