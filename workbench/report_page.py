"""The page around a report: styles, the embedded plotly.js and what draws the figures."""

from __future__ import annotations

import html
import json
import re

from workbench.plots import buttons, theme

# Nothing may be fetched; blob: and data: are the pictures a reader saves from a figure.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; connect-src 'none'; base-uri 'none'; form-action 'none'"
)
STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #24292f; --line: #d0d7de; --soft: #57606a;
        --link: #0969da; }
@media screen and (prefers-color-scheme: dark) { :root:not([data-page=light]) {
  --page: #15181c; --ink: #e6e6e6; --line: #3d444d; --soft: #a0a7b0; --link: #6cb2ff; } }
@media screen { :root[data-page=dark] { color-scheme: dark;
  --page: #15181c; --ink: #e6e6e6; --line: #3d444d; --soft: #a0a7b0; --link: #6cb2ff; } }
:root[data-page=light] { color-scheme: light; }
body { background: var(--page); color: var(--ink); margin: 0 auto; max-width: 1100px;
  padding: 24px 28px 64px; font: 15px/1.5 FONT; }
h1 { font-size: 28px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 0; padding-top: 6px; }
.text_cell { margin: 26px 0 4px; } .text_cell p { margin: 4px 0; color: var(--soft); }
h2 { border-top: 1px solid var(--line); padding-top: 18px; }
nav { margin: 14px 0 0; display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 14px; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
table { border-collapse: collapse; font-size: 14px; }
table[border] { border: 0; } div:has(> table.dataframe) { overflow-x: auto; margin: 8px 0; }
th, td { padding: 3px 16px 3px 0; border: 0; border-bottom: 1px solid var(--line); }
details { margin: 10px 0; } summary { cursor: pointer; color: var(--soft); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
.wb-svg { overflow-x: auto; margin: 8px 0; } .wb-svg svg { height: auto; }
.wb-figure { margin: 6px 0; break-inside: avoid; }
footer { margin-top: 40px; color: var(--soft); font-size: 13px; }
@media print { nav { display: none; } }
"""
SCRIPT = """
"use strict";
const templates = TEMPLATES, config = CONFIG;
const dark = matchMedia("(prefers-color-scheme: dark)");
const places = [...document.querySelectorAll(".wb-figure")];
const page = () => document.documentElement.dataset.page || (dark.matches ? "dark" : "light");
function draw(place) {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  const figure = JSON.parse(place.querySelector("script").textContent);
  figure.layout.template = templates[page()];
  Plotly.newPlot(place, { ...figure, config });
}
function repaint(name) {
  for (const place of places)
    if (place.dataset.drawn) Plotly.relayout(place, { template: templates[name] });
}
const near = new IntersectionObserver(
  (entries) => entries.forEach((entry) => entry.isIntersecting && draw(entry.target)),
  { rootMargin: "800px" });
places.forEach((place) => near.observe(place));
const idle = window.requestIdleCallback || ((then) => setTimeout(then, 50));
function rest() {
  const next = places.find((place) => !place.dataset.drawn);
  if (next) { draw(next); idle(rest); }
}
idle(rest);
dark.addEventListener("change", () => repaint(page()));
addEventListener("beforeprint", () => { places.forEach(draw); repaint("light"); });
addEventListener("afterprint", () => repaint(page()));
"""


def page(body: str, *, title: str, colours: str = "auto") -> str:
    """A whole page that loads nothing: `body` with its figures drawn by the embedded plotly.js."""
    from plotly.offline import get_plotlyjs

    scripts = SCRIPT.replace("TEMPLATES", _templates()).replace(
        "CONFIG", json.dumps(buttons.CONFIG)
    )
    chosen = "" if colours == "auto" else f' data-page="{colours}"'
    return "\n".join(
        (
            f'<!DOCTYPE html>\n<html lang="en"{chosen}>\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{STYLE.replace('FONT', theme.FONT)}</style>\n</head>\n<body>",
            _with_contents(body),
            "<footer>Written by workbench. This file loads nothing from the network.</footer>",
            f"<script>{get_plotlyjs()}</script>\n<script>{scripts}</script>\n</body>\n</html>\n",
        )
    )


def _templates() -> str:
    both = {name: theme.template(name).to_plotly_json() for name in ("light", "dark")}
    return json.dumps(both)


def _with_contents(body: str) -> str:
    """`body` with an address for every section, and links to them below its first heading."""
    found: dict[str, str] = {}

    def addressed(match: re.Match[str]) -> str:
        anchor = re.sub(r"[^a-z0-9]+", "-", match[1].lower()).strip("-")
        found[anchor] = match[1]
        return f'<h2 id="{anchor}">{match[1]}</h2>'

    body = re.sub(r"<h2[^>]*>(.*?)</h2>", addressed, body)
    links = "".join(f'<a href="#{anchor}">{name}</a>' for anchor, name in found.items())
    end = body.find("</div>", max(body.find("</h1>"), 0))
    return f"{body[:end]}<nav>{links}</nav>{body[end:]}" if links and end >= 0 else body
