"""The report in a real browser, with the network off; runs wherever Chromium is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes import fake_run
from workbench.plots import genotype_history, heat_map
from workbench.report import figure_place, report
from workbench.report_page import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--virtual-time-budget=60000 --enable-logging=stderr --v=0"
).split()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_every_figure_is_drawn_with_the_network_off(tmp_path: Path) -> None:
    written = report(fake_run(tmp_path / "run").path)
    seen = opened(written, tmp_path)
    places = seen.stdout.count('class="wb-figure')
    assert places == 12
    drawn = re.findall(r'class="[^"]*js-plotly-plot', seen.stdout)
    assert len(drawn) == places
    assert complaints(seen) == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_figure_that_plays_and_a_history_work_without_a_kernel(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", epochs=5)
    figure = figure_place(json.loads(heat_map(run, frames=4).to_json()))
    body = figure + genotype_history(run)._repr_mimebundle_()["text/html"]
    watch = """<script>addEventListener("load", () => setTimeout(() => {
      const place = document.querySelector(".wb-figure");
      const slider = document.querySelector(".wb-history input");
      slider.value = 0; slider.dispatchEvent(new Event("input"));
      Plotly.animate(place, ["0"], { mode: "immediate", frame: { duration: 0, redraw: true } })
        .then(() => { document.title = place.querySelector(".slider-label").textContent; });
    }, 500))</script>"""
    target = tmp_path / "page.html"
    target.write_text(page(body, title="a page").replace("</body>", watch + "</body>"), "utf-8")
    seen = opened(target, tmp_path)
    assert "<title>after step 0 (epoch 0)</title>" in seen.stdout
    shown = re.findall(r'data-at="(\d+)" style="[^"]*visibility: ?(\w+)', seen.stdout)
    assert [at for at, visibility in shown if visibility == "visible"] == ["0"]
    assert len(shown) > 1
    assert complaints(seen) == []


def opened(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """The page after its scripts ran, with the network off."""
    assert CHROMIUM is not None
    return subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def complaints(seen: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in seen.stderr.splitlines() if "CONSOLE" in line]


HOSTILE = (
    "<script>window.pwned=1;document.title='pwned'</script>"
    '"><img src=x onerror="document.title=\'pwned\'">'
    "</script><a href=\"javascript:document.title='pwned'\">x</a>"
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_names_with_script_in_them_are_text_in_a_report(tmp_path: Path) -> None:
    meta = {name: HOSTILE for name in ("method", "space", "data", "command", "note")}
    folder = tmp_path / "<img src=x onerror=document.title='pwned'>"
    run = fake_run(folder, meta=meta)
    figures = run.path / "evaluation.json"
    told = json.loads(figures.read_text("utf-8"))
    told["classes"] = [f"{HOSTILE} {index}" for index in range(10)]
    figures.write_text(json.dumps(told), "utf-8")
    seen = opened(report(folder, out=tmp_path / "page.html"), tmp_path)
    assert "<title>Search report: &lt;img" in seen.stdout
    shown = re.sub(r"<script.*?</script>", "", seen.stdout, flags=re.DOTALL)
    assert "<title>pwned" not in seen.stdout
    assert "<img" not in shown
    assert '<a href="javascript' not in shown
    assert "&lt;img src=x" in shown
    assert complaints(seen) == []
