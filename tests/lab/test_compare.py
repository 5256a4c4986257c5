"""The notebook that compares, opened on two runs: its legend and its slider work."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes import fake_run

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


def test_an_op_is_switched_in_every_facet_and_the_slider_shows_another_step(server, lab):
    for seed, name in enumerate(("one", "two")):
        fake_run(server.root / name, seed=seed)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    (cell,) = (c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
    lines = "".join(cell["source"]).splitlines(keepends=True)
    assert lines[0].startswith("runs: str = ")
    cell["source"] = ['runs: str = "one\\ntwo"\n', *lines[1:]]
    (server.root / "compare.ipynb").write_text(json.dumps(notebook))

    page = lab("compare.ipynb")
    page.run_all()
    page.until(f"() => {MAP}")
    assert not page.page.locator(".jp-OutputArea-output[data-mime-type*='error']").count()

    before = page.page.evaluate(SHOWN)
    assert before > 3  # a curve on every edge
    place = page.page.evaluate_handle(
        f"""() => {{ const figure = {WEIGHTS};
          const names = [...figure.querySelectorAll('.legend .traces')];
          const mine = names.find((n) => n.textContent.includes('skip_connect'));
          mine.scrollIntoView({{ block: 'center' }});
          return mine.querySelector('.legendtoggle'); }}"""
    ).as_element()
    place.click(force=True)
    page.until(f"() => ({SHOWN})() === 0")

    slider = page.page.evaluate_handle(
        f"() => {{ const rail = {MAP}.querySelector('.slider-rail-touch-rect');"
        " rail.scrollIntoView({ block: 'center' }); return rail; }"
    ).as_element()
    active = f"() => {MAP}._fullLayout.sliders[0].active"
    values = f"() => JSON.stringify({MAP}.calcdata[0][0].z?.[0] || {MAP}._fullData[0].z[0])"
    at, was = page.page.evaluate(active), page.page.evaluate(values)
    box = slider.bounding_box()
    page.page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + box["height"] / 2)
    page.until(f"(at) => ({active})() !== at", at)
    page.until(f"(was) => ({values})() !== was", was)
