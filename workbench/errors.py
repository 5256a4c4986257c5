"""What every error of the user's input is: one line with the fact, the rule and the remedy."""

from __future__ import annotations


class WorkbenchError(ValueError):
    """Wrong input.  The command line prints it as one line and ends with exit code 2."""


class OutOfMemory(WorkbenchError):
    """Memory of the device or the host ran out; what was recorded so far is whole.

    Whoever keeps a record puts into `then` what is saved and how to go on.
    """

    then: str = ""

    def __str__(self) -> str:
        said = super().__str__()
        return f"{said}; {self.then}" if self.then else said
