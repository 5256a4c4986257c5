"""Panel, live view and the notebook that compares, driven in a browser as a person drives them.

One module, so that one process has them: two JupyterLabs at a time are too much for two cores.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.fakes import fake_run
from tests.lab.driver import write_notebook
from workbench.trace import Run, open_run

LIVE = "document.querySelector('.wb-live"
PLOT = "document.querySelector('.wb-live .wb-plot')"
DRAWN = "() => Number(document.querySelector('.wb-live .wb-plot')?.dataset.drawn || 0)"
POINTS = """() => (document.querySelector('.wb-live .wb-plot')?.calcdata || [])
  .reduce((most, trace) => Math.max(most, trace.length), 0)"""
STATUS = "(state) => document.querySelector('.wb-live .wb-status')?.textContent === state"
FIELDS = {"channels": "4", "cells": "2", "nodes": "2", "epochs": "400", "batch_size": "32"}
THROWS = """async () => {
  const [plotly] = await Promise.all(workbenchLibraries.values()), react = plotly.react;
  window.thrown = 0;
  plotly.react = () => { window.thrown++; plotly.react = react; throw new Error("no change"); };
}"""  # where the figure on the page cannot be changed into the next one
LEGEND = """() => {{ const names = [...{figure}.querySelectorAll('.legend .traces')];
  const mine = names.find((n) => n.textContent.includes('{name}'));
  mine.scrollIntoView({{ block: 'center' }});
  return mine.querySelector('.legendtoggle'); }}"""
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "06_compare.ipynb"
FIGURES = "[...document.querySelectorAll('.js-plotly-plot')]"
WEIGHTS = (
    f"{FIGURES}.find((one) => one.layout.title.text.startsWith('Mixing weights of')"
    " && !one.layout.sliders?.length)"
)
MAP = f"{FIGURES}.find((one) => one.layout.sliders?.length)"
SHOWN = (
    f"() => {WEIGHTS}.data.filter((curve) => curve.name === 'skip_connect'"
    " && curve.visible !== 'legendonly').length"
)


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
    page.until("() => document.querySelector('button.wb-start').disabled")
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
    page.page.close()
    page = lab("panel.ipynb")
    page.until(STATUS, "running")
    page.until(f"() => ({POINTS})() > 3")
    page.page.locator("button.wb-stop").click()
    page.until(STATUS, "stopped")
    ended = run.refresh()
    assert ended.status == "stopped"
    assert steps(run) > stood + 1
    assert np.isfinite(ended.trace["mix"]).all()
    # The view's status and the panel's buttons come in messages of their own.
    page.until("() => document.querySelector('button.wb-pause').disabled")
    assert page.errors == []


def test_every_view_of_a_run_is_drawn_in_light_and_dark(server, lab, tmp_path):
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
    for theme, ink in (("Dark", "#E6E6E6"), ("Light", "#24292F")):
        page.theme(theme)
        for title, view in reversed(VIEWS.items()):  # another one first than is shown
            page.page.locator(".wb-view-choice select").select_option(label=title)
            if view in ("cells", "genotype_history"):
                page.until(f"() => {PLOT}.querySelector('svg.main-svg') === null")
                page.until(f"(plays) => plays === !!{LIVE} .wb-history')", view != "cells")
                drawn = page.page.locator(".wb-live").get_by_text("normal cell")
                drawn.locator("visible=true").first.wait_for()
            else:
                page.until(f"(name) => {PLOT}.layout?.uirevision === name", view)
                page.until(f"() => {PLOT}.layout?.template?.layout?.font?.color === '{ink}'")
            assert not page.page.locator(".wb-live [role=alert]").count(), title
    page.page.locator(".wb-view-choice select").select_option(label="dominance")
    page.until(f"(name) => {PLOT}.layout?.uirevision === name", "dominance")
    assert page.errors == []
    page.page.evaluate(THROWS)
    before = page.page.evaluate(DRAWN)
    page.page.locator(".wb-view-choice select").select_option(label="weight evolution")
    page.until(f"(before) => ({DRAWN})() > before", before)  # drawn anew
    page.until(f"() => ({POINTS})() > 3")
    assert page.page.evaluate("() => window.thrown") == 1
    assert page.errors == []
    page.run_cell(1)  # a figure that cannot be drawn is the only one that is not
    page.page.locator(".wb-view-choice select").select_option(label="dominance")
    page.until(f"(before) => ({DRAWN})() > before", before + 1)


def test_a_newer_figure_leaves_legend_and_slider_as_they_were(server, lab):
    fake_run(server.root / "younger", nodes=4, prune=False)
    fake_run(server.root / "older", nodes=4, epochs=5)  # it has crosses between the curves
    write_notebook(
        server.root / "newer.ipynb",
        "from workbench import plots, widgets\nfrom workbench.trace import open_run\n"
        "from workbench.widgets.plot import figure_text\n"
        "newer = {name: figure_text(plots.FIGURES[name](open_run('older')), name)"
        " for name in ('weight_evolution', 'heat_map')}\n"
        "view = widgets.live('younger')\nview",
        "view.plot.figure = newer['weight_evolution']",
        "view.plot.figure = newer['heat_map']\nprint('put')",
    )
    page = lab("newer.ipynb")
    page.run_cell(0)
    page.until(STATUS, "finished")
    page.until(f"() => ({POINTS})() > 3")
    count = page.page.evaluate(f"() => {PLOT}.data.length")
    page.click(LEGEND.format(figure=PLOT, name="skip_connect"))
    off = f"{PLOT}.data.filter((one) => one.visible === 'legendonly').map((one) => one.name)"
    page.until(f"() => {off}.length")
    page.run_cell(1)
    page.until(f"(count) => {PLOT}.data.length > count", count)
    gone = page.page.evaluate(f"() => {off}")
    curves = page.page.evaluate(f"() => {PLOT}.data.map((one) => one.name)")
    assert set(gone) == {"skip_connect"}
    assert len(gone) == curves.count("skip_connect") > 28  # with crosses

    page.page.locator(".wb-view-choice select").select_option(label="heat map")
    page.until(f"() => {PLOT}.layout?.uirevision === 'heat_map'")
    page.slide(PLOT, 0.5)
    active = f"{PLOT}._fullLayout.sliders[0].active"
    last = f"{PLOT}._fullLayout.sliders[0].steps.length - 1"
    page.until(f"() => {active} < {last}")
    at, drawn, end = page.page.evaluate(f"() => [{active}, ({DRAWN})(), {last}]")
    page.run_cell(2)
    page.output(2).get_by_text("put", exact=True).wait_for()
    assert page.page.evaluate(f"() => [{active}, ({DRAWN})(), {last}]") == [at, drawn, end]
    page.slide(PLOT, 0.999)
    page.until(f"(drawn) => ({DRAWN})() > drawn", drawn)
    assert page.page.evaluate(f"() => {last}") > end  # all that came meanwhile


def test_an_op_is_switched_in_every_facet_and_the_slider_shows_another_step(by_hand, lab):
    for seed, name in enumerate(("one", "two")):
        fake_run(by_hand.root / name, seed=seed)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    (cell,) = (c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
    lines = "".join(cell["source"]).splitlines(keepends=True)
    assert lines[0].startswith("runs: str = ")
    cell["source"] = ['runs: str = "one\\ntwo"\n', *lines[1:]]
    (by_hand.root / "compare.ipynb").write_text(json.dumps(notebook))

    page = lab("compare.ipynb", by_hand)
    page.run_all()
    page.until(f"() => {MAP}")
    assert not page.page.locator(".jp-OutputArea-output[data-mime-type*='error']").count()

    before = page.page.evaluate(SHOWN)
    assert before > 3  # a curve on every edge
    page.click(LEGEND.format(figure=WEIGHTS, name="skip_connect"))
    page.until(f"() => ({SHOWN})() === 0")

    active = f"() => {MAP}._fullLayout.sliders[0].active"
    values = f"() => JSON.stringify({MAP}.calcdata[0][0].z?.[0] || {MAP}._fullData[0].z[0])"
    at, was = page.page.evaluate(active), page.page.evaluate(values)
    page.slide(MAP, 0.5)
    page.until(f"(at) => ({active})() !== at", at)
    page.until(f"(was) => ({values})() !== was", was)
    assert page.errors == []
