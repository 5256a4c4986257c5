"""CUDA graphs of whole steps: one launch for every gradient and both optimizers' steps."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor

from workbench.errors import WorkbenchError

WARM_UP = 3  # steps before a capture, as torch asks for: what is made lazily is made in them

Result = TypeVar("Result")
Work = Callable[[Sequence[Tensor]], Result]


class CaptureError(WorkbenchError):
    """A step that cannot be captured as a CUDA graph."""


class Recorder(Protocol):
    """Who runs work on a device, and captures it."""

    def aside(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, done where a later capture of it will find what it made lazily."""
        ...

    def captured(self, work: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """What `work` would return, without doing it, and what does it, any number of times.

        Every time it reads and writes the memory that it read and wrote when it was captured.
        """
        ...


class StepGraphs(Generic[Result]):
    """Steps that are captured once they were taken a few times, a graph for every kind of step.

    A step may not change but by the tensors it is given, those it writes into and `rates`: any
    other number is captured as it was.  What a step returns is overwritten by the next of its kind.

    Args:
        recorder: who captures.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._taken: dict[Hashable, int] = {}
        self._captured: dict[Hashable, _Captured[Result]] = {}

    def __call__(
        self, kind: Hashable, rates: Hashable, work: Work[Result], tensors: Sequence[Tensor]
    ) -> Result:
        """What `work` returns for `tensors`.

        Args:
            kind: what work of the same kind has in common.
            rates: numbers that change from time to time; then it is captured anew.
        """
        key = kind, tuple((x.shape, x.dtype, x.stride()) for x in tensors)
        taken = self._taken[key] = self._taken.get(key, 0) + 1
        if taken <= WARM_UP:
            return self._recorder.aside(lambda: work(tensors))
        if key in self._captured and self._captured[key].rates != rates:
            del self._captured[key]  # before the next: its memory is as large
        if key not in self._captured:
            self._captured[key] = _Captured(self._recorder, rates, work, tensors)
        return self._captured[key](tensors)

    def forget(self) -> None:
        """Capture anew: tensors that steps read or write have been replaced."""
        self._taken.clear()
        self._captured.clear()


class _Captured(Generic[Result]):
    """A graph, and the tensors it reads."""

    def __init__(
        self, recorder: Recorder, rates: Hashable, work: Work[Result], tensors: Sequence[Tensor]
    ) -> None:
        self.rates, self._inputs = rates, [x.clone() for x in tensors]
        self._result, self._replay = recorder.captured(lambda: work(self._inputs))

    def __call__(self, tensors: Sequence[Tensor]) -> Result:
        for own, x in zip(self._inputs, tensors, strict=True):
            own.copy_(x)
        self._replay()
        return self._result


class CudaRecorder:
    """The recorder of a GPU.

    Args:
        generator: what work draws from, beside torch's own.
    """

    def __init__(self, device: torch.device, generator: torch.Generator) -> None:
        self._device, self._generator = device, generator
        self._live: WeakSet[torch.cuda.CUDAGraph] = WeakSet()

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        """What libraries make for a stream, such as their own memory, is made before a capture."""
        return torch.cuda.Stream(self._device)

    def aside(self, work: Callable[[], Result]) -> Result:
        """On the stream of captures, beside the current one."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            result = work()
        here.wait_stream(self._stream)
        return result

    def captured(self, work: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """A CUDA graph.

        Raises:
            CaptureError: if `work` does what a graph cannot hold, as waiting for the device.
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        # Graphs that are replayed one after the other can use the same memory.
        pool = next((other.pool() for other in self._live), None)
        here = torch.cuda.current_stream(self._device)
        try:
            # Other threads, such as a notebook's, may ask the device something meanwhile.
            with torch.cuda.graph(
                graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                result = work()
        except RuntimeError as error:
            torch.cuda.set_stream(here)  # which torch leaves where the end of a capture fails
            first = _first(error)
            if isinstance(first, torch.cuda.OutOfMemoryError):
                raise first from None
            raise CaptureError(
                f"this step cannot be captured as a CUDA graph ({' '.join(str(first).split())}); "
                "begin anew without graphs, in a new process: this one's GPU may be out of order"
            ) from error
        self._live.add(graph)
        return result, graph.replay


def _first(error: BaseException) -> BaseException:
    """What went wrong within a capture, which its end, failing too, would hide."""
    while error.__context__ is not None:
        error = error.__context__
    return error
