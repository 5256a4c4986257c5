"""What a form must know of every setting, read off the model: no second list of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard, cast

from pydantic import BaseModel

Kind = Literal["choice", "flag", "number", "path", "text", "list"]
_REST = "more"
_NAMES = {"clip_arch": "clip of the alphas' gradient"}  # more than its name says
_WORDS = {"lr": "learning rate", "arch": "architecture", "beta1": "β1", "beta2": "β2"}


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
        plain = " ".join(_WORDS.get(word, word) for word in self.name.split("_"))
        words = _NAMES.get(self.name, plain)
        named = not self.unit or self.unit in words.split()
        return words if named else f"{words} ({self.unit})"

    @property
    def help(self) -> str:
        """What it is, and which numbers it takes."""
        return "; ".join(filter(None, [self.about, self.bounds]))


def described(model: type[BaseModel]) -> tuple[Described, ...]:
    """Every setting of `model`, in its order, as its JSON schema tells of them."""
    schema = cast("Mapping[str, Mapping[str, object]]", model.model_json_schema()["properties"])
    return tuple(
        _described(name, schema[name], info.get_default(call_default_factory=True))
        for name, info in model.model_fields.items()
    )


def _described(name: str, schema: Mapping[str, object], default: object) -> Described:
    members = cast("Sequence[Mapping[str, object]]", schema.get("anyOf", [schema]))
    form = cast("Mapping[str, object]", schema.get("form", {}))
    choices = _texts(form.get("choices")) or _texts(_first(members, "enum"))
    kind = "choice" if choices else _kind(members)
    return Described(
        name,
        about=str(schema.get("description", "")),
        kind=kind,
        default=default,
        optional=any(member.get("type") == "null" for member in members),
        group=str(form.get("group", _REST)),
        unit=str(form.get("unit", "")),
        bounds=", ".join(_bounds(members)),
        choices=choices,
        suggestions=_texts(form.get("suggestions")),
        probe=_probe(kind, choices, default, _first(members, "minimum")),
    )


def _first(members: Sequence[Mapping[str, object]], key: str) -> object:
    return next((member[key] for member in members if key in member), None)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()


def _kind(members: Sequence[Mapping[str, object]]) -> Kind:
    kinds: dict[object, Kind] = {
        "boolean": "flag", "array": "list", "integer": "number", "number": "number",
    }  # fmt: skip
    for member in members:
        if member.get("type") in kinds:
            return kinds[member["type"]]
    return "path" if _first(members, "format") == "path" else "text"


def _bounds(members: Sequence[Mapping[str, object]]) -> list[str]:
    words = {
        "minimum": "{} or more", "exclusiveMinimum": "above {}",
        "maximum": "{} at most", "exclusiveMaximum": "below {}",
    }  # fmt: skip
    limits = {key: _first(members, key) for key in words}
    texts = {k: f"{v:g}" if abs(v) < 1e6 else f"{v:.0f}" for k, v in limits.items() if _real(v)}
    return [words[key].format(text) for key, text in texts.items()]


def _real(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float)


def _probe(kind: Kind, choices: tuple[str, ...], default: object, least: object) -> object:
    """A value to ask with whether a method has such a setting at all."""
    if kind == "choice":
        return choices[0]
    if kind == "flag":
        return not default
    if kind == "number":
        return 1 if least is None else least
    return None
