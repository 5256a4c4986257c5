"""What is wrong with a form's values, beside which setting, and what left-out ones will be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import ValidationError

from workbench.config import SearchConfig
from workbench.errors import WorkbenchError
from workbench.method_settings import AlienError, own_settings
from workbench.settings import problems_by_setting
from workbench.spaces.named import own_sizes
from workbench.trace.folder import refuse_occupied
from workbench.widgets.described import Described, described

if TYPE_CHECKING:
    from workbench.method import Method
    from workbench.walk import Walk

FIELDS: tuple[Described, ...] = described(SearchConfig)
_CHOSEN = ("method", "space", "data", "device")  # what decides which other settings there are


@dataclass(frozen=True)
class Checked:
    """Values of a form as they were found.

    Args:
        config: the settings; None as long as something is wrong.
        method: the method with the settings that are right; None if it cannot be built.
        errors: one line for each setting that is wrong; "" is none in particular.
        unused: a reason for each setting that what was chosen does not have.
        own: what the method or the space has where a setting is left out.
    """

    config: SearchConfig | None
    method: Method | Walk | None
    errors: Mapping[str, str]
    unused: Mapping[str, str]
    own: Mapping[str, str]


def check(values: Mapping[str, object]) -> Checked:
    """Everything that can be known of `values` before a search starts; nothing is read or made."""
    errors: dict[str, str] = {}
    try:
        config = SearchConfig(**values)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        errors = problems_by_setting(error)
        right = {name: value for name, value in values.items() if name not in errors}
        config = SearchConfig(**right)  # pyright: ignore[reportArgumentType]
    if not errors.keys() & set(_CHOSEN):
        errors |= _refusals(config)
    chosen = tuple(getattr(config, name) for name in _CHOSEN)
    known = {name: reason for name, reason in _unused(chosen).items() if name not in errors}
    method = None
    if "method" not in errors:
        try:
            method = config.build_method()
        except WorkbenchError as error:
            errors.setdefault(_setting_of(str(error), config.changed()), _plain(str(error)))
    return Checked(None if errors else config, method, errors, known, dict(_own(chosen)))


def _refusals(config: SearchConfig) -> dict[str, str]:
    """What methods, spaces, images and machines say against `config`, by setting."""
    found: dict[str, str] = {}
    chosen = {name: getattr(config, name) for name in _CHOSEN}
    given = [n for n in config.changed() if n not in _CHOSEN]
    for refuses in _CHECKS:
        whole = _said(refuses, config)
        if whole is None:
            continue
        mine = {}
        if _said(refuses, SearchConfig(**chosen)) is None:
            for name in given:  # each alone, so that every wrong one is told at once
                said = _said(refuses, SearchConfig(**chosen, **{name: getattr(config, name)}))
                if said is not None:
                    mine[name] = _plain(str(said))
        found |= mine or {_setting_of(str(whole), given): _plain(str(whole))}
    return found


def _refuse_out(config: SearchConfig) -> None:
    if config.out is not None:
        refuse_occupied(config.out)


_CHECKS: tuple[Callable[[SearchConfig], object], ...] = (
    SearchConfig.build_method,
    SearchConfig.build_probes,
    SearchConfig.build_space,
    SearchConfig.check_data,
    SearchConfig.build_machine,
    _refuse_out,
)
# Those whose refusals make a setting one that is not there, whatever else is set.
_LOCKS = (SearchConfig.build_method, SearchConfig.check_data, SearchConfig.build_machine)


def _said(refuses: Callable[[SearchConfig], object], config: SearchConfig) -> WorkbenchError | None:
    try:
        refuses(config)
    except WorkbenchError as error:
        return error
    return None


def _setting_of(message: str, given: Iterable[str]) -> str:
    """The first setting of those given that a message names, or else the first of all."""
    words = re.findall(r"\w+", message)
    for names in (set(given), {field.name for field in FIELDS}):
        for word in words:
            if word in names:
                return word
    return ""


def _plain(message: str) -> str:
    """A message without the name that stands beside it."""
    name, colon, rest = message.partition(": ")
    return rest if colon and name in {field.name for field in FIELDS} else message


@lru_cache(maxsize=256)
def _unused(chosen: tuple[str, ...]) -> dict[str, str]:
    """Settings that are refused whatever their value, and why.

    Found by asking what builds a search: each setting alone, with a value that its type allows.
    """
    base = dict(zip(_CHOSEN, chosen, strict=True))
    found = {}
    for refuses in _LOCKS:
        if _said(refuses, SearchConfig(**base)) is not None:  # pyright: ignore[reportArgumentType]
            continue
        for field in FIELDS:
            if field.probe is None or field.name in base or (field.choices and not field.optional):
                continue
            tried = SearchConfig(**base, **{field.name: field.probe})  # pyright: ignore[reportArgumentType]
            said = _said(refuses, tried)
            of_method = refuses is SearchConfig.build_method
            if isinstance(said, AlienError) or (said is not None and not of_method):
                found[field.name] = _plain(str(said))
    return found


@lru_cache(maxsize=256)
def _own(chosen: tuple[str, ...]) -> dict[str, str]:
    """What settings are where they are left out: of the method, and of the space."""
    from workbench import methods

    method, space = methods.find(chosen[0]), chosen[1]
    found = {} if method is None else own_settings(method)
    every = {**found, **own_sizes(space)}.items()
    return {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in every}
