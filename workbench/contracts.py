"""What parts hand back, looked at before it goes on: a slip in a part is told in one line.

Only types, names and shapes are looked at, which a GPU knows without being waited for.
"""

from __future__ import annotations

from workbench.errors import WorkbenchError
from workbench.limits import shown
from workbench.measuring import part_name
from workbench.protocols import StopRule


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
