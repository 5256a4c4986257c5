"""A form made from the model of a search's settings: an input, its help and its error for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ipywidgets as w

from workbench.widgets import style
from workbench.widgets.checked import FIELDS, Checked
from workbench.widgets.described import Described
from workbench.widgets.method_choice import method_choice

if TYPE_CHECKING:
    from workbench.config import SearchConfig

_CLOSED = ("data", "zero-cost warm-up", "machine and record", "more")


class Form:
    """Inputs for every setting, in groups.  `changed` is called after each change by hand.

    `box` is what is shown.  Texts stay as they were typed, also where they are wrong.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed, self._quiet = changed, False
        self.fields = {about.name: _Field(about, self._tell) for about in FIELDS}
        self.groups = {
            group: _Group(group, [f for f in self.fields.values() if f.about.group == group])
            for group in dict.fromkeys(about.group for about in _in_order())
        }
        self.box = w.VBox([group.box for group in self.groups.values()])
        self.box.add_class("wb-form")

    def values(self) -> dict[str, object]:
        """What was put in, as it is; settings that were left out are not there."""
        found = {name: field.value for name, field in self.fields.items()}
        return {name: value for name, value in found.items() if value is not None}

    def fill(self, config: SearchConfig) -> None:
        """Put all settings of `config` in."""
        with self._silent():
            for name, field in self.fields.items():
                field.fill(getattr(config, name))
        self._changed()

    def show(self, checked: Checked) -> None:
        """Show what is wrong, what is not to be had, and what left-out settings will be."""
        with self._silent():
            for name, field in self.fields.items():
                field.show(checked.errors.get(name, ""), checked.unused.get(name, ""), checked.own)
            for group in self.groups.values():
                group.show(checked)

    def _tell(self, _: object) -> None:
        if not self._quiet:
            self._changed()

    @contextmanager
    def _silent(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before


def _in_order() -> list[Described]:
    """Groups in the order in which a person fills them in: those that stay closed come last."""
    return sorted(FIELDS, key=lambda about: about.group in _CLOSED)


class _Group:
    """Settings under one heading, which says how many of them are set or wrong."""

    def __init__(self, title: str, fields: list[_Field]) -> None:
        self._title, self._fields = title, fields
        grid = w.Box([field.box for field in fields])
        grid.add_class("wb-fields")
        self.box = w.Accordion([grid], titles=(title,))
        self.box.selected_index = None if title in _CLOSED else 0
        self.box.add_class("wb-group")

    def show(self, checked: Checked) -> None:
        """Put the counts into the heading."""
        names = {field.about.name for field in self._fields}
        wrong = len(names & set(checked.errors))
        changed = sum(field.is_set for field in self._fields)
        words = [f"{wrong} to correct"] if wrong else []
        words += [f"{changed} set"] if changed else []
        words = ["not in this method"] if names <= set(checked.unused) else words
        self.box.titles = (" · ".join([self._title, *words]),)


class _Field:
    """One setting: label, input, help, error."""

    def __init__(self, about: Described, tell: Callable[[object], None]) -> None:
        self.about = about
        self.input, self._above = _input(about)
        self._help = w.HTML(style.note(about.help))
        self._error = w.HTML()
        self.box = w.VBox([*self._above, self.input, self._help, self._error])
        for name in ("wb-field", f"wb-field-{about.name}"):
            self.box.add_class(name)
        self.input.observe(tell, "value")

    @property
    def value(self) -> object:
        """What was put in; None if the setting is left out."""
        value = self.input.value
        if not isinstance(value, str):
            return value
        text = value.strip()
        if self.about.kind == "list":
            return [part for part in text.replace(",", " ").split() if part] or None
        return None if not text and self.about.optional else text

    @property
    def is_set(self) -> bool:
        """Whether it holds something else than the default."""
        return _text(self.value) != _text(self.about.default)

    def fill(self, value: object) -> None:
        """Put a setting in."""
        for shortens in self._above:  # the list may not hold the value now
            shortens.value = shortens.options[0]
        if isinstance(self.input, w.Checkbox):
            self.input.value = bool(value)
        else:
            self.input.value = _text(value)

    def show(self, error: str, unused: str, own: Mapping[str, str]) -> None:
        """Show an error; or why there is no such setting; or what it is if left out."""
        self._error.value = style.error(error)
        for name, holds in (("wb-wrong", bool(error)), ("wb-unused", bool(unused))):
            (self.box.add_class if holds else self.box.remove_class)(name)
        # What was typed before another method was chosen can still be taken out.
        self.input.disabled = bool(unused) and not self.is_set
        self._help.value = style.note(unused.partition(";")[0] or self.about.help)
        value = own.get(self.about.name, "")
        if isinstance(self.input, w.Text):
            self.input.placeholder = "" if unused else _left_out(self.about, value)
        elif isinstance(self.input, w.Dropdown) and self.about.optional and not self.input.value:
            self.input.options = _options(self.about, value)


def _input(about: Described) -> tuple[w.Text | w.Dropdown | w.Checkbox, list[w.Dropdown]]:
    """The input of a setting, and what stands above it."""
    if about.name == "method":
        return method_choice(about)
    if about.kind == "flag":
        box = w.Checkbox(value=bool(about.default), description=about.label, indent=False)
        return box, []
    if about.kind == "choice":
        first = _text(about.default)
        return w.Dropdown(options=_options(about, ""), value=first, description=about.label), []
    kind = w.Combobox if about.suggestions else w.Text
    given = {"options": about.suggestions} if about.suggestions else {}
    return kind(value=_text(about.default), description=about.label, **given), []


def _options(about: Described, own: str) -> list[tuple[str, str]]:
    left_out = [(_left_out(about, own) or "left out", "")] if about.optional else []
    return [*left_out, *((choice, choice) for choice in about.choices)]


def _left_out(about: Described, own: str) -> str:
    return f"{own} (if left out)" if own and about.optional else ""


def _text(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return repr(value)  # the shortest that is read as the same number
    return "" if value is None else str(value)
