"""A figure that changes on the page: drawn anew in place, zoom and legend as they were.

plotly's own `FigureWidget` comes back empty when a page is loaded again, and knows nothing of
JupyterLab's light and dark themes; here the whole figure is a text that the kernel keeps, and the
page draws what is different.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anywidget
import traitlets
from plotly.offline import get_plotlyjs

from workbench.plots import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

_RENDER = """
const templates = TEMPLATES, config = CONFIG;
const page = () => document.body.dataset.jpThemeLight === "false" ? "dark" : "light";
function render({ model, el }) {
  const place = document.createElement("div");
  place.className = "wb-plot";
  el.appendChild(place);
  let drawn = 0, busy = false, again = false;
  async function put(text) {
    if (!text) { Plotly.purge(place); place.style.minHeight = ""; return; }
    const figure = { ...JSON.parse(text), config };
    figure.layout.template = templates[page()];
    place.style.minHeight = `${figure.layout.height || 450}px`;
    try { await Plotly.react(place, figure); } catch (error) {  // what is there cannot be changed
      console.warn(error);
      Plotly.purge(place);
      await Plotly.newPlot(place, figure);
    }
    place.dataset.drawn = ++drawn;
  }
  async function draw() {
    if (busy) { again = true; return; }
    busy = true;
    try { await put(model.get("figure")); } finally {  // one figure that fails is the only one
      busy = false;
      if (again) { again = false; draw(); }
    }
  }
  model.on("change:figure", draw);
  const themes = new MutationObserver(draw);
  themes.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  const sizes = new ResizeObserver(() => place.data && place.clientWidth
    && Plotly.Plots.resize(place));
  sizes.observe(el);
  draw();
  return () => { themes.disconnect(); sizes.disconnect(); Plotly.purge(place); };
}
export default { render };
"""

# Within a function, so that plotly.js finds no loader of modules and hands itself back.
_LIBRARY = """
const Plotly = (function () {
  const module = { exports: {} }, exports = module.exports, define = undefined;
  LIBRARY
  return module.exports;
}).call(globalThis);
"""


def _script() -> str:
    templates = {name: theme.template(name).to_plotly_json() for name in ("light", "dark")}
    render = _RENDER.replace("TEMPLATES", json.dumps(templates))
    render = render.replace("CONFIG", json.dumps(theme.CONFIG))
    return _LIBRARY.replace("LIBRARY", get_plotlyjs()) + render


class LivePlot(anywidget.AnyWidget):
    """A place for one figure; 5 MB of plotly.js go to the page for each."""

    _esm = _script()
    figure = traitlets.Unicode("").tag(sync=True)  # JSON


def figure_text(figure: go.Figure, view: str) -> str:
    """The figure as JSON, arrays in binary, without a template: the page has its own."""
    figure.update_layout(uirevision=view, template="none")
    return str(figure.to_json())
