"""How a part of a method is written, for people and for the record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import sha256
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType

LONG = 1_000  # letters of one value
DEEP = 12  # values within values
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


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
    that follows from its code: parts that differ are not to be taken for one.  It is the same in
    every process, and of no more than some thousand letters.
    """
    return _shortened(_text(part, 0), 4 * LONG)


def _text(part: object, depth: int) -> str:
    if depth > DEEP:
        return "…"
    if isinstance(part, (FunctionType, MethodType, BuiltinFunctionType, type)):
        return _callable(part, depth)
    if is_dataclass(part):
        shown = {f.name: getattr(part, f.name) for f in fields(part) if f.repr}
        return f"{type(part).__name__}({_named(shown, depth)})"
    if isinstance(part, (tuple, list)):
        inside = ", ".join(_text(item, depth + 1) for item in part)
        return f"({inside})" if isinstance(part, tuple) else f"[{inside}]"
    if isinstance(part, dict):
        pairs = ", ".join(f"{_text(k, depth + 1)}: {_text(x, depth + 1)}" for k, x in part.items())
        return f"{{{pairs}}}"
    if isinstance(part, partial):
        given = [_text(x, depth + 1) for x in (part.func, *part.args)]
        return f"partial({', '.join([*given, *filter(None, [_named(part.keywords, depth)])])})"
    if type(part).__repr__ is object.__repr__:  # which says where it lies in memory
        held = getattr(part, "__dict__", {})
        return (
            f"{type(part).__name__}({', '.join(f'{n}={_kept(x, depth)}' for n, x in held.items())})"
        )
    return _shortened(_ADDRESS.sub("", repr(part)))


def _named(values: Mapping[str, object], depth: int) -> str:
    return ", ".join(f"{name}={_text(value, depth + 1)}" for name, value in values.items())


def _callable(part: Callable[..., object], depth: int) -> str:
    """A function or class by its name, with what it keeps of where it was made."""
    owner = getattr(part, "__self__", None)
    if isinstance(part, MethodType):
        return f"{_text(owner, depth + 1)}.{part.__name__}"
    if not isinstance(part, FunctionType):
        return part.__name__
    code, name = part.__code__, part.__name__
    if name == "<lambda>":
        name = f"lambda {sha256(_code(code).encode()).hexdigest()[:8]}"
    cells = zip(code.co_freevars, part.__closure__ or (), strict=True)
    kept = {of: value for of, cell in cells for value in _contents(cell)}
    names = code.co_varnames[: code.co_argcount]
    defaults = part.__defaults__ or ()
    kept |= dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    kept |= part.__kwdefaults__ or {}
    told = ", ".join(f"{of}={_kept(value, depth)}" for of, value in kept.items())
    return f"{name}[{told}]" if told else name


def _code(code: CodeType) -> str:
    """What a function computes, and functions within it; a set is in another order each time."""
    plain = []
    for value in code.co_consts:
        if isinstance(value, CodeType):
            plain.append(_code(value))
        else:
            plain.append(repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value))
    return repr((code.co_code, code.co_names, plain))


def _contents(cell: CellType) -> tuple[object, ...]:
    """What a function keeps there; nothing of a name that is given a value later."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _kept(value: object, depth: int) -> str:
    """A value that stays as it is; of others, which may change as a search goes on, the type."""
    if value is None or isinstance(value, (int, float, str)):
        return _shortened(repr(value))
    if isinstance(value, (FunctionType, type)) and depth:
        return value.__name__
    if isinstance(value, (tuple, partial, FunctionType, MethodType, type)) or is_dataclass(value):
        return _text(value, depth + 1)
    return type(value).__name__


def _shortened(text: str, most: int = LONG) -> str:
    """`text`, whose end is a number that follows from all of it where it is long."""
    if len(text) <= most:
        return text
    return f"{text[:most]}… {sha256(text.encode(errors='replace')).hexdigest()[:8]}"
