"""Whether lines and figures of a run folder are what they say, so that no reader trips over them.

A seal tells damage; this also holds for schema 1, which has no seals, and for files of others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from numbers import Real
from typing import TypeGuard, cast

import numpy as np

from workbench.trace.folder import RunError

_NAME = re.compile(r"""[^<>&$%"'`\\\x00-\x1f\x7f]{1,200}""")  # figures show it as it is
Test = Callable[[object], bool]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _number(value: object) -> bool:
    if isinstance(value, int):  # JSON's may have any number of digits
        return not isinstance(value, bool) and abs(value) < 1 << 1023
    return isinstance(value, Real)


def _real(value: object) -> bool:
    return value is None or _number(value)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _name(value: object) -> bool:
    """Is it what an edge, a kind of cell or an operation can be called?"""
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


def _reals(value: object) -> bool:
    return isinstance(value, dict) and all(map(_real, value.values()))


def _genes(value: object) -> bool:
    return isinstance(value, dict) and "cells" in value and _text(value.get("text"))


def _genes_or_none(value: object) -> bool:
    return value is None or _genes(value)


def _count_or_none(value: object) -> bool:
    return value is None or _whole(value)


def _list_of(test: Test) -> Test:
    return lambda value: isinstance(value, list) and all(map(test, value))


def _object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _space(value: object) -> bool:
    """Has a space its axes, each edge named once and with its kind, source and destination?"""
    if not _object(value) or not _object(value.get("cells")):
        return False
    lists = {name: value.get(name) for name in ("edges", "kinds", "src", "dst", "ops")}
    tests = {"edges": _name, "kinds": _name, "src": _whole, "dst": _whole, "ops": _name}
    if not all(_list_of(tests[name])(found) for name, found in lists.items()):
        return False
    sizes = {len(cast("list[object]", lists[name])) for name in ("edges", "kinds", "src", "dst")}
    names = [cast("list[str]", lists[name]) for name in ("edges", "ops")]
    return len(sizes) == 1 and all(len(set(found)) == len(found) for found in names)


_CLOCK: Mapping[str, Test] = {"stage": _whole, "epoch": _whole, "step": _whole}
_STAGE: Mapping[str, Test] = {
    "step_offset": _whole,
    "epoch_offset": _whole,
    "epochs": _whole,
    "steps": _whole,
    "space": _space,
    "split": _object,
}
_EPOCH: Mapping[str, Test] = {
    "scalars": _reals,
    "genotype": _genes_or_none,
    "parameters": _count_or_none,
    "macs": _count_or_none,
    "alive": _count_or_none,
    "supernet_parameters": _count_or_none,
    "seconds": _real,
    "memory": _count_or_none,
}
_REST: Mapping[str, Mapping[str, Test]] = {
    "StageStarted": _STAGE,
    "EpochEnded": _EPOCH,
    "Pruned": {"edge": _name, "op": _name, "weight": _real, "reason": _text},
    "Held": {"edge": _name, "op": _name, "reason": _text},
    "Stopped": {"reason": _text},
    "Derived": {"genotype": _genes, "residual_entropy": _reals},
    "Probed": {"values": _object},
}
_FIGURES: Mapping[str, Test] = {
    "test_accuracy": _number,
    "test_map": _number,
    "parameters": _whole,
    "macs": _whole,
    "seconds": _real,
    "genotype": _text,
    "recipe": _object,
    "confusion": _list_of(_list_of(_whole)),
}


def check_line(line: Mapping[str, object], where: str) -> None:
    """Refuse a line of events that lacks something; `where` is its name.

    Raises:
        RunError: saying what.
    """
    event = line.get("event")
    if not isinstance(event, str):
        raise RunError(f"{where} tells no event; restore the file from a copy")
    if event == "Evaluated":  # the end of an evaluation, which has no clock
        return
    _check(line, {**_CLOCK, **_REST.get(event, {})}, where)
    if event == "StageStarted":
        _check_state(line, where)


def check_figures(figures: Mapping[str, object], where: str) -> None:
    """Refuse the figures of an evaluation that lack something.

    Raises:
        RunError: saying what.
    """
    _check(figures, _FIGURES, where)
    seed = cast("Mapping[str, object]", figures["recipe"]).get("seed")
    if not _count_or_none(seed):
        raise RunError(f"{where}: recipe has the seed {str(seed)[:40]!r}; it should be a number")


def _check(found: Mapping[str, object], tests: Mapping[str, Test], where: str) -> None:
    for name, test in tests.items():
        if name not in found:
            raise RunError(f"{where} lacks {name!r}; restore the file from a copy")
        if not test(found[name]):
            met = str(found[name])[:60]
            raise RunError(f"{where} has {name} {met!r}, which cannot be; restore the file")


def _check_state(line: Mapping[str, object], where: str) -> None:
    space = cast("Mapping[str, list[str]]", line["space"])
    shape = (len(space["edges"]), len(space["ops"]))
    for name in ("alpha", "mix", "alive"):
        try:
            met = np.array(line.get(name), np.float64).shape
        except (TypeError, ValueError):
            met = None
        if met != shape and 0 not in shape:
            raise RunError(f"{where} has no {name} of {shape} edges and operations; restore it")
