"""Damage to every file of a run that was interrupted, one at a time, and then it goes on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.damage import Row, damaged_events, damages
from tests.faults.killing import differences
from tests.full_disk import resumable
from workbench.events import SearchEvent, Stepped
from workbench.snapshots import load_state
from workbench.trace import Run, RunError, open_run, record
from workbench.trace.checkpoints import Checkpointing, newest
from workbench.trace.folder import CHECKPOINTS

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


def run(cases: int, seed: int, folder: Path) -> list[Row]:
    """Of every file: emptied, removed, and `cases` times truncated and flipped; then resumed."""
    whole, part, copy = folder / "ended", folder / "interrupted", folder / "resumed"
    list(search(whole))
    interrupted(part)
    want, generator, rows = open_run(whole), random.Random(seed), list[Row]()
    for file in sorted(path for path in part.rglob("*") if path.is_file()):
        for kind, at, damage in damages(file.read_bytes(), cases, generator):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(part, copy)
            place = copy / file.relative_to(part)
            damage(place)
            outcome, said = _judged(copy, place, want)
            rows.append(Row(str(place.relative_to(copy)), f"{kind}, resumed", at, outcome, said))
    return rows


def _judged(copy: Path, place: Path, want: Run) -> tuple[str, str]:
    try:
        list(search(copy, go_on=True))
        unlike = differences(want, open_run(copy))
    except RunError as error:
        named = any(str(at) in str(error) for at in (place, *place.parents[:2]))  # or its array
        return ("refused" if named else "unnamed"), str(error)
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    return ("wrong" if unlike else "same"), ", ".join(unlike)
