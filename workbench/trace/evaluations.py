"""The evaluations of a run: the first one, and trainings of the same network with other seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from workbench.trace import folder
from workbench.trace.appended import read_lines
from workbench.trace.checks import check_figures, check_line
from workbench.trace.folder import RunError

LINES = "lines"  # in a file of figures: how many lines the epochs had at the end
_SEED = re.compile(r"seed_(\d{1,20})(?:\.epochs\.jsonl|\.json)")


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
        lines = read_lines(self.epochs, required=self.sealed, remedy=folder.EVALUATE)
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
        return {name: value for name, value in self._figures.items() if name != LINES}

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
        least = cast("int", self._figures.get(LINES, 0)) if self.ended() else 0
        lines = read_lines(self.epochs, required=self.sealed, remedy=folder.EVALUATE)
        if len(lines) < least:
            raise RunError(
                f"{self.epochs} holds {len(lines)} lines, and {self.figures.name} says {least}; "
                "restore it from a copy, or move both away and evaluate again"
            )
        for number, line in enumerate(lines, start=1):
            check_line(line, f"{self.epochs}, line {number},")
        return [line for line in lines if line["event"] == "EpochEnded"]


def refuse_evaluated(run_path: Path) -> None:
    """Whether a search may go on: figures of what it had found until then would not be its own.

    Raises:
        RunError: if an evaluation of it has begun or ended.
    """
    names = (folder.EVALUATION, Path(folder.EVALUATION_EPOCHS).parent.name)
    begun = [name for name in names if (run_path / name).exists()]
    if begun:
        raise RunError(
            f"{run_path} was evaluated as it stood ({' and '.join(begun)}), and a search that goes "
            "on finds another network; move that away, or go on with a copy that lacks it"
        )


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
    found = [first, *(place_of(run_path, seed, sealed=sealed) for seed in sorted(seeds))]
    ended = [place for place in found if place.ended()]
    return sorted(ended, key=lambda place: _order(seed_of(place.read())))


def seed_of(evaluation: Mapping[str, object]) -> int | None:
    """The seed an evaluation was trained with; None where its recipe does not say."""
    seed = cast("Mapping[str, object]", evaluation["recipe"]).get("seed")
    return None if seed is None else int(str(seed))


def place_of(path: Path, seed: int, *, sealed: bool = True) -> Place:
    """Where the evaluation of a run with `seed` lies, if it is not the first."""
    where = (path / folder.EVALUATION_EPOCHS).parent
    return Place(where / f"seed_{seed}.json", where / f"seed_{seed}.epochs.jsonl", sealed)


def _order(seed: int | None) -> int:
    return -1 if seed is None else seed
