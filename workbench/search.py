"""The loop: what happens in a search, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from torch import Tensor

from workbench import contracts
from workbench.data import Data, refuse_batches, split_indices
from workbench.divergence import telling
from workbench.engine import Machine
from workbench.epochs import EpochUnderWay
from workbench.events import Probed, Resumable, SearchEvent, Stopped
from workbench.explore import explore
from workbench.memory import held_by, tensors_of, told_of_memory
from workbench.method import Method
from workbench.protocols import Clock, Probe, Rows
from workbench.run import Run as Run
from workbench.run_state import reopened, state_of
from workbench.snapshots import Moment, State
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
    start: State | None = None,
) -> Iterator[SearchEvent]:
    """Search `space` for a genotype by `method` on `data`, one event at a time.

    Args:
        method: what to do; a `Walk` tries genotypes one by one and has no use for probes.
        probes: measurements, asked after every step; they cannot change the search.
        machine: device and number format; a GPU if there is one.
        seed: of weights, alphas, split, batches and augmentation; same seed, same machine, same
            trajectory.
        start: a state that a `Resumable` of the same search saved, to go on there: on a CPU with
            the same bits as if it had never ended.

    Yields:
        `StageStarted`, then `Stepped` (with `Pruned`, `Held`, `Probed`) and `EpochEnded`, perhaps
        `Stopped`, for every stage; `Resumable` wherever it can go on another time; at last
        `Derived`, or `Diverged` before a DivergenceError.  With `start` the first is `Resumed`.

    Raises:
        DataError: if a batch is larger than the data.
        SnapshotError: if `start` is another search's.
        DivergenceError: if a loss, a gradient or a score is not finite, a row of mixing weights is
            not valid, or a node is left without anything alive.
        PartError: if a part is, or returns, what its slot cannot use.
        OutOfMemory: if device or host have too little of it.
    """
    machine = machine or Machine()
    if isinstance(method, Walk):  # no weights to move: another loop, the same events
        walked = explore(method, space, data, machine=machine, seed=seed, start=start)
        batch = getattr(method.score, "batch_size", None)
        lower = _sizes(space) if batch is None else {"batch_size": batch, **_sizes(space)}
        with told_of_memory("trying a candidate", machine, lower):
            yield from telling(walked)
        return
    for portion, size in {(s.train_portion, s.batch_size): None for s in method.stages}:
        for part in split_indices(data.train.labels, portion, seed):  # before anything is built
            if len(part):
                refuse_batches(size, len(part), data.name)
    machine.prepare()
    with told_of_memory("reading the saved state", machine, _sizes(space), supernet=True):
        run = None if start is None else reopened(start, method, space, data, machine, seed)
    if run:
        yield run.resumed()
    for index in range(run.index if run else 0, len(method.stages)):
        if run is None or run.index != index:
            stage, view = method.stages[index], run.view(run.clock) if run else None
            here = stage.reshape(space, view) if stage.reshape else space
            lower = {"batch_size": stage.batch_size, **_sizes(here)}
            doing = f"making the supernet of stage {index}"
            with told_of_memory(doing, machine, lower, supernet=True):
                run = Run(method, index, here, data, machine, seed, run)
            yield run.started()
            yield from _resumable(run, epoch_ended=True)
        with _told_of_memory(run):
            yield from telling(epochs_of(run, probes))
    assert run is not None, "a method has one or more stages"
    yield run.derived()


def epochs_of(run: Run, probes: Sequence[Probe] = ()) -> Iterator[SearchEvent]:
    """The epochs of a stage, from where it stands until its last one or its rule to stop."""
    stage = run.stage
    while run.epoch.closed or run.epoch.index < stage.epochs:
        if run.epoch.closed:
            reason = None
            if stage.stop is not None:
                reason = contracts.reason(stage.stop, stage.stop(run.view(run.clock)))
            if reason:
                yield Stopped(run.clock, reason)
            if reason or run.epoch.index + 1 == stage.epochs:
                return
            run.epoch = EpochUnderWay(run.epoch.index + 1)
        yield from epoch_of(run, run.epoch.index, probes)


def epoch_of(run: Run, epoch: int, probes: Sequence[Probe] = ()) -> Iterator[SearchEvent]:
    """One pass over the weights' images, or as many steps as the stage says; or its rest."""
    stage = run.stage
    if run.epoch.index != epoch or run.epoch.closed:
        run.epoch = EpochUnderWay(epoch)
    now = run.epoch
    run.set_rates(epoch / stage.epochs)
    while now.taken < run.steps_per_epoch:
        step = epoch * run.steps_per_epoch + now.taken
        clock = Clock(run.index, epoch, stage.epochs, step, run.clock.steps)
        scalars, events = run.step(clock)
        now.taken += 1
        now.means.add(scalars)
        yield run.stepped(scalars)
        yield from events
        for probe in probes:
            yield from _probed(clock, run.measure(probe, clock))
        yield from _resumable(run)
    yield from run.prune(run.clock, "epoch")
    for measure in stage.measures:
        values = run.measure(measure, run.clock)
        yield from _probed(run.clock, values)
        now.means.add({n: v for n, v in values.items() if isinstance(v, Tensor) and not v.ndim})
    run.watch.read(run)
    ended = run.close_epoch(now.means.finite(run.clock), now.watch.seconds)
    now.closed = True
    yield ended
    yield from _resumable(run, epoch_ended=True)


def _told_of_memory(run: Run, doing: str = "") -> AbstractContextManager[None]:
    """Within, running out of memory is told with what the stage of `run` held."""

    def held() -> dict[str, int]:
        arch = [*run.arch.parameters(), *tensors_of(run.arch_optimizer)]
        return held_by(run.net, run.weight_optimizer, run.train.held() + run.val.held(), arch)

    lower = {"batch_size": run.stage.batch_size, **_sizes(run.space)}
    at = doing or (lambda: f"step {run.clock.step}")
    return told_of_memory(at, run.machine, lower, held, supernet=True)


def _sizes(space: Space) -> dict[str, int]:
    return {"channels": space.channels, "cells": space.depth}


def _resumable(run: Run, *, epoch_ended: bool = False) -> Iterator[Resumable]:
    """The chance to save the run as it is now."""
    moment = Moment(lambda: state_of(run), lambda: _told_of_memory(run, "saving the state"))
    yield Resumable(run.clock, moment, epoch_ended)
    moment.passes()


def _probed(clock: Clock, values: Mapping[str, Tensor | Rows]) -> Iterator[Probed]:
    """The event of a measurement, if there was one."""
    if values:
        yield Probed(clock, values)
