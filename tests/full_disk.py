"""A disk that is full from one write on, and fake searches that can go on after it."""

from __future__ import annotations

import builtins
import errno
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from workbench.events import EpochEnded, Resumable, Resumed, StageStarted, Stepped
from workbench.protocols import Clock
from workbench.snapshots import Moment, State
from workbench.spaces.space import Space

E = TypeVar("E")


class Disk:
    """Where all files below `root` are written; it counts what is asked of it.

    Args:
        full_at: the number of the write, from 1 on, of which it takes half; it refuses the next.
        lasting: it refuses everything from then on, until the test has ended.
    """

    def __init__(self, root: Path, full_at: int | None = None, *, lasting: bool = True) -> None:
        self.root, self.asked = str(root), 0
        self._full_at, self._lasting, self._lock = full_at, lasting, threading.Lock()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within, it is what everybody writes to."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(io, "open", self._open)
            patch.setattr(builtins, "open", self._open)
            for name in ("replace", "mkdir"):
                patch.setattr(os, name, self._refusing(getattr(os, name)))
            yield

    def takes(self) -> bool | None:
        """Ask for one more write: yes, no, or None for a half."""
        with self._lock:
            self.asked += 1
            beyond = -1 if self._full_at is None else self.asked - self._full_at
        if beyond < 0 or (beyond > 1 and not self._lasting):
            return True
        return None if beyond == 0 else False

    def _open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        *more: Any,
    ) -> Any:
        if not any(c in mode for c in "wax+") or not str(file).startswith(self.root):
            return _OPEN(file, mode, buffering, encoding, *more)
        raw = _File(file, mode.replace("b", ""))
        raw.disk = self
        if buffering == 0:
            return raw
        if "+" in mode:
            return io.BufferedRandom(raw)
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding)

    def _refusing(self, call: Any) -> Any:
        def asked(path: Any, *more: Any, **named: Any) -> Any:
            if str(path).startswith(self.root) and not self.takes():
                raise no_space()
            return call(path, *more, **named)

        return asked


class _File(io.FileIO):
    disk: Disk

    def write(self, data: Any, /) -> int:
        takes, view = self.disk.takes(), memoryview(data).cast("B")
        if takes:
            return super().write(view)
        if takes is False or len(view) < 2:
            raise no_space()
        return super().write(view[: len(view) // 2])


_OPEN = io.open


def no_space() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def resumable(events: list[E], start: State | None = None) -> Iterator[E | Resumable | Resumed]:
    """`events` with the places where their search could go on; from `start` on if it is given."""
    first = 0 if start is None else start["at"]
    if start is not None:
        clock, space = _clock(events[first - 1]), None
        for event in events[:first]:
            space = event.space if isinstance(event, StageStarted) else space
        yield Resumed(clock, cast("Space", space))
    for index, event in enumerate(events[first:], start=first + 1):
        yield event
        boundary = isinstance(event, StageStarted | EpochEnded)
        if boundary or (index < len(events) and isinstance(events[index], Stepped | EpochEnded)):
            moment = Moment(lambda index=index: {"at": index})
            yield Resumable(_clock(event), moment, epoch_ended=boundary)
            moment.passes()


def _clock(event: object) -> Clock:
    return cast("Any", event).clock
