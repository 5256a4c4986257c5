"""What a CUDA graph does, on a CPU: operations done again on the memory they were done on.

Whatever is no operation, such as a number of Python's or a choice, is then as it was when the tape
was made; and a value that is asked for cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Result = TypeVar("Result")
ASKING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")


class Tape(TorchDispatchMode):
    """A `Recorder`; counts its captures and replays."""

    def __init__(self) -> None:
        super().__init__()
        self.captures = self.replays = self.steps_aside = 0
        self._operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Do it, and remember it."""
        name = func.overloadpacket.__name__
        assert name not in ASKING, f"{name} asks for a value, which a graph cannot"
        # One number goes along with the operation; more are copied.
        assert name != "lift_fresh" or not args[0].dim(), "a copy from the host"
        out = func(*args, **(kwargs or {}))
        self._operations.append((func, args, kwargs or {}, out))
        return out

    def aside(self, work: Callable[[], Result]) -> Result:
        """Do it."""
        self.steps_aside += 1
        return work()

    def captured(self, work: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """Do it; the first replay is that one."""
        self.captures += 1
        self._operations = operations = []
        with self:
            result = work()
        turn = iter([False])

        def replay() -> None:
            self.replays += 1
            if next(turn, True):
                again(operations)

        return result, replay


@torch.no_grad()
def again(operations: list[tuple[Any, Any, Any, Any]]) -> None:
    """Do all of them in order, each into the tensors that it made the first time."""
    for func, args, kwargs, old in operations:
        for before, now in zip(tensors(old), tensors(func(*args, **kwargs)), strict=True):
            if before.untyped_storage().data_ptr() != now.untyped_storage().data_ptr():
                before.copy_(now)  # neither a view nor written in place


def tensors(value: Any) -> Iterator[Tensor]:
    """Those in an operation's result."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors(part)
