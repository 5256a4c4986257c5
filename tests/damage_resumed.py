"""Damage to every file of an interrupted search or evaluation, and then it goes on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.damage import Row, damaged_events, damages, is_named
from tests.fakes import fake_evaluation, fake_run
from tests.faults.killing import differences
from tests.full_disk import resumable
from workbench.events import EvaluationEvent, Resumable, SearchEvent, Stepped
from workbench.snapshots import load_state
from workbench.trace import Run, RunError, open_run, record, record_evaluation
from workbench.trace.checkpoints import Checkpointing, newest
from workbench.trace.evaluation_record import unfinished
from workbench.trace.folder import CHECKPOINTS

GoesOn = Callable[..., Iterator[object]]
STEPS = 9  # of twelve: in the second stage, where the scalar `late` is there


def search(path: Path, *, go_on: bool = False) -> Iterator[SearchEvent]:
    """Record two stages with a checkpoint after every step, or go on with it."""
    start = newest(path / CHECKPOINTS, path) if go_on else None
    events = resumable(list(damaged_events()), load_state(start.state) if start else None)
    when = Checkpointing(steps=1, minutes=None, share=None)
    return record(events, path, checkpoints=when, start=start, flush_seconds=0)


def interrupted(path: Path) -> None:
    """A run that ended in the midst, with two checkpoints."""
    events, steps = search(path), 0
    for event in events:
        steps += isinstance(event, Stepped)
        if steps == STEPS:
            break
    events.close()  # pyright: ignore


def training(path: Path, *, go_on: bool = False) -> Iterator[EvaluationEvent]:
    """Record an evaluation of three epochs with a checkpoint after each, or go on with it."""
    start, genotype = unfinished(path) if go_on else None, open_run(path).genotype
    assert genotype is not None
    events = list(fake_evaluation(genotype))
    told = resumable(events, load_state(start.state) if start else None)
    when = Checkpointing(steps=1, minutes=None, share=None)
    return record_evaluation(told, path, recipe={"seed": 0}, checkpoints=when, start=start)


def interrupted_training(path: Path) -> None:
    """A run whose evaluation ended after its second epoch, with two checkpoints."""
    fake_run(path, kinds=("cell",), nodes=1, epochs=1, evaluated=False)
    events = training(path)
    for event in events:
        if isinstance(event, Resumable) and event.clock.epoch == 1:
            break
    events.close()  # pyright: ignore


def run(cases: int, seed: int, folder: Path) -> list[Row]:
    """Of every file: emptied, removed, and `cases` times truncated and flipped; then resumed."""
    generator = random.Random(seed)
    whole, part = folder / "ended", folder / "interrupted"
    list(search(whole))
    interrupted(part)
    rows = _run(cases, generator, whole, part, search)
    whole, part = folder / "evaluated", folder / "half_evaluated"
    interrupted_training(part)
    shutil.copytree(part, whole)
    list(training(whole, go_on=True))
    return rows + _run(cases, generator, whole, part, training, below="evaluation")


def _run(
    cases: int, generator: random.Random, whole: Path, part: Path, go_on: GoesOn, below: str = ""
) -> list[Row]:
    copy, want, rows = part.with_name("resumed"), open_run(whole), list[Row]()
    for file in sorted(path for path in (part / below).rglob("*") if path.is_file()):
        for kind, at, damage in damages(file.read_bytes(), cases, generator):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(part, copy)
            place = copy / file.relative_to(part)
            damage(place)
            outcome, said = _judged(copy, place, want, go_on)
            rows.append(Row(str(place.relative_to(copy)), f"{kind}, resumed", at, outcome, said))
    return rows


def _judged(copy: Path, place: Path, want: Run, go_on: GoesOn) -> tuple[str, str]:
    try:
        list(go_on(copy, go_on=True))
        unlike = differences(want, open_run(copy))
    except RunError as error:
        named = is_named(place, copy, str(error))
        return ("refused" if named else "unnamed"), str(error)
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    return ("wrong" if unlike else "same"), ", ".join(unlike)
