"""Spaces by name, for the command line and configs: the one table of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.robust import s1, s2, s3, s4
from workbench.spaces.space import Space
from workbench.spaces.variants import darts_individual, fair_darts, gold

SPACES: Mapping[str, Callable[..., Space]] = {
    "darts": darts,
    "nasbench201": nasbench201,
    "s1": s1,
    "s2": s2,
    "s3": s3,
    "s4": s4,
    "fair_darts": fair_darts,
    "darts_individual": darts_individual,
    "gold": gold,
}


def named(
    name: str, *, channels: int | None = None, cells: int | None = None, nodes: int | None = None
) -> Space:
    """The space of that name in `SPACES`; None leaves a size as the space has it.

    `cells` are the depth, or in the NAS-Bench-201 family cells per stage.

    Raises:
        KeyError: if there is no such space.
        SpaceError: if there is none of that size.
    """
    sizes = {"channels": channels, _deep(name): cells, "nodes": nodes}
    return SPACES[name](**{key: value for key, value in sizes.items() if value is not None})


def own_sizes(name: str) -> dict[str, int]:
    """The `channels`, `cells` and `nodes` that a space has if none are given.

    Raises:
        KeyError: if there is no such space.
    """
    has = inspect.signature(SPACES[name]).parameters
    own = {"channels": "channels", "cells": _deep(name), "nodes": "nodes"}
    return {size: has[parameter].default for size, parameter in own.items()}


def _deep(name: str) -> str:
    return "cells_per_stage" if name == "nasbench201" else "cells"
