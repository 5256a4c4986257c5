"""What a form must know of every setting, read off the model: no second list of settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Kind = Literal["choice", "flag", "number", "path", "text", "list"]
_REST = "more"


@dataclass(frozen=True)
class Described:
    """A setting: `kind` says what is put in, `bounds` holds words such as "1 or more".

    `optional` settings may be left out; then the method, the space or the machine decides.
    `probe` is some value that the type allows, None if none is known.
    """

    name: str
    about: str
    kind: Kind
    default: object
    optional: bool
    group: str = _REST
    unit: str = ""
    bounds: str = ""
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    probe: object = None

    @property
    def label(self) -> str:
        """The name in words, with its unit unless it names that."""
        words = self.name.replace("_", " ")
        named = not self.unit or self.unit in words.split()
        return words if named else f"{words} ({self.unit})"

    @property
    def help(self) -> str:
        """What it is, and which numbers it takes."""
        return "; ".join(filter(None, [self.about, self.bounds]))


def described(model: type[BaseModel]) -> tuple[Described, ...]:
    """Every setting of `model`, in its order."""
    return tuple(_described(name, info) for name, info in model.model_fields.items())


def _described(name: str, info: FieldInfo) -> Described:
    members = _members(info.annotation)
    types = [kind for kind, _ in members if kind is not NoneType]
    limits = [*info.metadata, *(limit for _, more in members for limit in more)]
    choices: tuple[str, ...] = ()
    for found in types:
        if get_origin(found) is Literal:
            choices += get_args(found)
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    form = extra.get("form")
    shown = form if isinstance(form, dict) else {}
    choices = choices or tuple(map(str, _items(shown.get("choices"))))
    kind = _kind(types, choices)
    return Described(
        name,
        about=info.description or "",
        kind=kind,
        default=info.get_default(call_default_factory=True),
        optional=len(types) < len(members),
        group=str(shown.get("group", _REST)),
        unit=str(shown.get("unit", "")),
        bounds=", ".join(_bounds(limits)),
        choices=choices,
        suggestions=tuple(map(str, _items(shown.get("suggestions")))),
        probe=_probe(kind, choices, info.default, limits),
    )


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _members(annotation: object) -> list[tuple[object, list[object]]]:
    """The types of a union, each with its limits; of anything else, itself."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return [found for part in get_args(annotation) for found in _members(part)]
    if origin is Annotated:
        kind, *notes = get_args(annotation)
        limits = [limit for note in notes for limit in getattr(note, "metadata", [note])]
        return [(found, [*more, *limits]) for found, more in _members(kind)]
    return [(annotation, [])]


def _kind(types: list[object], choices: tuple[str, ...]) -> Kind:
    if choices:
        return "choice"
    if bool in types:
        return "flag"
    if any(get_origin(found) in (tuple, list) for found in types):
        return "list"
    if int in types or float in types:
        return "number"
    return "path" if Path in types else "text"


def _bounds(limits: list[object]) -> list[str]:
    words = []
    for limit in limits:
        if isinstance(limit, Ge):
            words.append(f"{limit.ge:g} or more")  # pyright: ignore[reportGeneralTypeIssues]
        elif isinstance(limit, Gt):
            words.append(f"above {limit.gt:g}")  # pyright: ignore[reportGeneralTypeIssues]
        elif isinstance(limit, Le):
            words.append(f"{limit.le:g} at most")  # pyright: ignore[reportGeneralTypeIssues]
        elif isinstance(limit, Lt):
            words.append(f"below {limit.lt:g}")  # pyright: ignore[reportGeneralTypeIssues]
    return words


def _probe(kind: Kind, choices: tuple[str, ...], default: object, limits: list[object]) -> object:
    """A value to ask with whether a method has such a setting at all."""
    if kind == "choice":
        return choices[0]
    if kind == "flag":
        return not default
    if kind != "number":
        return None
    least = [limit.ge for limit in limits if isinstance(limit, Ge)]
    return least[0] if least else 1
