"""What probes hand back, looked at before it goes on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.protocols import Probe, Rows


class ProbeError(WorkbenchError):
    """A probe that changes what it measures, or measures what cannot be recorded."""


def part_name(part: object) -> str:
    """What a probe or another part is called: a function's name, or its class's."""
    return str(getattr(part, "__name__", type(part).__name__))


def told(probe: Probe, values: object) -> dict[str, Tensor | Rows]:
    """The values as tensors and rows; numbers become tensors.

    Raises:
        ProbeError: if a value is neither, or there are no values by name.
    """
    if not isinstance(values, Mapping):
        raise ProbeError(
            f"{part_name(probe)} returned {type(values).__name__}; a probe returns what it "
            "measured by name, as {'sharpness': 1.5}, or {}"
        )
    out: dict[str, Tensor | Rows] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and all(isinstance(rows, Tensor) for rows in value.values()):
            out[name] = value
            continue
        try:
            number = value.detach() if isinstance(value, Tensor) else torch.as_tensor(value)
            if number.is_complex():
                raise TypeError("complex")
            out[name] = number
        except (TypeError, ValueError, RuntimeError) as error:
            raise ProbeError(
                f"{part_name(probe)} measured {name!r} as {type(value).__name__}; it may be a "
                "tensor, a real number, or rows by kind of cell"
            ) from error
    return out
