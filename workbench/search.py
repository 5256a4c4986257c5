"""The loop: what happens in a search, and in which order."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from workbench.data import Data
from workbench.engine import Machine
from workbench.events import Probed, SearchEvent, Stopped
from workbench.explore import explore
from workbench.method import Method
from workbench.protocols import Clock, Probe, Rows
from workbench.run import Run as Run
from workbench.spaces.space import Space
from workbench.walk import Walk


def search(
    method: Method | Walk,
    space: Space,
    data: Data,
    *,
    probes: Sequence[Probe] = (),
    machine: Machine | None = None,
    seed: int = 0,
) -> Iterator[SearchEvent]:
    """Search `space` for a genotype by `method` on `data`, one event at a time.

    Args:
        method: what to do; a `Walk` tries genotypes one by one and has no use for probes.
        probes: measurements, asked after every step; they cannot change the search.
        machine: device and number format; a GPU if there is one.
        seed: of weights, alphas, split, batches and augmentation; same seed, same machine, same
            trajectory.

    Yields:
        `StageStarted`, then `Stepped` (with `Pruned`, `Held`, `Probed`) and `EpochEnded`, perhaps
        `Stopped`, for every stage; at last `Derived`.

    Raises:
        DataError: if a batch is larger than the data.
        FloatingPointError: if a loss is no longer a finite number at the end of an epoch.
    """
    if isinstance(method, Walk):  # no weights to move: another loop, the same events
        yield from explore(method, space, data, machine=machine, seed=seed)
        return
    machine = machine or Machine()
    machine.prepare()
    run: Run | None = None
    for index, stage in enumerate(method.stages):
        view = run.view(run.clock) if run else None
        here = stage.reshape(space, view) if stage.reshape else space
        run = Run(method, index, here, data, machine, seed, run)
        yield run.started()
        for epoch in range(stage.epochs):
            yield from epoch_of(run, epoch, probes)
            reason = stage.stop(run.view(run.clock)) if stage.stop else None
            if reason:
                yield Stopped(run.clock, reason)
                break
    assert run is not None, "a method has one or more stages"
    yield run.derived()


def epoch_of(run: Run, epoch: int, probes: Sequence[Probe] = ()) -> Iterator[SearchEvent]:
    """One pass over the weights' images, or as many steps as the stage says."""
    started, stage = time.perf_counter(), run.stage
    run.set_rates(epoch / stage.epochs)
    means = _Means()
    for step in range(epoch * run.steps_per_epoch, (epoch + 1) * run.steps_per_epoch):
        clock = Clock(run.index, epoch, stage.epochs, step, run.clock.steps)
        scalars, events = run.step(clock)
        means.add(scalars)
        yield run.stepped(scalars)
        yield from events
        for probe in probes:
            yield from _probed(clock, run.measure(probe, clock))
    yield from run.prune(run.clock, "epoch")
    for measure in stage.measures:
        values = run.measure(measure, run.clock)
        yield from _probed(run.clock, values)
        means.add({n: v for n, v in values.items() if isinstance(v, Tensor) and not v.ndim})
    yield run.close_epoch(means.finite(epoch), time.perf_counter() - started)


def _probed(clock: Clock, values: Mapping[str, Tensor | Rows]) -> Iterator[Probed]:
    """The event of a measurement, if there was one."""
    if values:
        yield Probed(clock, values)


class _Means:
    """Means of scalars over the steps that measured them; tensors stay where they are till then."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}

    def add(self, scalars: Mapping[str, Tensor | float]) -> None:
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def finite(self, epoch: int) -> dict[str, float]:
        """The means, all of them finite."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"{', '.join(bad)} became {means[bad[0]]} in epoch {epoch}; "
                "lower the learning rates or the entmax order"
            )
        return means
