"""How the panel looks: JupyterLab's own colours, so that its light and dark themes both fit."""

from __future__ import annotations

import re
from html import escape

STYLE = """<style>
[data-jp-theme-light="false"] .wb-panel { color-scheme: dark }
.wb-panel { width: 100%; box-sizing: border-box; color: var(--jp-ui-font-color1);
  overflow: visible }
.wb-top { display: flex; flex-flow: row wrap; gap: 16px; width: 100%; align-items: flex-start;
  overflow: visible }
.wb-form { flex: 3 1 500px; min-width: 0; overflow: visible }
.wb-about { flex: 2 1 340px; min-width: 0; max-height: 620px; overflow: auto !important }
.wb-group { margin: 0 0 6px 0; width: 100% }
.wb-fields { display: grid !important; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr));
  gap: 8px 16px; overflow: visible; width: 100% }
.wb-fields > * { min-width: 0 }
.wb-field { overflow: visible; justify-content: flex-start }
.wb-field .widget-inline-hbox:not(.widget-checkbox) { flex-direction: column; align-items: stretch;
  width: auto; height: auto; margin: 0 2px }
.wb-field .widget-inline-hbox:not(.widget-checkbox) .widget-label { width: auto; max-width: none;
  text-align: left; height: auto; line-height: 1.4; font-weight: 600; white-space: normal }
.wb-field .widget-inline-hbox:not(.widget-checkbox) :is(input, select) { width: 100%; flex: none;
  box-sizing: border-box; height: var(--jp-widgets-inline-height) }
.wb-field .widget-checkbox { width: auto; height: auto; margin: 0 2px }
.wb-field .widget-checkbox label { font-weight: 600; white-space: normal; line-height: 1.4 }
.wb-field .widget-html { margin: 0 2px; height: auto; line-height: 1.35 }
.wb-field .widget-html-content { line-height: 1.35; height: auto; white-space: normal }
.wb-note { color: var(--jp-ui-font-color2); font-size: var(--jp-ui-font-size0, 11px);
  line-height: 1.35; overflow-wrap: anywhere }
.wb-panel .wb-note code { font-size: inherit !important; background: none; padding: 0 }
.wb-field .widget-dropdown > select { appearance: auto; background-image: none }
.wb-error { color: var(--jp-ui-font-color1); font-size: var(--jp-ui-font-size1, 13px);
  line-height: 1.35; border-left: 3px solid var(--jp-error-color1); padding: 1px 0 1px 6px;
  background: color-mix(in srgb, var(--jp-error-color1) 14%, transparent); overflow-wrap: anywhere }
.wb-field.wb-wrong :is(input, select) { border-color: var(--jp-error-color1) !important }
.wb-field.wb-unused .widget-label { color: var(--jp-ui-font-color2); font-weight: 400 }
.wb-said { border-left: 3px solid var(--jp-success-color1); padding: 1px 0 1px 6px;
  line-height: 1.35; overflow-wrap: anywhere }
.wb-about table { border-collapse: collapse; width: 100%; table-layout: fixed;
  font-size: var(--jp-ui-font-size1, 13px) }
.wb-about :is(th, td) { text-align: left; vertical-align: top; padding: 3px 8px 3px 0;
  line-height: 1.35; overflow-wrap: anywhere; border-top: 1px solid var(--jp-border-color2) }
.wb-about td { font-family: var(--jp-code-font-family); font-size: var(--jp-code-font-size, 12px) }
.wb-about p { margin: 0 0 6px 0; line-height: 1.4 }
.wb-text { font-family: var(--jp-code-font-family); font-size: var(--jp-code-font-size, 12px);
  background: var(--jp-layout-color2); color: var(--jp-content-font-color1); padding: 6px 8px;
  margin: 2px 0; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.4;
  user-select: text }
.wb-bar { gap: 12px; margin: 4px 0 10px 0; align-items: center; overflow: visible;
  flex-flow: row wrap }
.wb-bar > .widget-html { flex: 1 1 260px; min-width: 0 }
.wb-panel .wb-grow { flex: 1 1 260px; width: auto; min-width: 200px }
.wb-runs select { font-family: var(--jp-code-font-family); height: 130px }
.wb-runs .widget-select { width: 100%; height: auto }
.wb-copy button { cursor: pointer; min-width: 170px }
.wb-copy { flex: none }
.wb-panel .widget-html, .wb-panel .widget-html-content { height: auto; min-width: 0 }
</style>"""


def error(text: str) -> str:
    """One line of what is wrong, read out by a screen reader; the empty text if nothing is."""
    line = escape(" ".join(text.split()))
    return f'<div class="wb-error" role="alert">{line}</div>' if line else ""


def said(text: str) -> str:
    """One line of what was done."""
    return f'<div class="wb-said" role="status">{escape(text)}</div>'


def note(text: str) -> str:
    """Small print; `names` in backticks are set as code."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return f'<div class="wb-note">{text}</div>'


def copied(text: str) -> str:
    """A text to select; a line about why there is none."""
    if not text:
        return note("nothing to copy as long as a setting is wrong")
    return f'<div class="wb-text">{escape(text)}</div>'
