"""A figure that changes on the page: drawn anew in place, zoom and legend as they were.

plotly's own `FigureWidget` comes back empty when a page is loaded again, and knows nothing of
JupyterLab's light and dark themes; here the whole figure is a text that the kernel keeps, and the
page draws what is different.

plotly.js is no part of that text's widget: a page that is loaded again gets the state of all its
widgets at once, and shows none of them while 5 MB for each plot are on their way.  It asks for the
library when it has none, once for all its plots.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import anywidget
import plotly
import traitlets
from plotly.offline import get_plotlyjs

from workbench.plots import buttons, theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

_RENDER = """
const templates = TEMPLATES, config = CONFIG, version = VERSION;
const libraries = globalThis.workbenchLibraries ??= new Map();  // of the whole page, by version
const page = () => document.body.dataset.jpThemeLight === "false" ? "dark" : "light";
async function unpacked(bytes) {
  const code = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = new Blob([await new Response(code).blob()], { type: "text/javascript" });
  const url = URL.createObjectURL(script);
  try { return (await import(url)).default; } finally { URL.revokeObjectURL(url); }
}
function library(model) {
  return new Promise((found, failed) => {
    if (libraries.has(version)) { found(libraries.get(version)); return; }
    model.on("msg:custom", (message, buffers) => {
      if (message.plotly !== version) return;
      if (!libraries.has(version)) libraries.set(version, unpacked(buffers[0]));
      libraries.get(version).then(found, failed);
    });
    model.send({ plotly: version });
  });
}
// What is switched off in the legend stays off, in curves too that only the newer figure has.
function keepOff(old, figure) {
  if (old.layout?.uirevision !== figure.layout.uirevision) return;
  const off = new Set((old.data || []).filter((trace) => trace.visible === "legendonly")
    .map((trace) => trace.legendgroup || trace.name));
  for (const trace of figure.data)
    if (off.has(trace.legendgroup || trace.name)) trace.visible = "legendonly";
}
// Does somebody look at an earlier moment than the last, or play from there?
function looksBack(place) {
  const rail = place._fullLayout?.sliders?.[0];
  return !!rail && rail.active < rail.steps.length - 1;
}
function follow(Plotly, model, el, place) {
  let drawn = 0, busy = false, again = false, held = false, inks = "";
  async function put(text) {
    if (!text) { Plotly.purge(place); place.style.minHeight = ""; return; }
    const figure = { ...JSON.parse(text), config };
    figure.layout.template = templates[page()];
    held = looksBack(place) && place.layout.uirevision === figure.layout.uirevision;
    if (held) {
      if (inks !== page()) await Plotly.relayout(place, { template: templates[inks = page()] });
      return;
    }
    inks = page();
    keepOff(place, figure);
    place.style.minHeight = `${figure.layout.height || 450}px`;
    try { await Plotly.react(place, figure); } catch (error) {  // what is there cannot be changed
      console.warn(error);
      Plotly.purge(place);
      await Plotly.newPlot(place, figure);
    }
    place.dataset.drawn = ++drawn;
    for (const name of ["plotly_sliderchange", "plotly_animated"]) {  // a purge takes them along
      place.removeAllListeners(name);
      place.on(name, () => { if (held && !looksBack(place)) draw(); });
    }
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
  return () => {
    model.off("change:figure", draw); themes.disconnect(); sizes.disconnect();
    Plotly.purge(place);
  };
}
function render({ model, el }) {
  const place = document.createElement("div");
  place.className = "wb-plot";
  el.appendChild(place);
  let gone = false, stop = () => {};
  library(model).then((Plotly) => { if (!gone) stop = follow(Plotly, model, el, place); });
  return () => { gone = true; stop(); };
}
export default { render };
"""

# Within a function, so that plotly.js finds no loader of modules and hands itself back.
_LIBRARY = """
export default (function () {
  const module = { exports: {} }, exports = module.exports, define = undefined;
  LIBRARY
  return module.exports;
}).call(globalThis);
"""
_VERSION = plotly.__version__  # each has a plotly.js of its own


def _script() -> str:
    templates = {name: theme.template(name).to_plotly_json() for name in ("light", "dark")}
    render = _RENDER.replace("TEMPLATES", json.dumps(templates))
    render = render.replace("VERSION", json.dumps(_VERSION))
    return render.replace("CONFIG", json.dumps(buttons.CONFIG))


@cache
def _library() -> bytes:
    """plotly.js as a module, packed: 1.5 MB."""
    return gzip.compress(_LIBRARY.replace("LIBRARY", get_plotlyjs()).encode(), mtime=0)


class LivePlot(anywidget.AnyWidget):
    """A place for one figure; a page that has no plotly.js yet is sent it."""

    _esm = _script()
    figure = traitlets.Unicode("").tag(sync=True)  # JSON

    def __init__(self) -> None:
        super().__init__()
        self.on_msg(self._told)

    def _told(self, _: object, message: object, buffers: object) -> None:
        if message == {"plotly": _VERSION}:
            self.send(message, buffers=[_library()])


def figure_text(figure: go.Figure, view: str) -> str:
    """The figure as JSON, arrays in binary, without a template: the page has its own."""
    figure.update_layout(uirevision=view, template="none")
    seen = Counter[int]()
    for trace in figure.data:  # else the page takes what was switched off by its number
        about = (trace[name] for name in ("name", "xaxis", "yaxis") if name in trace)
        place = zlib.crc32("/".join(map(str, (trace.type, *about))).encode())
        trace.uid = f"t{place:08x}_{seen[place]}"  # plotly.js makes CSS classes of them
        seen[place] += 1
    return str(figure.to_json(remove_uids=False))
