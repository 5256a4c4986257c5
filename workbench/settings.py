"""What every config is: typed, frozen, read from YAML, refused in one line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench import limits
from workbench.errors import WorkbenchError

_C = TypeVar("_C", bound=BaseModel)
_T = TypeVar("_T")


class ConfigError(WorkbenchError):
    """A setting that cannot be: names the setting, the rule and a remedy."""


class Settings(BaseModel):
    """A frozen set of typed settings; unknown names and infinite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """What its repr shows: only what is not the default."""
        yield from self.model_dump(mode="json", exclude_defaults=True).items()

    @classmethod
    def from_yaml(cls, path: Path | str) -> dict[str, object]:
        """The settings a YAML file holds, checked.

        Raises:
            ConfigError: if the file cannot be read, or a setting is unknown or wrong.
        """
        text = limits.read_text(path, limits.CONFIG_TEXT, "config", ConfigError)
        return cls.from_text(text, str(path))

    @classmethod
    def from_text(cls, text: str, name: str = "text") -> dict[str, object]:
        """The settings that YAML text holds, checked; `name` is what to call it.

        Raises:
            ConfigError: if it is no YAML, or a setting is unknown or wrong.
        """
        try:
            values = read_yaml(text) or {}
        except yaml.YAMLError as error:
            raise ConfigError(f"config {name}: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"config {name}: must hold `name: value` lines")
        checked(cls, values)
        return values

    def changed(self) -> dict[str, object]:
        """What differs from the defaults, as JSON values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def unlike(self, other: Self) -> dict[str, object]:
        """What differs from other settings, as JSON values."""
        theirs = other.model_dump(mode="json")
        return {k: v for k, v in self.model_dump(mode="json").items() if v != theirs[k]}

    def to_yaml(self) -> str:
        """What differs from the defaults, as `from_yaml` reads it; the empty text if nothing."""
        values = self.changed()
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True) if values else ""

    def command(self, name: str, *words: str, **more: str) -> str:
        """The command line of these settings: `workbench NAME WORDS…` and a flag for each."""
        flags = []
        for key, value in {**self.changed(), **more}.items():
            flag = f"--{key.replace('_', '-')}"
            if isinstance(value, bool):
                flags.append(flag if value else flag.replace("--", "--no-", 1))
            elif str(value).startswith("-"):  # else it would be read as a flag
                flags.append(f"{flag}={value}")
            else:
                flags += [flag, str(value)]
        return shlex.join(["workbench", name, *words, *flags])


def setting(
    default: _T,
    about: str,
    group: str,
    unit: str = "",
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    choices: Sequence[str] = (),
    suggestions: Sequence[str] = (),
) -> _T:
    """A field of `Settings` that forms know how to show.

    Args:
        about: one line of what it is.
        group: under which heading it stands.
        unit: what its number counts.
        ge, gt, le: what the number is at least, or above, and at most.
        choices: the only values there are; suggestions: some of them.
    """
    shown = {"group": group, "unit": unit, "choices": [*choices], "suggestions": [*suggestions]}
    extra: dict[str, Any] = {"form": {key: value for key, value in shown.items() if value}}
    return Field(default, description=about, ge=ge, gt=gt, le=le, json_schema_extra=extra)  # pyright: ignore[reportCallIssue]


class _Plain(yaml.SafeLoader):
    """YAML whose `1:2` is a text; YAML 1.1 would make it 62, in base 60.

    Aliases are refused: a few lines of them stand for more values than a machine can hold.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A node that is none of an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("settings are written out; *aliases are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose every name stands once; YAML itself takes the last."""
        names = set[str]()
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and name in names:
                raise yaml.YAMLError(f"{limits.shown(name)} stands again in line {line}; keep one")
            names.add(name)
        return super().construct_mapping(node, deep)


_NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"),
    "tag:yaml.org,2002:float": re.compile(
        r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$"
    ),
}
_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in _NUMBERS]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _NUMBERS.items():
    _Plain.add_implicit_resolver(_tag, _pattern, list("-+.0123456789"))


def read_yaml(text: str) -> object:
    """What YAML text holds; numbers are decimal (`1e-3` is one, `1:2` is not).

    Raises:
        yaml.YAMLError: if it is none, or longer than anybody's settings.
    """
    if len(text) > limits.CONFIG_TEXT:
        raise yaml.YAMLError(
            f"{len(text):,} characters, and settings take at most {limits.CONFIG_TEXT:,}; "
            "check that it is the right text"
        )
    try:
        return yaml.load(text, Loader=_Plain)
    # what pyyaml makes of `!!bool x`, `!!timestamp x`, a number of 5,000 digits, 1,000 brackets
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise yaml.YAMLError(f"a value in it cannot be read ({type(error).__name__})") from error


def checked(kind: type[_C], values: dict[str, object]) -> _C:
    """A config of `values`, or one line that says what is wrong with which setting."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(problems(error, kind)) from error


def problems(error: ValidationError, kind: type[BaseModel] | None = None) -> str:
    """What pydantic found, in one line; `kind` lets an unknown setting name its likeliest."""
    lines = []
    for item in error.errors():
        name = ".".join(limits.shown(part).strip("'") for part in item["loc"])
        if item["type"] == "extra_forbidden" and kind is not None:
            lines.append(unknown("setting", name, list(kind.model_fields)))
            continue
        lines.append(f"{name}: {_said(item['msg'], item['input'])}")
    return "; ".join(lines)


def problems_by_setting(error: ValidationError) -> dict[str, str]:
    """What pydantic found, setting by setting, one line each."""
    return {str(item["loc"][0]): _said(item["msg"], item["input"]) for item in error.errors()}


def _said(message: str, value: object) -> str:
    text = message.removeprefix("Value error, ").replace("Input should", "must")
    for long, short in _SHORT.items():
        text = re.sub(long, short, text)
    return f"{text[: 10 * limits.SHOWN]} (got {limits.shown(value)})"


_SHORT = {
    "be a valid integer, unable to parse .*": "be a whole number",
    "be a valid integer, got a number with a fractional part": "be a whole number",
    "be a valid number, unable to parse .*": "be a number",
    "be greater than or equal to (.*)": r"be \1 or more",
}


def unknown(what: str, value: str, known: list[str]) -> str:
    """A line about a name that is none of `known`, with the likeliest of them."""
    close = get_close_matches(value[: limits.SHOWN], known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"there is no {what} {limits.shown(value)}; {hint}choose one of {', '.join(known)}"
