"""What a method's parts are and hand back, looked at: a slip is told in one line, not a crash.

Only names, types and shapes are looked at, which a GPU knows without being waited for, and of those
only what would fail, or mislead: a part may be and return more than `protocols` asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import getattr_static, isfunction
from typing import TYPE_CHECKING, cast, get_args

import torch
from torch import Tensor, nn

from workbench.errors import WorkbenchError
from workbench.limits import shown
from workbench.measuring import part_name
from workbench.protocols import (
    ArchGradient,
    Init,
    Loss,
    Objective,
    Regularizer,
    Rows,
    RowSum,
    Schedule,
    StopRule,
    Update,
)

if TYPE_CHECKING:
    from workbench.method import Method
    from workbench.spaces.space import Space

_WHO = get_args(Update)
_MISSING = object()
_CALL = ("__call__",)
# What the loop asks of a part.
_ASKED: Mapping[str, tuple[str, ...]] = {
    "objective": (*_CALL, "needs_data"),
    "init": _CALL,
    "relaxation": ("mix", "sample", "row_sum"),
    "edge": _CALL,
    "edge_weights": ("first", "mix"),
    "op_dropout": ("kept", "adjusted"),
    "arch_gradient": _CALL,
    "weight_optimizer": (*_CALL, "clip", "lr_at"),
    "arch_optimizer": _CALL,
    "schedule": _CALL,
    "regularizers": _CALL,
    "pruner": (*_CALL, "every"),
    "measures": _CALL,
    "stop": _CALL,
    "reshape": _CALL,
    "carry": _CALL,
}
_OPTIONAL = {"init", "edge_weights", "op_dropout", "pruner", "stop", "reshape", "carry"}
_SEVERAL = {"regularizers", "measures"}
_CHOICES = {"row_sum": get_args(RowSum), "every": ("step", "epoch")}


class PartError(WorkbenchError):
    """A part of a method that its slot cannot use, or that returns what it cannot use."""


def fits(method: Method) -> None:
    """Look at all parts of a method, before anything is built.

    Raises:
        PartError: if one is a class where one of it is needed, or lacks what it is asked for.
    """
    for stage in method.stages:
        for slot, asked in _ASKED.items():
            part = getattr(stage, slot)
            if part is None and slot in _OPTIONAL:
                continue
            if slot not in _SEVERAL:
                _part(slot, part, asked)
            elif isinstance(part, tuple):
                for one in part:
                    _part(slot, one, asked)
            else:
                raise PartError(f"{slot} is {part_name(part)}; write a tuple of parts, as (part,)")
    _part("derivation", method.derivation, _CALL)


def _part(slot: str, part: object, asked: Sequence[str]) -> None:
    called = part_name(part)
    if isinstance(part, type) and not issubclass(part, nn.Module):  # of which an edge makes one
        if any(isfunction(getattr_static(part, name, None)) for name in asked):
            raise PartError(f"{slot} is the class {called}, and needs one of it: write {called}()")
    for name in asked:
        value = getattr(part, name, _MISSING)
        if value is _MISSING:
            raise PartError(
                f"{slot} {called} has no `{name}`, which a search asks for; add it, as "
                "workbench/protocols.py says"
            )
        choices = _CHOICES.get(name, (value,))
        if value not in choices:
            raise PartError(
                f"{slot} {called} has {name} {shown(value)}; choose one of "
                f"{', '.join(map(repr, choices))}"
            )


def reason(rule: StopRule, value: object) -> str | None:
    """Why a stage stops, or None where it goes on.

    Raises:
        PartError: if a rule to stop said neither: a run with such a reason could not be read.
    """
    if value is None or isinstance(value, str):
        return str(value) if value else None
    raise PartError(
        f"the rule to stop {part_name(rule)} returned {shown(value)}; it returns the reason to "
        "stop as text, as 'enough', or None to go on"
    )


def updates(schedule: Schedule, value: object) -> tuple[Update, ...]:
    """Who moves at a step, in order.

    Raises:
        PartError: if a schedule named somebody else, or named nobody in a sequence.
    """
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        named = tuple(value)
        if all(who in _WHO for who in named):
            return cast("tuple[Update, ...]", named)
    raise PartError(
        f"the schedule {part_name(schedule)} returned {shown(value)}; it returns a sequence of "
        f"{', '.join(map(repr, _WHO))}, as ('arch', 'weights')"
    )


def loss(objective: Objective, value: object) -> Loss:
    """An objective's loss.

    Raises:
        PartError: if it is none, or logs the name that the record has for it.
    """
    returned = f"the objective {part_name(objective)} returned"
    scalar, logs = getattr(value, "value", None), getattr(value, "logs", None)
    if scalar is None or not isinstance(logs, Mapping):
        raise PartError(f"{returned} {_kind(value)}; it returns Loss(value, logs), logs by name")
    if not isinstance(scalar, Tensor) or scalar.numel() != 1:
        raise PartError(f"{returned} a loss that is {_kind(scalar)}; it is a scalar tensor")
    if "loss" in logs:
        raise PartError(
            f"{returned} logs with the name 'loss', under which its value is recorded; give what "
            "it logs another name"
        )
    return cast("Loss", value)


def term(regularizer: Regularizer, value: object) -> Tensor:
    """A regularizer's scalar, without dimensions.

    Raises:
        PartError: if it is none.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    raise PartError(
        f"the regularizer {part_name(regularizer)} returned {_kind(value)}; it returns a scalar "
        "tensor: a sum or a mean, torch.zeros(()) where it has nothing to say"
    )


def gradient(part: ArchGradient, value: object, alphas: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """An architecture gradient, one tensor per alpha.

    Raises:
        PartError: if it is none.
    """
    grads = tuple(value) if isinstance(value, Iterable) else ()
    if len(grads) == len(alphas) and all(
        isinstance(grad, Tensor) and grad.shape == alpha.shape
        for grad, alpha in zip(grads, alphas, strict=True)
    ):
        return grads
    met = ", ".join(map(_kind, grads)) if isinstance(value, (list, tuple)) else _kind(value)
    raise PartError(
        f"the arch_gradient {part_name(part)} returned ({met}); it returns a tensor for each of "
        f"bilevel.alphas, shaped like it: {', '.join(str(tuple(a.shape)) for a in alphas)}"
    )


def alphas(init: Init, value: object, space: Space) -> Rows:
    """The first logits of a stage.

    Raises:
        PartError: if a kind of cell is left out, or has rows of another shape.
    """
    shapes = {
        cell.kind: torch.empty(len(cell.edges), len(cell.columns), device="meta")
        for cell in space.cells
    }
    return by_kind(("the init", init), value, shapes)


def shaped(
    whose: tuple[str, object], value: object, like: Tensor, *, mask: bool = False, of: str = ""
) -> Tensor:
    """What a part returned for rows or masks, of the shape of `like`.

    Args:
        whose: what returned it, as "`mix` of the relaxation", and the part.
        mask: whether it is to be bool.
        of: of which kind of cell it is, where a part returns several.

    Raises:
        PartError: if it is not of that shape, or no mask.
    """
    if isinstance(value, Tensor) and value.shape == like.shape:
        if not mask or value.dtype == torch.bool:
            return value
    what, part = whose
    raise PartError(
        f"{what} {part_name(part)} returned {_kind(value)}{of and f' for {of} cells'}; it returns "
        f"{'a bool mask' if mask else 'a tensor'} {tuple(like.shape)}"
    )


def by_kind(
    whose: tuple[str, object], value: object, like: Rows, *, mask: bool = False
) -> Mapping[str, Tensor]:
    """What a part returned for every kind of cell, as `shaped`; other kinds are let be.

    Raises:
        PartError: if a kind is left out, or its tensor is of another shape.
    """
    if isinstance(value, Mapping) and all(kind in value for kind in like):
        for kind, rows in like.items():
            shaped(whose, value[kind], rows, mask=mask, of=kind)
        return value
    what, part = whose
    met = f"{{{', '.join(map(shown, value))}}}" if isinstance(value, Mapping) else _kind(value)
    raise PartError(
        f"{what} {part_name(part)} returned {met}; it returns a tensor for every kind of cell: "
        f"{{{', '.join(f'{kind!r}: {tuple(rows.shape)}' for kind, rows in like.items())}}}"
    )


def _kind(value: object) -> str:
    """What a value is; of a tensor shape and number format, which no GPU is waited for."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return (
        shown(value) if value is None or isinstance(value, (int, float)) else type(value).__name__
    )
