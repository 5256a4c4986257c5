"""How a part of a method is written, for people and for the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import sha256
from types import CellType, CodeType, FunctionType


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
    """How a part is written: a function or class by its name, a value as it is constructed.

    What a function made in another one keeps of it stands in brackets, and a lambda has a number
    that follows from its code: parts that differ are not to be taken for one.
    """
    if isinstance(part, FunctionType):
        return _function(part)
    if isinstance(part, type):
        return part.__name__
    if is_dataclass(part):
        shown = {f.name: getattr(part, f.name) for f in fields(part) if f.repr}
        return f"{type(part).__name__}({_named(shown)})"
    if isinstance(part, tuple):
        return f"({', '.join(part_text(item) for item in part)})"
    if isinstance(part, partial):
        given = [part_text(x) for x in (part.func, *part.args)]
        return f"partial({', '.join([*given, *filter(None, [_named(part.keywords)])])})"
    if type(part).__repr__ is object.__repr__:  # which says where it lies in memory
        held = getattr(part, "__dict__", {})
        return f"{type(part).__name__}({', '.join(f'{n}={_kept(x)}' for n, x in held.items())})"
    return repr(part)


def _named(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={part_text(value)}" for name, value in values.items())


def _function(part: FunctionType) -> str:
    code, name = part.__code__, part.__name__
    if name == "<lambda>":
        plain = [x for x in code.co_consts if not isinstance(x, CodeType)]
        what = repr((code.co_code, code.co_names, plain))
        name = f"lambda {sha256(what.encode()).hexdigest()[:8]}"
    cells = zip(code.co_freevars, part.__closure__ or (), strict=True)
    kept = [f"{of}={_kept(*values)}" for of, cell in cells if (values := _contents(cell))]
    return f"{name}[{', '.join(kept)}]" if kept else name


def _contents(cell: CellType) -> tuple[object, ...]:
    """What a function keeps there; nothing of a name that is given a value later."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _kept(value: object) -> str:
    """A value that stays as it is; of others, which may change as a search goes on, the type."""
    if value is None or isinstance(value, (int, float, str)):
        return repr(value)
    if isinstance(value, (FunctionType, type)):
        return value.__name__  # one may keep itself
    if isinstance(value, tuple):
        return f"({', '.join(_kept(item) for item in value)})"
    if is_dataclass(value):
        return part_text(value)
    return type(value).__name__
