"""The report in a real browser, with the network off; runs wherever Chromium is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes import fake_run
from tests.lab.driver import browsing, find_browser
from workbench.plots import genotype_history, heat_map
from workbench.report import compare, figure_place, report
from workbench.report_page import page
from workbench.trace.folder import read_sealed, write_sealed

CHROMIUM = find_browser()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
DRAWN = """(count) => [...document.querySelectorAll(".wb-figure")]
  .filter((place) => place.matches(".js-plotly-plot") && place.querySelector(".main-svg"))
  .length === count"""


HOSTILE = (
    "<script>window.pwned=1;document.title='pwned'</script>"
    '"><img src=x onerror="window.pwned=1;document.title=\'pwned\'">'
    "</script><a href=\"javascript:document.title='pwned'\">x</a>"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with script in its names: a whole one, and none of that runs."""
    meta = {name: HOSTILE for name in ("method", "space", "data", "command", "note")}
    base = tmp_path_factory.mktemp("hostile")
    run = fake_run(base / "<img src=x onerror=document.title='pwned'>", meta=meta)
    figures = run.path / "evaluation.json"
    told = read_sealed(figures)
    told["classes"] = [f"{HOSTILE} {index}" for index in range(10)]
    write_sealed(figures, told)
    return report(run.path, out=base / "page.html")


def test_every_figure_is_drawn_with_the_network_off(hostile: Path) -> None:
    with opened(hostile) as seen:
        assert seen.locator(".wb-figure").count() == 12
        seen.wait_for_function(DRAWN, arg=12)


def test_a_figure_that_plays_and_a_history_work_without_a_kernel(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", epochs=5)
    figure = figure_place(json.loads(heat_map(run, frames=4).to_json()))
    body = figure + genotype_history(run)._repr_mimebundle_()["text/html"]
    target = tmp_path / "page.html"
    target.write_text(page(body, title="a page"), "utf-8")
    with opened(target) as seen:
        seen.wait_for_function(DRAWN, arg=1)
        seen.evaluate(
            """async () => {
              const slider = document.querySelector(".wb-history input");
              slider.value = 0; slider.dispatchEvent(new Event("input"));
              const place = document.querySelector(".wb-figure");
              const frame = { duration: 0, redraw: true };
              await Plotly.animate(place, ["0"], { mode: "immediate", frame });
            }"""
        )
        label = "() => document.querySelector('.wb-figure .slider-label')?.textContent"
        seen.wait_for_function(f"() => ({label})() === 'after step 0 (epoch 0)'")
        shown = seen.evaluate(
            """() => [...document.querySelectorAll(".wb-history [data-at]")]
              .map((one) => [one.dataset.at, getComputedStyle(one).visibility])"""
        )
    assert [at for at, visibility in shown if visibility == "visible"] == ["0"]
    assert len(shown) > 1


def test_a_comparison_is_drawn_with_the_network_off(tmp_path: Path) -> None:
    runs = [fake_run(tmp_path / name, seed=seed).path for seed, name in enumerate(("a", "b"))]
    with opened(compare(runs, out=tmp_path / "compare.html")) as seen:
        count = seen.locator(".wb-figure").count()
        assert count >= 5
        seen.wait_for_function(DRAWN, arg=count)


@contextmanager
def opened(file: Path) -> Iterator:
    """The page with the network off; at the end it must have asked for nothing and said nothing."""
    said, asked = [], []
    with browsing(CHROMIUM) as browser:
        seen = browser.new_context(offline=True).new_page()
        seen.set_default_timeout(120_000)
        seen.on("console", lambda message: said.append(message.text))
        seen.on("pageerror", lambda error: said.append(str(error)))
        seen.on("request", lambda request: asked.append(request.url))
        seen.goto(file.as_uri())
        yield seen
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [file.as_uri()]


def test_names_with_script_in_them_are_text_in_a_report(hostile: Path) -> None:
    with opened(hostile) as seen:
        seen.wait_for_function(DRAWN, arg=12)
        assert seen.evaluate("typeof window.pwned") == "undefined"
        assert seen.title().startswith("Search report: <img")
        assert seen.locator("img[src=x]").count() == 0
        assert seen.locator("a[href^=javascript]").count() == 0
        assert seen.evaluate("document.body.innerText").count("<img src=x") > 1
