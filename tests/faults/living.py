"""A search that goes on for long: beside readers, for its memory, and paused again and again."""

from __future__ import annotations

import math
import os
import signal
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import xarray as xr

from tests.faults.killing import PROBED, SEARCHES, differences, search_into
from tests.faults.processes import begun, ended, started, waited
from workbench import run as run_module
from workbench.config import SearchConfig
from workbench.tasks import search_events
from workbench.trace import control, open_run
from workbench.trace.store import CHUNK

LONG: Mapping[str, Any] = SEARCHES["pruned"] | {"epochs": 100_000, "checkpoint_steps": None}
LONG_EPOCHS = LONG | {"batch_size": 8}  # 180 steps in an epoch, half of what CIFAR-10 has
SMALLEST: Mapping[str, Any] = {"channels": 2, "cells": 1, "nodes": 1}
STEPS_A_PAUSE = 4  # or the search is over before it was paused often enough
LOOK_SECONDS = 0.5  # between two looks of a reader, as the live view's
ANEW = 120  # looks after which a reader opens the run anew, as whoever comes to it: a minute


def timed_search(out: Path, times: Path, settings: Mapping[str, Any] = LONG) -> None:
    """In a process of its own: a search that notes when each step ended, and its own time."""
    plain, file = run_module.Run.step, times.open("wb", buffering=0)

    def step(self: run_module.Run, *args: Any) -> Any:
        done = plain(self, *args)
        file.write(struct.pack("dd", time.monotonic(), time.process_time()))
        return done

    run_module.Run.step = step  # pyright: ignore
    search_into(out, settings)


def reads_on(out: Path, into: Path, stop: Path) -> None:
    """In a process of its own: look at a live run until `stop` is there; write how often."""
    run, steps, epochs, looks = open_run(out), 0, 0, 0
    while not stop.exists():
        anew = looks % ANEW == 0
        before, run = run, open_run(out) if anew else run.refresh()
        looks += 1
        if run is before:  # nothing was written
            time.sleep(LOOK_SECONDS)
            continue
        trace, table = run.trace, run.epochs
        numbers = trace["step"].to_numpy()
        assert (numbers == np.arange(len(numbers))).all(), "a step is missing or doubled"
        assert len(numbers) >= steps, "steps went away"
        assert len(table) >= epochs, "epochs went away"
        assert (table["epoch"].to_numpy() == np.arange(len(table))).all()
        read = slice(0 if anew else max(steps - 1, 0) // CHUNK * CHUNK, None)  # the rest was before
        _whole(*(trace[name].values[read] for name in ("alpha", "mix", "alive")))
        assert not np.isnan(trace["seconds"].values[read]).any()
        assert (np.diff(trace["epoch"].values) >= 0).all()
        _pruned(run.prunings, trace)
        _probed(trace)
        steps, epochs = len(numbers), len(table)
        into.with_suffix(".began").touch()
        time.sleep(LOOK_SECONDS)
    into.write_text(f"{looks} {steps}", encoding="utf-8")


def _whole(alpha: np.ndarray, mix: np.ndarray, alive: np.ndarray) -> None:
    if not len(alpha):
        return
    candidate = ~np.isnan(alpha[0])
    assert (np.isnan(alpha) == ~candidate).all(), "alpha is torn"
    assert np.abs(mix.sum(-1) - 1).max() < 1e-4, "mix is torn"
    assert not mix[~alive].any(), "mix and alive are of different steps"


def _pruned(prunings: pd.DataFrame, trace: xr.Dataset) -> None:
    """What was pruned before a step is not alive in it."""
    told = prunings[prunings["step"] + 1 < trace.sizes["step"]]
    edge, op = (trace.indexes[name].get_indexer(told[name]) for name in ("edge", "op"))
    gone = trace["alive"].values[told["step"].to_numpy(int) + 1, edge, op]
    assert not gone.any(), "a pruning and the steps do not agree"


def _probed(trace: xr.Dataset) -> None:
    """What a probe measured is there in every fifth step; of the last one it may be to come."""
    for name, values in trace.variables.items():
        if values.attrs.get("probed"):
            there = np.isfinite(values.values[:-1]).any(tuple(range(1, values.ndim)))
            every = np.arange(len(there)) % PROBED["probe_every"] == 0
            assert (there == every).all(), f"{name} is torn"


@dataclass(frozen=True)
class Read:
    """What came of reading a live run: steps per second and processor seconds per step."""

    looks: int
    steps: int
    failed: int  # readers
    rate: tuple[float, float]  # with readers, without
    work: tuple[float, float]


def read_live(base: Path, *, readers: int, seconds: float, slices: int) -> Read:
    """Let readers look at a live run; in every third slice of the time they are held up."""
    out, times, stop = base / "live", base / "times", base / "stop"
    search = started(timed_search, out, times)
    waited(lambda: begun(out), search)
    looking = [started(reads_on, out, base / f"r{n}", stop) for n in range(readers)]
    for number, reader in enumerate(looking):  # their start is no part of what is measured
        waited((base / f"r{number}.began").exists, reader)
    edges: tuple[list[tuple[float, float]], ...] = ([], [])
    for number in range(slices):
        held = number % 3 == 2
        for reader in looking:
            os.kill(reader.pid or 0, signal.SIGSTOP if held else signal.SIGCONT)
        began = time.monotonic()
        time.sleep(seconds / slices)
        edges[held].append((began, time.monotonic()))
    for reader in looking:
        os.kill(reader.pid or 0, signal.SIGCONT)
    stop.touch()
    failed = sum(ended(reader) != 0 for reader in looking)
    assert search.exitcode is None, "the search ended"
    search.kill()
    search.join()
    stamps = np.frombuffer(times.read_bytes(), dtype="f8").reshape(-1, 2)
    rates, works = zip(*(_speed(stamps, slices_of) for slices_of in edges), strict=True)
    told = [(base / f"r{n}") for n in range(readers)]
    counts = [int(file.read_text().split()[0]) for file in told if file.exists()]
    return Read(sum(counts), len(stamps), failed, rates, works)


def _speed(stamps: np.ndarray, edges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Steps per second and processor seconds per step within some slices."""
    steps = wall = work = 0.0
    for first, last in edges:
        inside = stamps[(stamps[:, 0] >= first) & (stamps[:, 0] <= last)]
        if len(inside) > 1:
            took = inside[-1] - inside[0]
            steps, wall, work = steps + len(inside) - 1, wall + took[0], work + took[1]
    return (steps / wall, work / steps) if steps else (math.nan, math.nan)


def memory(base: Path, seconds: float, every: float = 1.0) -> tuple[float, float, float]:
    """Slope of the resident size of a search after the first fifth, its 95 % interval, the size.

    Rules look back at every epoch's end, so something of each is kept: the epochs are as long as
    those of a search.  The interval is that of 20 blocks' means, since neighbours are alike.

    Returns:
        MiB per hour, half the interval's width, MiB at the end.
    """
    search = started(search_into, base / "grows", LONG_EPOCHS, forked=False)
    waited(lambda: begun(base / "grows"), search)
    process, seen, began = psutil.Process(search.pid), [], time.monotonic()
    while time.monotonic() - began < seconds:
        seen.append((time.monotonic() - began, process.memory_info().rss / 2**20))
        time.sleep(every)
    assert search.exitcode is None, "the search ended"
    search.kill()
    search.join()
    late = np.array(seen)[len(seen) // 5 :]
    hours, sizes = np.array([part.mean(0) for part in np.array_split(late, 20)]).T / [[3600], [1]]
    slope, level = np.polyfit(hours, sizes, 1)
    left = sizes - slope * hours - level
    spread = hours - hours.mean()
    error = math.sqrt(left @ left / (len(hours) - 2) / (spread @ spread))
    return slope, 2.101 * error, sizes[-1]  # Student's t of 18 degrees


def slowly_asked(out: Path, settings: Mapping[str, Any], cycles: int, into: Path) -> None:
    """In a process of its own: a search whose next event is asked for after a moment."""
    paused, process, sizes = 0, psutil.Process(), []
    for _ in search_events(SearchConfig(**settings), out):
        if paused < cycles:
            time.sleep(5e-4)
            paused += 1
        if paused in (cycles // 5, cycles - 1):
            sizes.append(f"{process.memory_info().rss / 2**20} {process.num_fds()}")
    into.write_text(f"{paused} {sizes[0]} {sizes[-1]}", encoding="utf-8")


def fast_gate(out: Path, settings: Mapping[str, Any]) -> None:
    """In a process of its own: a search that looks at its control file every millisecond."""
    control.POLL_SECONDS = 1e-3
    search_into(out, settings)


@dataclass(frozen=True)
class Paused:
    """What came of pausing: how often, growth in MiB and files from a fifth on, differences."""

    cycles: int
    grown: float
    files: int
    wrong: list[str]


def pauses(base: Path, cycles: int) -> tuple[Paused, Paused]:
    """Pause by not asking for events, and by the control file; the end is the same bits."""
    epochs = math.ceil(cycles * STEPS_A_PAUSE / 180)
    settings = LONG_EPOCHS | SMALLEST | {"epochs": epochs, "checkpoint_minutes": None}
    whole, slow, gated = base / "whole", base / "slow", base / "gated"
    assert ended(started(search_into, whole, settings), 7200) == 0
    assert ended(started(slowly_asked, slow, settings, cycles, base / "told"), 7200) == 0
    done, *told = map(float, (base / "told").read_text().split())
    wrong = differences(open_run(whole), open_run(slow))
    first = Paused(int(done), told[2] - told[0], int(told[3] - told[1]), wrong)
    search = started(fast_gate, gated, settings)
    waited(lambda: begun(gated), search)
    process, run, done, sizes = psutil.Process(search.pid), open_run(gated), 0, []
    while done < cycles and search.exitcode is None:
        run.control.pause()
        if not waited(lambda: run.refresh().status == "paused", search):
            break
        if done in (cycles // 5, cycles - 1):
            sizes.append((process.memory_info().rss / 2**20, process.num_fds()))
        run.control.resume()
        if not waited(lambda: run.refresh().status != "paused", search):
            break
        done += 1
    assert ended(search, 7200) == 0
    wrong = differences(open_run(whole), open_run(gated))
    grown = [last - start for start, last in zip(sizes[0], sizes[-1], strict=True)]
    return first, Paused(done, grown[0], int(grown[1]), wrong)
