"""The variants of a step, and all variants of a row measured in turns."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from _cases import Case, Row, Search
from _measure import dispatched, launches, peak
from _table import Measured

from workbench import Machine, methods
from workbench.engine.step_graphs import CaptureError

# A name, and what of the machine it changes.  What this machine refuses fails in its row.
VARIANTS: dict[str, Mapping[str, Any]] = {
    "readable": {"engine": "readable"},
    "fast": {"engine": "auto"},
    "fast graphs": {"engine": "auto", "graphs": True, "fused": True},
    "fast triton": {"engine": "triton", "graphs": True, "fused": True},
    "everything on": {
        "engine": "triton", "graphs": True, "fused": True, "precision": "bfloat16",
    },
    # Beside the usual ones: what each setting does without the others.
    "batched": {"engine": "batched"},
    "fast fused": {"engine": "auto", "fused": True},
    "triton alone": {"engine": "triton"},
    "graphs alone": {"engine": "auto", "graphs": True},
    "tf32": {"engine": "auto", "precision": "tf32"},
    "bfloat16": {"engine": "auto", "precision": "bfloat16"},
    "readable nhwc": {"engine": "readable", "channels_last": True},
}  # fmt: skip
USUAL = {
    "cpu": ("readable", "fast"),
    "cuda": ("readable", "fast", "fast graphs", "fast triton", "everything on"),
}
EPOCHS, IMAGES, BATCH = 50, 50_000, 64  # of a search on CIFAR-10


class Trial:
    """One variant of a row under way, until something of it fails.

    `failure` is then the first line of the error, whose traceback goes to standard error; `lost`
    whether the GPU takes no more work from this process, as after a wrong address in a kernel.
    """

    def __init__(
        self, name: str, row: Row, share: float, machine: Machine, pool: Executor | None
    ) -> None:
        self.name, self.row, self.share, self.machine = name, row, share, machine
        self.failure: str | None = None
        self.lost = False
        self.search: Search | None = None
        self.seconds: list[float] = []
        self.counted: tuple[int, int, int] = (0, 0, 0)
        self._pool, self._bytes = pool, 0
        self.case = Case(row, share, machine, name)
        self._peak: Future[int] | None = None
        self.attempt(Trial._submit)

    def attempt(self, work: Callable[[Trial], None]) -> None:
        """Do some of the measuring, unless something has failed before."""
        if self.failure is not None:
            return
        broken = False
        try:
            work(self)
        except Exception as error:  # whatever it is, it is shown, and other variants go on
            broken = isinstance(error, CaptureError)  # the GPU's memory thinks it is captured still
            self.failure = first_line(error)
            traceback.print_exception(error, file=sys.stderr)
        if self.failure is not None:
            self.search = None
            gc.collect()
            self.lost = self.on_gpu and (broken or not device_works())

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on one."""
        return self.machine.torch_device.type == "cuda"

    def _submit(self) -> None:
        machine = replace(self.machine, **VARIANTS[self.name])
        self.case = replace(self.case, machine=machine)
        if not self.on_gpu and self._pool is not None:
            self._peak = self._pool.submit(peak, self.case)

    def warm_up(self) -> None:
        """Build the search and take first steps; on a GPU what tensors take at most is noted."""
        gc.collect()
        before = 0
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        self.search = Search(self.case)
        self.search.warm_up()
        if self.on_gpu:
            self._bytes = torch.cuda.max_memory_allocated() - before

    def count(self) -> None:
        """Operations and launches of a step, and most bytes."""
        assert self.search is not None
        counts = dispatched(self.search.step), launches(self.search)
        self.counted = (*counts, self._bytes if self._peak is None else self._peak.result())

    def turn(self) -> None:
        """Take time once."""
        assert self.search is not None
        self.seconds.append(self.search.turn())

    def told(self, reference: float | None) -> Measured:
        """Its row, or why there is none; `reference` is the readable supernet's median."""
        which = {"name": self.row.name, "device": str(self.machine.torch_device)}
        if self.failure is not None or self.search is None:
            return {**which, "variant": self.name, "alive": self.share, "error": self.failure}
        operations, called, most = self.counted
        middle = median(self.seconds)
        return {
            **which,
            "variant": self.name,
            "alive": self.search.alive,
            "seconds": middle,
            "spread": (max(self.seconds) - min(self.seconds)) / middle,
            "ratio": None if reference is None else reference / middle,
            "peak_bytes": most,
            "operations": operations,
            "launches": called,
            "hours": hours(self.row, middle) if self.share == 1 else None,
        }


def measured(
    names: Sequence[str], row: Row, share: float, machine: Machine, repeats: int, pool: Executor
) -> tuple[list[Measured], list[Trial]]:
    """The variants `names` of a row at one share alive, and their searches."""
    trials = [Trial(name, row, share, machine, pool) for name in names]
    _each(trials, Trial.warm_up)
    _each(trials, Trial.count)  # waits for processes, so that none runs beside the clock
    gc.collect()
    for _ in range(repeats):
        _each(trials, Trial.turn)
    first = next((t.seconds for t in trials if t.name == "readable" and t.failure is None), None)
    reference = None if first is None else median(first)
    return [trial.told(reference) for trial in trials], trials


def _each(trials: Sequence[Trial], work: Callable[[Trial], None]) -> None:
    """Let every trial do it; what one does to the GPU can end all of them."""
    for trial in trials:
        trial.attempt(work)
        if trial.lost:
            for other in trials:
                other.failure = other.failure or f"the GPU was lost to {trial.name!r}"
                other.search = None


def hours(row: Row, seconds: float) -> float | None:
    """Projected for the search on CIFAR-10, if the row is one of its size."""
    if row.side != 32:
        return None
    portion = getattr(methods, row.method).stages[-1].train_portion
    steps = EPOCHS * (round(IMAGES * portion) // BATCH)
    return steps * seconds * BATCH / row.batch / 3600


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def device_works() -> bool:
    """Whether the GPU still takes work from this process; memory that nobody uses goes back."""
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError:
        return False
    return True


@contextmanager
def processes() -> Iterator[ProcessPoolExecutor]:
    """One process at a time, each new: forks of one that imported what a search does, no more."""
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    if os.name == "posix":
        context.set_forkserver_preload(["workbench.search", "workbench.trace", "torch._dynamo"])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        yield pool
