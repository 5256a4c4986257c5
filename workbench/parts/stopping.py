"""Stop rules: when a stage ends before its epochs do."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.protocols import View


@dataclass(frozen=True)
class ModelSize:
    """Stop after the first epoch whose derived network has no more than so many parameters.

    Args:
        parameters: of the network with the search's own channels and cells; None never stops.

    Hou and Jin, arXiv:2012.11337.  The size at which they stop is not known here, so None is the
    default: a fixed number of epochs.
    """

    parameters: int | None = None

    def __post_init__(self) -> None:
        if self.parameters is not None and self.parameters < 1:
            raise ValueError(f"`ModelSize(parameters={self.parameters})` needs 1 or more, or None")

    def __call__(self, view: View) -> str | None:
        """The reason to stop, or None to go on."""
        size = view.ended[-1].parameters if view.ended else None
        if self.parameters is None or size is None or size > self.parameters:
            return None
        return f"the derived network has {size} parameters, and {self.parameters} will do"
