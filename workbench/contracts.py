"""What parts hand back, looked at before it goes on: a slip in a part is told in one line.

Only types, names and shapes are looked at, which a GPU knows without being waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args

from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.limits import shown
from workbench.measuring import part_name
from workbench.protocols import Regularizer, Schedule, StopRule, Update

_WHO = get_args(Update)


class PartError(WorkbenchError):
    """A part of a method that its slot cannot use, or that returns what it cannot use."""


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
    listed = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    named = tuple(value) if listed else ()
    if listed and all(who in _WHO for who in named):
        return cast("tuple[Update, ...]", named)
    raise PartError(
        f"the schedule {part_name(schedule)} returned {shown(value)}; it returns a sequence of "
        f"{', '.join(map(repr, _WHO))}, as ('arch', 'weights')"
    )


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


def _kind(value: object) -> str:
    """What a value is; of a tensor shape and number format, which no GPU is waited for."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return (
        shown(value) if value is None or isinstance(value, (int, float)) else type(value).__name__
    )
