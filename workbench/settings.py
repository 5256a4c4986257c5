"""What every config is: typed, frozen, read from YAML, refused in one line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.errors import WorkbenchError

_C = TypeVar("_C", bound=BaseModel)


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
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"config {path}: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"config {path}: must hold `name: value` lines")
        checked(cls, values)
        return values

    def command(self, name: str, *words: str, **more: str) -> str:
        """The command line of these settings: `workbench NAME WORDS…` and a flag for each."""
        flags = []
        for key, value in {**self.model_dump(mode="json", exclude_defaults=True), **more}.items():
            flag = f"--{key.replace('_', '-')}"
            if isinstance(value, bool):
                flags.append(flag if value else flag.replace("--", "--no-", 1))
            else:
                flags += [flag, str(value)]
        return shlex.join(["workbench", name, *words, *flags])


def checked(kind: type[_C], values: dict[str, object]) -> _C:
    """A config of `values`, or one line that says what is wrong with which setting."""
    try:
        return kind(**values)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        raise ConfigError(problems(error, kind)) from error


def problems(error: ValidationError, kind: type[BaseModel] | None = None) -> str:
    """What pydantic found, in one line; `kind` lets an unknown setting name its likeliest."""
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden" and kind is not None:
            lines.append(unknown("setting", name, list(kind.model_fields)))
            continue
        message = str(item["msg"]).removeprefix("Value error, ").replace("Input should", "must")
        lines.append(f"{name}: {message} (got {item['input']!r})")
    return "; ".join(lines)


def unknown(what: str, value: str, known: list[str]) -> str:
    """A line about a name that is none of `known`, with the likeliest of them."""
    close = get_close_matches(value, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"there is no {what} {value!r}; {hint}choose one of {', '.join(known)}"
