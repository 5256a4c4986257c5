"""Every method, its paper, and its difference from a parent: one module per family.

Names here are what the command line and notebooks take: `getattr(methods, "darts")`.  Presets carry
the published hyper-parameters; `darts_small`, and so on, is the preset cut to digits by one rule.
"""

from __future__ import annotations

from workbench.method import Method
from workbench.method import differences as differences
from workbench.method import small as small
from workbench.methods import (
    baselines,
    bilevel,
    collapse,
    memory,
    one_level,
    papers,
    relaxations,
    training_free,
)
from workbench.walk import Walk
from workbench.walk import small as small_walk

FAMILIES = (bilevel, one_level, papers, relaxations, memory, collapse, training_free, baselines)


def named() -> dict[str, Method | Walk]:
    """Every method, walks too, by name, family by family, in the order they stand there."""
    return {name: value for name, value in _values().items() if not name.endswith("_small")}


def family(name: str) -> str:
    """What the family of a method is about, in one line.

    Raises:
        KeyError: if there is no such method.
    """
    for module in FAMILIES:
        if name.removesuffix("_small") in vars(module):
            return (module.__doc__ or "").splitlines()[0]
    raise KeyError(name)


def find(name: str) -> Method | Walk | None:
    """The method of that name; `NAME_small` is one that fits small pictures and few steps."""
    values = _values()
    if name in values:
        return values[name]
    whole = values.get(name.removesuffix("_small"))
    if whole is None or not name.endswith("_small"):
        return None
    return small_walk(whole) if isinstance(whole, Walk) else small(whole)


def _values() -> dict[str, Method | Walk]:
    return {
        name: value
        for module in FAMILIES
        for name, value in vars(module).items()
        if isinstance(value, (Method, Walk)) and value.name == name
    }


def __getattr__(name: str) -> Method | Walk:
    """A method is an attribute of this package, whichever family it is of."""
    method = find(name)
    if method is None:
        raise AttributeError(f"there is no method {name!r}")
    return method
