"""Kernels on several threads: each takes some of the pictures, and lets the others run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from os import getpid

import numpy as np

LEAST = 100_000  # numbers a thread must have to work on: handing over costs tens of microseconds

_threads = 1


def use_threads(count: int) -> None:
    """Let kernels of this process take up to `count` threads."""
    global _threads
    _threads = count


def threads_for(numbers: int) -> int:
    """How many threads are worth while for a kernel that goes over so many numbers."""
    return max(1, min(_threads, numbers // LEAST))


def in_parts(run: Callable[[int, int, int], None], count: int, threads: int) -> None:
    """Call `run(thread, start, stop)` for `threads` parts of `range(count)`, at the same time."""
    threads = min(threads, count)
    if threads == 1:
        run(0, 0, count)
        return
    bounds = [count * k // threads for k in range(threads + 1)]
    others = [_pool(getpid()).submit(run, k, bounds[k], bounds[k + 1]) for k in range(1, threads)]
    run(0, bounds[0], bounds[1])
    for other in others:
        other.result()


def added_up(parts: np.ndarray) -> np.ndarray:
    """What all threads found, `parts` `(threads, ...)`."""
    return parts[0] if len(parts) == 1 else parts.sum(axis=0)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """One pool per process: threads do not survive a fork."""
    return ThreadPoolExecutor(thread_name_prefix=f"workbench-{process}")
