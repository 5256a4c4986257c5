"""Choosing one of ninety methods: a family first, then a name."""

from __future__ import annotations

import ipywidgets as w

from workbench.widgets.described import Described

_ALL = "all families"


def method_choice(about: Described) -> tuple[w.Dropdown, list[w.Dropdown]]:
    """The list of methods, and above it a list of families that shortens it.

    A method stays chosen, whatever the family, until another one is.
    """
    families = _families()
    names = [name for members in families.values() for name in members]
    choice = w.Dropdown(options=names, value=about.default, description=about.label)
    family = w.Dropdown(options=[_ALL, *families], description="family of methods")
    family.tooltip = "shortens the list of methods"
    family.add_class("wb-family")

    def shorten(_: object) -> None:
        shown = families.get(str(family.value), names)
        chosen = choice.value
        options = shown if chosen in shown else [chosen, *shown]
        if list(choice.options) != options:
            with choice.hold_trait_notifications():
                choice.options = options
                choice.value = chosen

    family.observe(shorten, "value")
    return choice, [family]


def _families() -> dict[str, list[str]]:
    """Names of methods, each followed by its small form, by what their family is about."""
    from workbench import methods

    found: dict[str, list[str]] = {}
    for name in methods.named():
        small = f"{name}_small"
        shown = [name, small] if methods.find(small) is not None else [name]
        found.setdefault(methods.family(name).rstrip("."), []).extend(shown)
    return found
