"""How step.py measures: seconds, dispatched operations, kernel launches, peak memory."""

from __future__ import annotations

import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from unittest import mock

import torch
from _cases import Case, Search
from _trace import traced
from numba.core.registry import CPUDispatcher
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.arch import Arch
from workbench.events import SearchEvent, Stepped
from workbench.parts.edges import WeightedSum
from workbench.parts.relaxations import Entmax
from workbench.protocols import Mixture
from workbench.spaces.space import Space
from workbench.spaces.supernet import Supernet
from workbench.trace import record


class Dispatches(TorchDispatchMode):
    """Counts the operations that torch dispatches within."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Count one and let it pass."""
        self.count += 1
        return func(*args, **(kwargs or {}))


def dispatched(work: Callable[[], object]) -> int:
    """How many operations `work` dispatches."""
    with Dispatches() as counter:
        work()
    return counter.count


def launches(search: Search) -> int:
    """Launches of the GPU's driver in one step; on a CPU calls of compiled kernels."""
    if search.on_gpu:
        return traced(search, 1).launches
    if search.case.machine.engine == "readable":
        return 0
    called, calls = CPUDispatcher.__call__, 0

    def counted(kernel: Callable[..., object], *args: object) -> object:
        nonlocal calls
        calls += 1
        return called(kernel, *args)

    with mock.patch.object(CPUDispatcher, "__call__", counted):
        search.step()
    return calls


def peak(case: Case) -> int:
    """Most resident bytes while a search begins and takes two steps, Python and torch among them.

    For a process of its own, and a CPU.
    """
    search = Search(case)
    search.step()
    search.step()
    status = Path("/proc/self/status")  # ru_maxrss would count the parent's memory too
    if status.exists():
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    import resource  # there is none on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def readable_operations(space: Space) -> int:
    """Operations of the readable supernet: forward, and backward to weights and alphas."""
    net = Supernet(space, edge=WeightedSum)
    alphas = {c.kind: torch.zeros(len(c.edges), len(c.columns)) for c in space.cells}
    leaves = [*net.parameters(), *(rows.requires_grad_() for rows in alphas.values())]
    images, labels = torch.randn(2, 3, 8, 8), torch.tensor([0, 1])

    def work() -> None:
        mixtures = {kind: Mixture(torch.softmax(rows, -1)) for kind, rows in alphas.items()}
        loss = functional.cross_entropy(net(images, mixtures, 0.0), labels)
        torch.autograd.grad(loss, leaves, materialize_grads=True)

    return dispatched(work)


def entmax_seconds(search: Search, repeats: int) -> float:
    """Median seconds of entmax of order 3 for all edges, forward and backward."""
    run = search.run
    arch = Arch(run.space, Entmax(3.0), run.arch.snapshot(), run.device, run.machine.dtype)

    def once() -> None:
        total = sum((m.ops**2).sum() for m in arch.mixtures(0.5, run.generator).values())
        torch.autograd.grad(total, arch.parameters())

    return median([search.timed(once) for _ in range(20 * repeats)][1:])


def record_seconds(search: Search, step: float, repeats: int) -> float:
    """Seconds that recording adds to a step of `step` seconds.

    A row waits in memory until 200 are there or 2 s have passed, whichever comes first; a flush
    writes a whole chunk, and steps share what it costs.
    """

    def spent(flush_seconds: float, steps: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            events = iter([search.run.started(), *_stepped(search, steps)])
            pipe = record(events, Path(folder) / "run", flush_seconds=flush_seconds)
            return search.timed(lambda: deque(pipe, 0))

    rare, few, many = (
        median([spent(*each) for _ in range(repeats)]) for each in ((9e9, 11), (0, 11), (9e9, 411))
    )
    return (many - rare) / 400 + (few - rare) / 10 * step / 2


def _stepped(search: Search, steps: int) -> Iterator[SearchEvent]:
    run, rows = search.run, {kind: m.ops for kind, m in search.run.mix.items()}
    for step in range(steps):
        clock = replace(run.clock, step=step, steps=steps)
        yield Stepped(clock, search.logs, run.arch.snapshot(), rows, dict(run.arch.alive))
