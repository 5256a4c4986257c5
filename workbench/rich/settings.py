"""Configs and machines as HTML: what is not the default, and the command line."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from workbench.rich.html import Html, code, heading, join, paragraph, table

if TYPE_CHECKING:
    from workbench.config import SearchConfig
    from workbench.engine import Machine
    from workbench.evaluate_config import EvaluateConfig
    from workbench.settings import Settings


def search_config(value: SearchConfig) -> Html:
    """Settings of a search that are not the default, and its command line."""
    return _config(value, f"search: {value.method}", value.command("search"))


def evaluate_config(value: EvaluateConfig) -> Html:
    """Settings of an evaluation that are not the default, and its command line."""
    return _config(value, "evaluation", value.command("evaluate", "RUN"))


def machine(value: Machine) -> Html:
    """Settings of a machine that are not the default, and the device that is used."""
    mine = [(f.name, getattr(value, f.name), f.default) for f in fields(value)]
    rows = [(name, code(repr(here)), repr(usual)) for name, here, usual in mine if here != usual]
    title = heading("machine", f"runs on {value.torch_device}", value.precision)
    return join(title, _table(rows))


def _config(value: Settings, title: str, command: str) -> Html:
    known = type(value).model_fields
    changed = value.model_dump(mode="json", exclude_defaults=True)
    rows = [
        (name, code(str(here)), known[name].description or "") for name, here in changed.items()
    ]
    return join(heading(title), _table(rows, "about"), code(command))


def _table(rows: list[tuple[str, Html, str]], last: str = "default") -> Html:
    if not rows:
        return paragraph("everything as by default")
    return table(rows, head=("setting", "value", last))
