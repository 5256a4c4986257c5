"""How a part of a method is written, for people and for the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from types import FunctionType


def numbered(names: Sequence[str]) -> list[str]:
    """Names of stages as they are told apart: of several of one name each has its place behind."""
    return [n if names.count(n) == 1 else f"{n} {at + 1}" for at, n in enumerate(names)]


def brief(part: object) -> str:
    """`part_text` without fields that are as by default."""
    if not is_dataclass(part) or isinstance(part, type):
        return part_text(part)
    values = [(f, getattr(part, f.name)) for f in fields(part) if f.repr]
    shown = [f"{f.name}={brief(value)}" for f, value in values if value != f.default]
    return f"{type(part).__name__}({', '.join(shown)})"


def part_text(part: object) -> str:
    """How a part is written: a function or class by its name, a value as it is constructed."""
    if isinstance(part, (FunctionType, type)):
        return part.__name__
    if is_dataclass(part):
        shown = [f"{f.name}={part_text(getattr(part, f.name))}" for f in fields(part) if f.repr]
        return f"{type(part).__name__}({', '.join(shown)})"
    if isinstance(part, tuple):
        return f"({', '.join(part_text(item) for item in part)})"
    return repr(part)
