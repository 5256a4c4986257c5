"""The evaluations of a run: the first one, and trainings of the same network with other seeds."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from workbench.events import EpochEnded, Evaluated, EvaluationEvent
from workbench.trace import folder
from workbench.trace.folder import RunError, refuse_other_than_json
from workbench.trace.lines import Line, event_line

_OF_ONE_TRAINING = ("seed", "machine", "command")  # what may differ between trainings of a network


@dataclass(frozen=True)
class Place:
    """Where one evaluation of a run lies: its figures, and a line for each of its epochs."""

    figures: Path
    epochs: Path

    def read(self) -> dict[str, object]:
        """The figures."""
        return json.loads(self.figures.read_text(encoding="utf-8"))


def first_place(run_path: Path) -> Place:
    """Where the first evaluation of a run lies, or will."""
    return Place(run_path / folder.EVALUATION, run_path / folder.EVALUATION_EPOCHS)


def places(run_path: Path) -> list[Place]:
    """The evaluations of a run that have ended, by seed."""
    first = first_place(run_path)
    figures = (run_path / folder.EVALUATION_EPOCHS).parent.glob("seed_*.json")
    found = [_place(run_path, int(path.stem.removeprefix("seed_"))) for path in figures]
    if first.figures.exists():
        found.append(first)
    return sorted(found, key=lambda place: _order(seed_of(place.read())))


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
    place = _new_place(path, recipe)
    data = json.loads((path / folder.HEADER).read_text(encoding="utf-8"))["meta"].get("data")
    classes = data.get("classes") if isinstance(data, dict) else None
    return _record_evaluation(events, place, dict(recipe), recipe.get("classes", classes))


def _new_place(path: Path, recipe: Mapping[str, object]) -> Place:
    """Where an evaluation under `recipe` goes, if the run can take one."""
    first = first_place(path)
    if not first.figures.exists():
        return first
    seed = recipe.get("seed")
    if seed is None:
        raise RunError(
            f"{path} has been evaluated; move {folder.EVALUATION} away to evaluate it again"
        )
    for place in places(path):
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
    return _place(path, int(str(seed)))


def _differ(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The settings of two recipes that are not the same, as `name: before → after`."""
    names = [name for name in {**before, **after} if name not in _OF_ONE_TRAINING]
    return [
        f"{name}: {before.get(name)} → {after.get(name)}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _place(path: Path, seed: int) -> Place:
    where = (path / folder.EVALUATION_EPOCHS).parent
    return Place(where / f"seed_{seed}.json", where / f"seed_{seed}.epochs.jsonl")


def _order(seed: int | None) -> int:
    return -1 if seed is None else seed


def _record_evaluation(
    events: Iterator[EvaluationEvent], place: Place, recipe: Mapping[str, object], classes: object
) -> Generator[EvaluationEvent]:
    begun = False
    for event in events:
        if not begun:
            place.epochs.parent.mkdir(exist_ok=True)
            folder.replace_text(place.epochs, "")
            begun = True
        if isinstance(event, EpochEnded):
            folder.append_line(place.epochs, event_line(event))
        elif isinstance(event, Evaluated):
            result = _figures(event) | {"classes": classes, "recipe": recipe}
            folder.replace_text(place.figures, folder.to_json(result, indent=1))
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
