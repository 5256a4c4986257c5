"""Every method, its paper, and its difference from a parent: one module per family.

Names here are what the command line and notebooks take: `getattr(methods, "darts")`.
"""

from __future__ import annotations

from workbench.method import Method
from workbench.method import differences as differences
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

FAMILIES = (bilevel, papers, one_level, relaxations, memory, collapse, training_free, baselines)


def named() -> dict[str, Method]:
    """Every method by name, family by family, in the order they stand there."""
    return {
        name: value
        for family in FAMILIES
        for name, value in vars(family).items()
        if isinstance(value, Method) and value.name == name
    }


def __getattr__(name: str) -> Method:
    """A method is an attribute of this package, whichever family it is of."""
    try:
        return named()[name]
    except KeyError:
        raise AttributeError(f"there is no method {name!r}") from None
