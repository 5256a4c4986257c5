"""Signals that ask a run to end: it finishes its step, is saved, and says how it goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

from workbench.errors import WorkbenchError
from workbench.events import Resumable, Resumed, Stepped
from workbench.leaving import leaving

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again, here with --resume
# SIGUSR1: what SLURM sends early where it is asked to (`#SBATCH --signal=USR1@60`).
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
PATIENCE = 25.0  # seconds: whoever asks often kills after 30

_Event = TypeVar("_Event")


class Interrupted(WorkbenchError):
    """A run that a signal ended before its time, saved.  The command line exits with 75."""

    def __init__(self, signal_name: str, path: Path, command: str) -> None:
        super().__init__(f"{signal_name}: {path} is saved; go on with: {command}")
        self.path, self.command = path, command


class Asked:
    """What signals asked for: true once there was one; `name` is which.

    The step under way comes to its end.  What is longer, and says so by `may_leave`, is left after
    25 s by a KeyboardInterrupt: what was saved last goes on from there.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._since = 0.0  # time.monotonic
        self._patience = PATIENCE

    def __call__(self) -> bool:
        """Was there a signal?"""
        return self.name is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The first signal is noted; a second one, of any kind, ends the process at once.

        The system does that: Python would wait for what is not Python, such as a compiler.
        """
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if self.name is not None:  # both came before Python looked
            os.kill(os.getpid(), number)
        self._since = time.monotonic()
        self.name = signal.Signals(number).name

    def leave(self) -> None:
        """At a point where work may be left: leave it, if it has been waited for long enough."""
        if self.name is not None and time.monotonic() - self._since >= self._patience:
            raise KeyboardInterrupt

    def followed(self, events: Generator[_Event]) -> Generator[_Event]:
        """`events`; before the first step nothing is waited for once a state is saved.

        Kernels are compiled then, for a minute perhaps, and nothing is lost.
        """
        stepped = False
        with closing(events):
            for event in events:
                if isinstance(event, Stepped):
                    stepped, self._patience = True, PATIENCE
                elif isinstance(event, Resumable | Resumed) and not stepped:
                    self._patience = 0.0
                yield event


@contextmanager
def interruptible() -> Iterator[Asked]:
    """Within, SIGINT, SIGTERM and SIGUSR1 are noted instead of ending the process.

    Only Python's main thread can take signals; elsewhere nothing is changed.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, asked.handle) for number in SIGNALS}
    try:
        with leaving(asked.leave):
            yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
