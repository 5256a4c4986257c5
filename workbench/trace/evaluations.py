"""The evaluations of a run: the first one, and trainings of the same network with other seeds."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from workbench.events import EpochEnded, Evaluated, EvaluationEvent
from workbench.trace import folder
from workbench.trace.checks import check_figures, check_line
from workbench.trace.folder import RunError, refuse_other_than_json
from workbench.trace.header import is_sealed, read_header
from workbench.trace.lines import Line, event_line

_LINES = "lines"  # in a file of figures: how many lines the epochs had at the end
_SEED = re.compile(r"seed_(\d{1,20})(?:\.epochs\.jsonl|\.json)")
_OF_ONE_TRAINING = ("seed", "machine", "command")  # what may differ between trainings of a network


@dataclass(frozen=True)
class Place:
    """Where one evaluation of a run lies: its figures, and a line for each of its epochs.

    `sealed`: whether every object there must have its seal, as since schema 2 of a run.
    """

    figures: Path
    epochs: Path
    sealed: bool = True

    def ended(self) -> bool:
        """Are the figures there?

        Raises:
            RunError: if they are not, although the epochs say that the evaluation has ended.
        """
        if self.figures.exists():
            return True
        lines = folder.read_lines(self.epochs, required=self.sealed, remedy=folder.EVALUATE)
        if lines and lines[-1].get("event") == "Evaluated" and not self.figures.exists():
            raise RunError(
                f"{self.figures} is missing, and {self.epochs.name} says that this evaluation has "
                f"ended; restore it from a copy, or move {self.epochs} away too to do without"
            )
        return self.figures.exists()

    def read(self) -> dict[str, object]:
        """The figures.

        Raises:
            RunError: if they are missing or damaged.
        """
        return {name: value for name, value in self._figures.items() if name != _LINES}

    @cached_property
    def _figures(self) -> dict[str, object]:
        figures = folder.read_sealed(self.figures, required=self.sealed, remedy=folder.EVALUATE)
        check_figures(figures, str(self.figures))
        return figures

    def read_epochs(self) -> list[dict[str, object]]:
        """The lines of its epochs so far, or of all if it has ended.

        Raises:
            RunError: if one is damaged, or fewer are there than `figures` says.
        """
        least = cast("int", self._figures.get(_LINES, 0)) if self.ended() else 0
        lines = folder.read_lines(self.epochs, required=self.sealed, remedy=folder.EVALUATE)
        if len(lines) < least:
            raise RunError(
                f"{self.epochs} holds {len(lines)} lines, and {self.figures.name} says {least}; "
                "restore it from a copy, or move both away and evaluate again"
            )
        for number, line in enumerate(lines, start=1):
            check_line(line, f"{self.epochs}, line {number},")
        return [line for line in lines if line["event"] == "EpochEnded"]


def first_place(run_path: Path, *, sealed: bool = True) -> Place:
    """Where the first evaluation of a run lies, or will; `sealed` as of `Place`."""
    return Place(run_path / folder.EVALUATION, run_path / folder.EVALUATION_EPOCHS, sealed)


def places(run_path: Path, *, sealed: bool = True) -> list[Place]:
    """The evaluations of a run that have ended, by seed.

    Raises:
        RunError: if the figures of one are lost or damaged.
    """
    first = first_place(run_path, sealed=sealed)
    files = first.epochs.parent.glob("seed_*.json*")
    seeds = {int(found[1]) for file in files if (found := _SEED.fullmatch(file.name))}
    found = [first, *(_place(run_path, seed, sealed=sealed) for seed in sorted(seeds))]
    ended = [place for place in found if place.ended()]
    return sorted(ended, key=lambda place: _order(seed_of(place.read())))


def seed_of(evaluation: Mapping[str, object]) -> int | None:
    """The seed an evaluation was trained with; None where its recipe does not say."""
    seed = cast("Mapping[str, object]", evaluation["recipe"]).get("seed")
    return None if seed is None else int(str(seed))


def record_evaluation(
    events: Iterator[EvaluationEvent], run_path: Path | str, *, recipe: Mapping[str, object]
) -> Generator[EvaluationEvent]:
    """Pass `events` on, unchanged, and write them into the folder of the run they evaluate.

    An epoch is a line of `evaluation/epochs.jsonl`; `Evaluated` becomes `evaluation.json`.  A run
    that was evaluated takes further evaluations under the same recipe with other seeds, in
    `evaluation/seed_<seed>.epochs.jsonl` and `evaluation/seed_<seed>.json`.  An evaluation that did
    not end is written over.  One evaluation of a run at a time.

    Args:
        events: What `evaluate` yields.
        run_path: A run folder.
        recipe: How the network was trained, as JSON values; `seed` tells evaluations of a run
            apart; `classes` are the names of the classes, by default those of the run's `data`.

    Raises:
        RunError: at once, if there is no run, it has been evaluated with this seed or under another
            recipe, or `recipe` is not JSON.
    """
    path = Path(run_path)
    if not (path / folder.HEADER).exists():
        raise RunError(f"{path} is no run folder ({folder.HEADER} is missing); record a search")
    refuse_other_than_json("record_evaluation(recipe=…)", recipe)
    header = read_header(path)
    place = _new_place(path, recipe, sealed=is_sealed(header))
    data = cast("Mapping[str, object]", header["meta"]).get("data")
    classes = data.get("classes") if isinstance(data, dict) else None
    return _record_evaluation(events, place, dict(recipe), recipe.get("classes", classes))


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
    differ = _differ(before, json.loads(folder.to_json(dict(recipe))))
    if differ:
        raise RunError(
            f"{path} has been evaluated under another recipe ({'; '.join(differ)}), and seeds are "
            f"told apart under one only; take the first one's settings, or move "
            f"{folder.EVALUATION} and {first.epochs.parent.name}/ away"
        )
    return _place(path, int(str(seed)), sealed=sealed)


def _differ(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The settings of two recipes that are not the same, as `name: before → after`."""
    names = [name for name in {**before, **after} if name not in _OF_ONE_TRAINING]
    return [
        f"{name}: {before.get(name)} → {after.get(name)}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _place(path: Path, seed: int, *, sealed: bool = True) -> Place:
    where = (path / folder.EVALUATION_EPOCHS).parent
    return Place(where / f"seed_{seed}.json", where / f"seed_{seed}.epochs.jsonl", sealed)


def _order(seed: int | None) -> int:
    return -1 if seed is None else seed


def _record_evaluation(
    events: Iterator[EvaluationEvent], place: Place, recipe: Mapping[str, object], classes: object
) -> Generator[EvaluationEvent]:
    begun, lines = False, 0
    for event in events:
        if not begun:
            place.epochs.parent.mkdir(exist_ok=True)
            folder.replace_text(place.epochs, "")
            begun = True
        if isinstance(event, EpochEnded):
            folder.append_line(place.epochs, event_line(event))
            lines += 1
        else:
            result = _figures(event) | {"classes": classes, "recipe": recipe, _LINES: lines}
            folder.write_sealed(place.figures, result, indent=1)
            folder.append_line(place.epochs, {"event": type(event).__name__})  # they are there
        yield event


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
