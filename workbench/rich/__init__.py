"""How objects show themselves in a notebook; their rooms know nothing of it.

IPython is told names of classes and looks them up when it meets one, so nothing is loaded for
objects that are never shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

_HTML = {  # class: (module of its view, function)
    "workbench.engine.machine.Machine": ("settings", "machine"),
    "workbench.config.SearchConfig": ("settings", "search_config"),
    "workbench.evaluate_config.EvaluateConfig": ("settings", "evaluate_config"),
    "workbench.method.Method": ("methods", "method"),
    "workbench.method.Stage": ("methods", "stage"),
    "workbench.method.Differences": ("methods", "differences"),
    "workbench.walk.Walk": ("methods", "walk"),
    "workbench.spaces.genotype.Genotype": ("spaces", "genotype"),
    "workbench.spaces.space.Space": ("spaces", "space"),
    "workbench.spaces.space.CellShape": ("spaces", "cell_shape"),
    "workbench.trace.runs.Run": ("runs", "run"),
    "workbench.trace.finding.Runs": ("runs", "runs"),
}
_SVG = {
    "workbench.spaces.genotype.Genotype": ("spaces", "genotype_svg"),
    "workbench.spaces.space.CellShape": ("spaces", "cell_shape_svg"),
}
_TEXT = {"workbench.spaces.genotype.Genotype": ("spaces", "genotype_text")}


def register() -> bool:
    """Tell IPython how objects show themselves, if it runs here; whether it does."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return False
    formatters = shell.display_formatter.formatters
    for kind, views in (("text/html", _HTML), ("image/svg+xml", _SVG)):
        for name, view in views.items():
            formatters[kind].for_type_by_name(*name.rsplit(".", 1), _later(*view))
    for name, view in _TEXT.items():
        formatters["text/plain"].for_type_by_name(*name.rsplit(".", 1), _printed(*view))
    return True


def _later(module: str, function: str) -> Callable[[object], str | None]:
    """The view, loaded when it is asked for."""

    def show(value: object) -> str | None:
        return getattr(import_module(f"workbench.rich.{module}"), function)(value)

    return show


def _printed(module: str, function: str) -> Callable[..., None]:
    """The view as IPython's pretty printer calls it; within other values the repr is enough."""
    view = _later(module, function)

    def show(value: object, printer: object, cycle: bool) -> None:
        nested = len(getattr(printer, "stack", [value])) > 1
        getattr(printer, "text")(repr(value) if nested else view(value))  # noqa: B009

    return show
