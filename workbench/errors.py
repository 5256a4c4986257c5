"""Errors that are told in one line with the fact, the rule and the remedy: of input, of memory."""

from __future__ import annotations

# How torch says it where its error is one of many meanings.
_NO_MEMORY = (
    "DefaultCPUAllocator", "can't allocate memory", "ALLOC_FAILED", "out of memory",
)  # fmt: skip


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error means: Python's, torch's for a GPU, or its text for a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)
