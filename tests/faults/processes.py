"""Searches in processes of their own, forked from one that has torch imported already.

Starting Python and importing torch takes seconds; a fork of a process that did, and that has no
threads, takes milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

SLOW = 600.0  # seconds after which a process that should have ended counts as hung


def started(work: Callable[..., object], *arguments: object, forked: bool = True) -> BaseProcess:
    """A process that does `work`, which a module defines by name.

    Args:
        forked: from the warm one.  Of such a process, pages of libraries and of its parent count
            as it comes to touch them: its size grows for an hour without a byte of its own.
    """
    context = multiprocessing.get_context("forkserver" if forked else "spawn")
    if forked:
        context.set_forkserver_preload(["tests.faults.warm"])
    process = context.Process(target=work, args=arguments)  # pyright: ignore
    process.start()
    return process


def ended(process: BaseProcess, seconds: float = SLOW) -> int:
    """Its exit code, minus the signal's number where one killed it; none after `seconds`."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"process {process.pid} did not end within {seconds:.0f} s")
    return process.exitcode


def silent() -> None:
    """Send what this process says to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def kill_at(process: BaseProcess, seconds: float, number: int = signal.SIGKILL) -> bool:
    """Send a signal in so many seconds, unless it has ended by then; was it sent?"""
    process.join(seconds)
    if process.exitcode is not None or process.pid is None:
        return False
    os.kill(process.pid, number)
    return True


def waited(until: Callable[[], bool], process: BaseProcess, seconds: float = SLOW) -> bool:
    """Wait until something is so; False if the process ended before."""
    began = time.monotonic()
    while not until():
        if process.exitcode is not None:
            return False
        if time.monotonic() - began > seconds:
            process.kill()
            raise AssertionError(f"nothing came of process {process.pid} in {seconds:.0f} s")
        time.sleep(0.002)
    return True


def begun(run: Path) -> bool:
    """Has the search written its first line?"""
    events = run / "events.jsonl"
    return events.exists() and events.stat().st_size > 0
