"""A search that is killed at a chosen moment, resumed, and compared with one that was not."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults import methods
from tests.faults.processes import begun, ended, kill_at, started, waited
from workbench.config import SearchConfig
from workbench.evaluate_config import EvaluateConfig
from workbench.evaluating import resume_evaluation, run_evaluation
from workbench.tasks import resume, run_search
from workbench.trace import Run, checkpoints, open_run

SMALL = {"data": "digits", "channels": 4, "cells": 3, "nodes": 2, "batch_size": 64}
SMALL |= {"threads": 1, "kernel_threads": 1, "checkpoint_steps": 7}
PROBED = {"probes": "alpha_gradients", "probe_every": 5}
SEARCHES: Mapping[str, Mapping[str, Any]] = {
    "pruned": SMALL
    | PROBED
    | {"method": "entmax3_prune_single_level", "epochs": 2, "arch_lr": 0.05},
    # scalars that not every step has, and more steps than a chunk of the trace
    "late": SMALL | {"method": "multi_step", "epochs": 2, "batch_size": 8},
    "stages": SMALL | PROBED | {"method": methods.NAME, "epochs": 2},
    "evaluation": {"epochs": 3, "channels": 4, "batch_size": 64},
}
_PLAIN = checkpoints.Checkpointing
EVALUATION = "evaluation"  # of a search that ended; a run folder is there from the beginning
UNLIKE = ("seconds", "memory")  # of an epoch: what the machine did, not the search

methods.known()


@dataclass(frozen=True)
class Place:
    """Where a process kills itself: a call of `name` of `owner` (`module` or `module:Class`).

    Args:
        kind: of moment, in the table.
        when: before the call, after it, or with half of a line written.
        about: only calls that are given an event of this type.
        search: the search that comes there.
        again: in the process that resumes, after a first kill.
    """

    kind: str
    owner: str
    name: str
    when: str
    about: str = ""
    search: str = ""
    again: bool = False

    def __str__(self) -> str:
        about = f"({self.about})" if self.about else ""
        return f"{self.when} {self.owner.removeprefix('workbench.')}.{self.name}{about}"

    @property
    def call(self) -> str:
        """What is counted: the place without before and after."""
        return f"{self.owner}.{self.name}.{self.about}"


_WRITER, _ARRAYS = "workbench.trace.writer:RunWriter", "workbench.trace.stage:StageArrays"
_CHECKPOINTS, _LINES = "workbench.trace.checkpoints", "workbench.trace.appended"


def _around(kind: str, owner: str, name: str, **more: Any) -> tuple[Place, Place]:
    return Place(kind, owner, name, "before", **more), Place(kind, owner, name, "after", **more)


_OF_EVALUATION = {"search": EVALUATION}

PLACES: tuple[Place, ...] = (
    *_around("search step", "workbench.run:Run", "step"),
    *_around("search step", "workbench.bilevel:LiveBilevel", "loss"),
    *_around("pruning", "workbench.run", "remove", search="pruned"),
    *_around("pruning", _WRITER, "_write_rare", about="Pruned", search="pruned"),
    *_around("stage change", _WRITER, "_begin_stage", search="stages"),
    *_around("stage change", "workbench.run:Run", "started", search="stages"),
    *_around("stage change", "zarr:Group", "create_array", search="stages"),
    Place("checkpoint write", f"{_CHECKPOINTS}:_Hashed", "write", "before"),
    *_around("checkpoint write", f"{_CHECKPOINTS}:Checkpoints", "write"),
    *_around("checkpoint write", _CHECKPOINTS, "remove"),
    *_around("checkpoint write", "os", "fsync"),
    *_around("checkpoint write", "pathlib:Path", "unlink"),
    *_around("record flush", _ARRAYS, "flush"),
    *_around("record flush", "workbench.trace.stage", "write_chunk"),
    *_around("record flush", "os", "replace"),
    Place("half a line", _LINES, "append_line", "half"),
    *_around("epoch's end", _WRITER, "_write_rare", about="EpochEnded"),
    *_around("end of the search", _WRITER, "_write_rare", about="Derived"),
    *_around("end of the search", _WRITER, "_close"),
    *_around("evaluation", "workbench.training:Training", "_step", **_OF_EVALUATION),
    *_around("evaluation", f"{_CHECKPOINTS}:Checkpoints", "write", **_OF_EVALUATION),
    *_around("evaluation", _CHECKPOINTS, "remove", **_OF_EVALUATION),
    *_around("evaluation", "os", "replace", **_OF_EVALUATION),
    *_around("evaluation", _LINES, "append_line", **_OF_EVALUATION),
    Place("evaluation", _LINES, "append_line", "half", **_OF_EVALUATION),
    *_around("resuming", "workbench.trace.writer", "rewind", again=True),
    *_around("resuming", _ARRAYS, "_reopen", again=True),
    *_around("resuming", _LINES, "cut", again=True),
    *_around("resuming", "zarr:Array", "__setitem__", again=True),
)


def _wrapped(place: Place, act: Callable[..., bool]) -> None:
    """From here on, `act(when, call's arguments)` is asked at every call of the place."""
    module, _, part = place.owner.partition(":")
    owner = importlib.import_module(module)
    owner = getattr(owner, part) if part else owner
    plain = getattr(owner, place.name)

    @wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not place.about or any(type(arg).__name__ == place.about for arg in args):
            act("before", args)
            done = plain(*args, **kwargs)
            act("after", args)
            return done
        return plain(*args, **kwargs)

    setattr(owner, place.name, call)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dies_at(place: Place, nth: int) -> None:
    seen = 0

    def act(when: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        seen += when == "before"
        if seen != nth:
            return
        if place.when == "half" and when == "before":
            line = (json.dumps(args[1], ensure_ascii=False) + "\n").encode()
            with args[0].open("ab") as file:
                file.write(line[: len(line) // 2])
            _die()
        if when == place.when:
            _die()

    _wrapped(place, act)


def _counts(into: Path) -> Callable[[], None]:
    """Count the calls of every place; what is returned writes them down."""
    counts: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., None]:
        def act(when: str, args: tuple[Any, ...]) -> None:
            counts[name] += when == "before"

        return act

    for name, place in {place.call: place for place in PLACES}.items():
        _wrapped(place, counted(name))
    return lambda: into.write_text(json.dumps(counts), encoding="utf-8")


def search_into(out: Path, settings: Mapping[str, Any], counts: Path | None = None) -> None:
    """In a process of its own: a search from its beginning to its end."""
    write = _counts(counts) if counts else lambda: None
    _done(out, settings)
    write()


def _done(out: Path, settings: Mapping[str, Any]) -> None:
    _saves_at_every_epochs_end()
    if dict(settings) == SEARCHES[EVALUATION]:
        run_evaluation(out, EvaluateConfig(**settings), quiet=True)
    else:
        run_search(SearchConfig(**settings, out=out), quiet=True)


def search_until(out: Path, settings: Mapping[str, Any], place: Place, nth: int) -> None:
    """In a process of its own: a search that kills itself."""
    _dies_at(place, nth)
    _done(out, settings)


def _saves_at_every_epochs_end() -> None:
    """However short an epoch is: the calls of a place are counted, and time must not matter."""
    checkpoints.Checkpointing = partial(_PLAIN, share=None)  # pyright: ignore


def resume_until(out: Path, place: Place | None = None, nth: int = 0) -> None:
    """In a process of its own: a search that goes on, perhaps until it kills itself."""
    _saves_at_every_epochs_end()
    if place:
        _dies_at(place, nth)
    if open_run(out).status == "finished":
        resume_evaluation(out, quiet=True)
    else:
        resume(out, quiet=True)


def differences(one: Run, other: Run) -> list[str]:
    """What tells two records of the same search apart; nothing if the second is as the first."""
    out = []
    first, second = one.trace, other.trace
    if first.sizes != second.sizes or set(first.variables) != set(second.variables):
        return [f"steps: {dict(first.sizes)}, {dict(second.sizes)}"]
    for name in map(str, first.variables):
        a, b = first[name].values, second[name].values
        if name not in UNLIKE and not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            out.append(name)
    if _events(one) != _events(other):
        out.append("events")
    if one.genotype is None or one.genotype != other.genotype:
        out.append(f"genotype: {one.genotype}, {other.genotype}")
    if _evaluation(one) != _evaluation(other):
        out.append("evaluation")
    return out + ([] if other.status == "finished" else [f"status {other.status}"])


def _evaluation(run: Run) -> object:
    figures = dict(run.evaluation or {})
    recipe = {k: v for k, v in dict(figures.pop("recipe", {})).items() if k != "command"}
    epochs = run.evaluation_epochs.drop(columns=[*UNLIKE], errors="ignore")
    return {k: v for k, v in figures.items() if k not in UNLIKE}, recipe, epochs.to_csv()


def _events(run: Run) -> list[dict[str, object]]:
    return [{k: v for k, v in line.items() if k not in UNLIKE} for line in run.events]


def read_whole(path: Path) -> int:
    """Everything a reader may ask of a run folder; the steps that are in it."""
    run = open_run(path)
    repr(run)
    assert not run.trace["step"].size or (np.diff(run.trace["step"].values) == 1).all()
    assert not np.isnan(run.trace["mix"].values).any()
    return len(run.trace["step"]) + 0 * (len(run.epochs) + len(run.prunings) + len(run.events))


@dataclass
class Killed:
    """What became of one search that was killed."""

    kind: str
    where: str
    search: str
    dead: bool = False  # False: the process came to its end before
    anew: bool = False  # nothing was saved yet
    finished: bool = False  # nothing was left to do
    wrong: list[str] = field(default_factory=list)

    @property
    def resumed(self) -> bool:
        """Was it killed where it could be gone on with, and something was left to do?"""
        return self.dead and not self.anew and not self.finished


class Killing:
    """Kills searches in `base`, which have an uninterrupted one beside them each."""

    def __init__(self, base: Path, seed: int = 0, searches: Iterable[str] = SEARCHES) -> None:
        self.base, self.random = base, random.Random(seed)
        self.names = [name for name in searches if name != EVALUATION]
        self.whole: dict[str, Run] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.seconds: dict[str, float] = {}
        for name in searches:
            out, counts = base / f"whole-{name}", base / f"{name}.json"
            if name == EVALUATION:
                shutil.copytree(self._searched(), out)
            process = started(search_into, out, SEARCHES[name], counts)
            waited(lambda out=out: begun(out), process)
            first = time.monotonic()
            assert ended(process) == 0
            self.seconds[name] = time.monotonic() - first
            self.whole[name], self.counts[name] = open_run(out), json.loads(counts.read_text())

    def _searched(self) -> Path:
        """A search that ended, to be evaluated."""
        out = self.base / "searched"
        if not out.exists():
            assert ended(started(search_into, out, {**SEARCHES["pruned"], "epochs": 1})) == 0
        return out

    def at_a_random_time(self) -> Killed:
        """Kill a search or an evaluation some time after it began."""
        name = self.random.choice(list(self.whole))
        out = self._fresh(name)
        process = started(search_into, out, SEARCHES[name])
        alive = waited(lambda: begun(out), process)
        wait = self.random.random() * self.seconds[name]
        dead = alive and kill_at(process, wait)
        process.join()
        return self._brought_to_its_end(Killed("any time", f"{wait:.2f} s", name, dead=dead), out)

    def at(self, place: Place) -> Killed:
        """Kill a search at a random one of its calls of a place."""
        name = place.search or self.random.choice(self.names)
        out = self._fresh(name)
        calls = self.counts[name][place.call] if not place.again else 0
        nth = self.random.randint(1, max(calls, 1))
        if place.again:  # first kill: at a random step
            first = next(p for p in PLACES if p.kind == "search step")
            at = self.random.randint(2, self.counts[name][first.call])
            process = started(search_until, out, SEARCHES[name], first, at)
            assert ended(process) == -signal.SIGKILL
            nth = self.random.randint(1, 12) if place.name == "__setitem__" else 1
            process = started(resume_until, out, place, nth)
        else:
            process = started(search_until, out, SEARCHES[name], place, nth)
        dead = ended(process) == -signal.SIGKILL
        killed = Killed(place.kind, f"{place} {nth} of {calls}", name, dead=dead)
        return self._brought_to_its_end(killed, out)

    def _fresh(self, name: str) -> Path:
        out = self.base / "killed"
        shutil.rmtree(out, ignore_errors=True)
        if name == EVALUATION:
            shutil.copytree(self._searched(), out)
        return out

    def _brought_to_its_end(self, killed: Killed, out: Path) -> Killed:
        whole, header = self.whole[killed.search], out / "run.json"
        of_evaluation = killed.search == EVALUATION
        saved = out / "evaluation" / "checkpoints" if of_evaluation else out / "checkpoints"
        if header.exists():
            read_whole(out)
            run = open_run(out)
            killed.finished = bool(run.evaluation) if of_evaluation else run.status == "finished"
        if not killed.finished:
            if not list(saved.glob("*.json")):
                killed.anew = True
                # Without a header the folder is free: it may be recorded into.
                if header.exists() and not of_evaluation:
                    shutil.rmtree(out)
                code = ended(started(search_into, out, SEARCHES[killed.search]))
            else:
                code = ended(started(resume_until, out))
            if code:
                killed.wrong.append(f"exit code {code}")
                return killed
        killed.wrong += differences(whole, open_run(out))
        if saved.exists() and not killed.finished:
            killed.wrong.append("checkpoints are left")
        return killed


def kills(base: Path, moments: int, seed: int = 0) -> Iterable[Killed]:
    """Kills until so many were gone on with: one in four at any time, the others at every kind of
    place in turn.  Those before the first checkpoint, or after the end, come beside them.
    """
    killing = Killing(base, seed)
    kinds = list(dict.fromkeys(place.kind for place in PLACES))
    done = tried = 0
    while done < moments:
        if tried % 4 == 3:
            killed = killing.at_a_random_time()
        else:
            kind = kinds[(tried - tried // 4) % len(kinds)]
            killed = killing.at(killing.random.choice([p for p in PLACES if p.kind == kind]))
        tried += 1
        done += killed.resumed or bool(killed.wrong)
        yield killed
