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

    What is under way may end in its own time: 25 s, or twice as long as steps took so far.  Then it
    ends where it is, by a KeyboardInterrupt: after that what was saved last comes again.
    """

    def __init__(self) -> None:
        self.name: str | None = None
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
        self.name = signal.Signals(number).name
        if not self._patience:
            raise KeyboardInterrupt
        if hasattr(signal, "setitimer"):  # not on Windows
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, self._patience)

    def followed(self, events: Generator[_Event], *, compiles: bool = False) -> Generator[_Event]:
        """`events`; what a signal would wait for is seen by them.

        Args:
            compiles: kernels for the first step, for a minute perhaps.  Once a state is saved,
                nothing is lost before that step, and a signal does not wait for it.
        """
        began, steps = time.monotonic(), 0
        with closing(events):
            for event in events:
                now = time.monotonic()
                if isinstance(event, Stepped):
                    steps += 1
                    self._patience = max(self._patience, PATIENCE, 2 * (now - began))
                elif compiles and not steps and isinstance(event, Resumable | Resumed):
                    self._patience = 0.0
                began = now
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
    if hasattr(signal, "setitimer"):
        before[signal.SIGALRM] = signal.getsignal(signal.SIGALRM)
    try:
        yield asked
    finally:
        if asked() and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
