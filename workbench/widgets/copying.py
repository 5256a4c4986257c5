"""A button that copies a text; ipywidgets have none."""

from __future__ import annotations

import anywidget
import traitlets

_RENDER = """
function render({ model, el }) {
  el.classList.add("wb-copy");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "lm-Widget jupyter-widgets jupyter-button";
  const show = () => {
    button.textContent = model.get("label");
    button.disabled = !model.get("text");
  };
  const byHand = (text) => {  // pages without https have no clipboard
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    document.body.appendChild(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };
  button.addEventListener("click", async () => {
    const text = model.get("text");
    let done = true;
    try { await navigator.clipboard.writeText(text); } catch { done = byHand(text); }
    button.textContent = done ? "copied" : "not allowed here: select the text";
    button.focus();
    setTimeout(show, 1500);
  });
  model.on("change:label", show);
  model.on("change:text", show);
  show();
  el.appendChild(button);
}
export default { render };
"""


class CopyButton(anywidget.AnyWidget):
    """Copies `text` to the clipboard of the browser, and says so; nothing to copy disables it."""

    _esm = _RENDER
    label = traitlets.Unicode("copy").tag(sync=True)
    text = traitlets.Unicode("").tag(sync=True)
