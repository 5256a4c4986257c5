"""The panel and the live view, driven as a person drives them."""

from __future__ import annotations

import numpy as np

from tests.lab.driver import write_notebook
from workbench.trace import Run, open_run

DRAWN = "() => Number(document.querySelector('.wb-live .wb-plot')?.dataset.drawn || 0)"
POINTS = """() => (document.querySelector('.wb-live .wb-plot')?.calcdata || [])
  .reduce((most, trace) => Math.max(most, trace.length), 0)"""
STATUS = "(state) => document.querySelector('.wb-live .wb-status')?.textContent === state"
FIELDS = {"channels": "4", "cells": "2", "nodes": "2", "epochs": "400", "batch_size": "32"}


def steps(run: Run) -> int:
    return run.refresh().trace.sizes["step"]


def test_a_search_is_filled_in_started_watched_paused_resumed_and_stopped(server, lab):
    write_notebook(
        server.root / "panel.ipynb",
        "from workbench import widgets\nwidgets.panel()",
        "print(6 * 7)",
    )
    page = lab("panel.ipynb")
    page.run_cell(0)
    page.page.wait_for_selector(".wb-start button, button.wb-start")

    field = page.page.locator(".wb-field-epochs input").first
    field.fill("no number")
    page.page.wait_for_selector(".wb-field-epochs [role=alert]")
    assert page.page.locator("button.wb-start").is_disabled()
    for name, value in FIELDS.items():
        page.page.locator(f".wb-field-{name} input").first.fill(value)
        page.page.keyboard.press("Tab")
    page.until("() => !document.querySelector('button.wb-start').disabled")
    page.page.locator("button.wb-start").click()

    page.until(STATUS, "running")
    page.until(f"() => ({POINTS})() > 3")
    first = page.page.evaluate(DRAWN)
    page.until(f"(first) => ({DRAWN})() >= first + 2", first)  # two updates, by themselves

    (run,) = (open_run(path.parent) for path in (server.root / "runs").glob("*/run.json"))
    page.page.locator("button.wb-pause").click()
    page.until(STATUS, "paused")
    stood = steps(run)
    page.run_cell(1)
    page.output(1).get_by_text("42", exact=True).wait_for()
    assert steps(run) == stood
    page.page.locator("button.wb-step").click()
    told = "(n) => document.querySelector('.wb-progress').innerText.includes(n)"
    page.until(told, f"{stood + 1:,}/")
    assert steps(run) == stood + 1

    page.page.locator("button.wb-resume").click()
    page.until(STATUS, "running")
    page.save()
    page.open()  # as if the tab had been closed
    page.until(STATUS, "running")
    page.until(f"() => ({POINTS})() > 3")
    page.page.locator("button.wb-stop").click()
    page.until(STATUS, "stopped")
    ended = run.refresh()
    assert ended.status == "stopped"
    assert steps(run) > stood + 1
    assert np.isfinite(ended.trace["mix"]).all()
    assert page.page.locator("button.wb-pause").is_disabled()


def test_every_view_of_a_run_is_drawn_in_light_and_dark(server, lab, tmp_path):
    from tests.fakes import fake_run
    from workbench.widgets.seen import VIEWS

    fake_run(server.root / "watched", nodes=4)
    write_notebook(
        server.root / "live.ipynb",
        "from workbench import widgets\nview = widgets.live('watched')\nview",
        "view.plot.figure = '{'",
    )
    page = lab("live.ipynb")
    page.run_cell(0)
    page.until(STATUS, "finished")
    page.until(f"() => ({POINTS})() > 3")
    for title, view in VIEWS.items():
        before = page.page.evaluate(DRAWN)
        page.page.locator(".wb-view-choice select").select_option(label=title)
        if view in ("cells", "genotype_history"):
            page.until("() => document.querySelector('.wb-live .wb-plot svg.main-svg') === null")
            page.page.locator(".wb-live").get_by_text("normal cell").first.wait_for()
        elif view != "weight_evolution":
            page.until(f"(before) => ({DRAWN})() > before", before)
        assert not page.page.locator(".wb-live [role=alert]").count(), title
    page.run_cell(1)  # a figure that cannot be drawn is the only one that is not
    page.theme("Dark")
    ink = "() => document.querySelector('.wb-live .wb-plot').layout?.template?.layout?.font?.color"
    page.page.locator(".wb-view-choice select").select_option(label="dominance")
    page.until(f"() => ({ink})() === '#E6E6E6'")
    page.theme("Light")
    page.until(f"() => ({ink})() === '#24292F'")
