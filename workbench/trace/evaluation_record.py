"""Recording an evaluation: a pipe that writes it into its run, and saves it now and then."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from workbench.errors import OutOfMemory
from workbench.events import DivergenceError, EpochEnded, Evaluated, EvaluationEvent, Resumable
from workbench.trace import appended, folder
from workbench.trace.checkpoints import (
    Checkpoint,
    Checkpointing,
    Checkpoints,
    let_go,
    newest,
    remove,
)
from workbench.trace.evaluations import LINES, Place, first_place, place_of, places, seed_of
from workbench.trace.folder import RunError, refuse_other_than_json
from workbench.trace.header import is_sealed, read_header
from workbench.trace.json_text import from_json, to_json
from workbench.trace.lines import Line, event_line
from workbench.trace.lock import WriterLock
from workbench.trace.unwritten import writing

_OF_ONE_TRAINING = ("seed", "machine", "command")  # what may differ between trainings of a network


def record_evaluation(
    events: Iterator[EvaluationEvent],
    run_path: Path | str,
    *,
    recipe: Mapping[str, object],
    note: Mapping[str, object] | None = None,
    checkpoints: Checkpointing | None = None,
    start: Checkpoint | None = None,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> Generator[EvaluationEvent]:
    """Pass `events` on, unchanged, and write them into the folder of the run they evaluate.

    An epoch is a line of `evaluation/epochs.jsonl`, and so is `Diverged`; `Evaluated` becomes
    `evaluation.json`. A run that was evaluated takes further evaluations under the same recipe with
    other seeds, in `evaluation/seed_<seed>.epochs.jsonl` and `evaluation/seed_<seed>.json`. Its
    state is saved in `evaluation/checkpoints/` until it ends; one that did not end and has no saved
    state is written over. One evaluation of a run at a time.

    Args:
        events: What `evaluate` yields.
        run_path: A run folder.
        recipe: How the network was trained, as JSON values; `seed` tells evaluations of a run
            apart; `classes` are the names of the classes, by default those of the run's `data`.
        note: What to keep with a saved state, as JSON values: `Checkpoint.record["note"]`.
        checkpoints: When the state is saved; by default at epochs' ends and every 10 minutes.
        start: The checkpoint whose state `events` go on from.
        asked_to_stop: Looked at between steps; the state is saved and it ends once that is true.

    Raises:
        RunError: at once, if there is no run or a link in it, its search goes on or it has been
            evaluated with this seed or under another recipe, an evaluation can go on that is not
            `start`'s, or `recipe` is not JSON; at the first event, if another process evaluates it.
    """
    path = Path(run_path)
    if not (path / folder.HEADER).exists():
        raise RunError(f"{path} is no run folder ({folder.HEADER} is missing); record a search")
    folder.refuse_links(path)
    refuse_other_than_json("record_evaluation(recipe=…)", recipe)
    WriterLock(path / folder.LOCK).refuse_held()
    header = read_header(path)
    place = _new_place(path, recipe, sealed=is_sealed(header))
    saved = path / folder.EVALUATION_CHECKPOINTS
    if start is None and unfinished(path) is not None:
        raise RunError(
            f"{path} holds an evaluation that can go on; add --resume, or remove {saved} to begin "
            "it again"
        )
    data = cast("Mapping[str, object]", header["meta"]).get("data")
    classes = data.get("classes") if isinstance(data, dict) else None
    about = {"classes": recipe.get("classes", classes), "recipe": dict(recipe)}
    when = Checkpointing() if checkpoints is None else checkpoints
    kept = {"recipe": dict(recipe), "note": note or {}}
    keeper = _Keeper(path, place, Checkpoints(saved, when), kept)
    return _record_evaluation(events, keeper, about, start, asked_to_stop)


def unfinished(run_path: Path) -> Checkpoint | None:
    """The newest saved state of an evaluation of the run that did not end, if there is one.

    Raises:
        RunError: if there are saved states, but all are damaged, or the newest does not
            say where the evaluation stood.
    """
    saved = run_path / folder.EVALUATION_CHECKPOINTS
    if not any(saved.glob("*.json")):
        return None
    found = newest(saved, run_path)
    try:
        seed, written = seed_of(found.record), found.record["epochs_bytes"]
        whole = isinstance(written, int) and written >= 0
    except (LookupError, TypeError, ValueError, AttributeError):
        seed, whole = None, False
    if not whole:
        raise RunError(
            f"{found.file} does not say where the evaluation stood; remove {saved} to begin it "
            "again"
        )
    sealed = is_sealed(read_header(run_path))
    ended = [seed_of(place.read()) for place in places(run_path, sealed=sealed)]
    return None if seed in ended else found


def _new_place(path: Path, recipe: Mapping[str, object], *, sealed: bool) -> Place:
    """Where an evaluation under `recipe` goes, if the run can take one."""
    first = first_place(path, sealed=sealed)
    if not first.figures.exists():
        return first
    seed = recipe.get("seed")
    if seed is None:
        raise RunError(
            f"{path} has been evaluated; move {folder.EVALUATION} away to evaluate it again"
        )
    for place in places(path, sealed=sealed):
        if seed_of(place.read()) == seed:
            name = place.figures.relative_to(path)
            raise RunError(
                f"{path} has been evaluated with seed {seed}; choose another --seed, or move "
                f"{name} away to evaluate it again"
            )
    before = cast("Mapping[str, object]", first.read()["recipe"])
    differ = _differ(before, from_json(to_json(dict(recipe)).encode()))
    if differ:
        raise RunError(
            f"{path} has been evaluated under another recipe ({'; '.join(differ)}), and seeds are "
            f"told apart under one only; take the first one's settings, or move "
            f"{folder.EVALUATION} and {first.epochs.parent.name}/ away"
        )
    return place_of(path, int(str(seed)), sealed=sealed)


def _differ(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The settings of two recipes that are not the same, as `name: before → after`."""
    names = [name for name in {**before, **after} if name not in _OF_ONE_TRAINING]
    return [
        f"{name}: {before.get(name)} → {after.get(name)}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _record_evaluation(
    events: Iterator[EvaluationEvent],
    keeper: _Keeper,
    about: Mapping[str, object],
    start: Checkpoint | None,
    asked_to_stop: Callable[[], bool],
) -> Generator[EvaluationEvent]:
    try:
        for event in events:
            if not keeper.begun:
                keeper.begin(start)
            if isinstance(event, EpochEnded):
                keeper.append(event_line(event))
            elif isinstance(event, Evaluated):
                keeper.end({**_figures(event), **about, LINES: keeper.lines})
            elif isinstance(event, Resumable):
                asked = asked_to_stop()
                if keeper.checkpoints.due(event) or asked:
                    keeper.save(event)
                if asked:
                    return
            yield event
    except DivergenceError as error:
        keeper.fail(error)
        raise
    except OutOfMemory as error:
        error.then = "; ".join(keeper.told())
        raise
    finally:
        keeper.lock.release()


class _Keeper:
    """Where one evaluation is written, and its saved states."""

    def __init__(
        self, run: Path, place: Place, checkpoints: Checkpoints, note: Mapping[str, object]
    ) -> None:
        self.run, self.place, self.checkpoints, self._note = run, place, checkpoints, note
        self.lines = 0  # that are written
        self.begun = False
        self.lock = WriterLock(place.epochs.parent / folder.EVALUATION_LOCK)

    def begin(self, start: Checkpoint | None) -> None:
        """Take the place; with `start`, take out of it what came after that."""
        with writing(self.place.epochs, self.told):
            self._begin(start)
        self.begun = True

    def _begin(self, start: Checkpoint | None) -> None:
        self.place.epochs.parent.mkdir(exist_ok=True)
        self.lock.acquire()
        WriterLock(self.run / folder.LOCK).refuse_held()  # by a search that goes on
        if self.place.figures.exists():  # while these events waited
            raise RunError(f"{self.place.figures} is there: that evaluation has ended; read it")
        self.checkpoints.begin()
        if start is None:
            remove(self.checkpoints.path)  # of one that ended, and was killed before it let go
            folder.replace_text(self.place.epochs, "")
            return
        if not start.file.exists():
            raise RunError(f"{start.file} is gone: that evaluation has ended; read the run again")
        appended.cut(self.place.epochs, cast("int", start.record["epochs_bytes"]))
        self.lines = len(appended.read_lines(self.place.epochs, remedy=folder.EVALUATE))

    def append(self, line: Line) -> None:
        """Write a line of the epochs."""
        self.lock.check()
        with writing(self.place.epochs, self.told):
            appended.append_line(self.place.epochs, line)
        self.lines += 1

    def end(self, figures: Line) -> None:
        """Write the figures down; then nothing is left to go on with."""
        self.lock.check()
        with writing(self.place.figures, self.told):
            folder.write_sealed(self.place.figures, figures, indent=1, durable=True)
        with writing(self.place.epochs, self.told):
            appended.append_line(self.place.epochs, {"event": Evaluated.__name__})  # they are there
            let_go(self.checkpoints.path)

    def fail(self, error: DivergenceError) -> None:
        """Let the error name the last saved state, and write it down; an event need not tell it."""
        error.saved = self.checkpoints.saved()
        self.append({**event_line(error.event), "saved": error.saved})

    def save(self, event: Resumable) -> None:
        """Save the state of the training."""
        if event.now.passed:  # events that were kept and are told again
            return
        self.lock.check()
        with writing(self.checkpoints.path, self.told):
            written = self.place.epochs.stat().st_size
            record = {**self._note, "epochs_bytes": written}
            self.checkpoints.write(event.now.save, {"clock": asdict(event.clock), "record": record})

    def told(self) -> tuple[str, str]:
        """Up to where the record is whole, and how to go on."""
        if self.place.figures.exists():
            return "all figures of the evaluation are written", "nothing of it is left to do"
        last, run = self.checkpoints.last(), str(self.run)
        whole = (
            f"the record is whole up to epoch {self.lines}" if self.begun else "it had not begun"
        )
        if last is None:
            return whole, f"evaluate anew: {shlex.join(['workbench', 'evaluate', run])}"
        command = shlex.join(["workbench", "evaluate", run, "--resume"])
        return f"{whole}, the last saved state is that of {last}", f"go on with: {command}"


def _figures(event: Evaluated) -> Line:
    return {
        "test_accuracy": event.test_accuracy,
        "test_map": event.test_map,
        "parameters": event.parameters,
        "macs": event.macs,
        "confusion": [list(row) for row in event.confusion],
        "genotype": str(event.genotype),
        "seconds": event.seconds,
    }
