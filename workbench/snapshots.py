"""The whole state of a run at one moment: trees of tensors and plain values, on disk and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from workbench.data import Data, describe
from workbench.errors import WorkbenchError, is_out_of_memory

State = dict[str, Any]  # of tensors, numbers, texts, lists and dicts of these


class SnapshotError(WorkbenchError):
    """A saved state that cannot be read, or is another run's."""


class Moment:
    """Saves a state that is there now; once the run has gone on, it is gone.

    Args:
        take: the state of now.
    """

    def __init__(self, take: Callable[[], State]) -> None:
        self._take: Callable[[], State] | None = take

    def save(self, stream: BinaryIO) -> None:
        """Write the state into `stream`.

        Raises:
            SnapshotError: if the run has gone on.
        """
        if self._take is None:
            raise SnapshotError(
                "the run has gone on since this event; save it before asking for the next one"
            )
        torch.save(self._take(), stream)

    @property
    def passed(self) -> bool:
        """Has the run gone on?"""
        return self._take is None

    def passes(self) -> None:
        """From now on there is nothing to be saved."""
        self._take = None


def load_state(path: Path | str) -> State:
    """The state that a file holds, on the CPU.  Nothing in the file is executed.

    Raises:
        SnapshotError: if it holds none.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # whatever torch meets in bytes that are none of its own
        if is_out_of_memory(e):
            raise
        first = " ".join(str(e).split())[:200]
        raise SnapshotError(f"{path} holds no saved state ({first}); take an older one") from e
    if not isinstance(state, dict):
        raise SnapshotError(f"{path} holds a {type(state).__name__}, no saved state")
    return state


def identity(about: Mapping[str, object], data: Data, seed: int) -> dict[str, str]:
    """What tells one search or training from another, by name; `about` is how it is done."""
    values = {"method": about, "data": describe(data), "seed": seed}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}


def refuse_other(state: State, mine: Mapping[str, str]) -> None:
    """Whether a state was taken of the same search or training.

    Raises:
        SnapshotError: if it was not; the line says what differs.
    """
    theirs = state.get("of")
    if not isinstance(theirs, dict):
        raise SnapshotError("this is no state of a search or a training")
    other = [name for name, text in mine.items() if theirs.get(name) != text]
    if other:
        told = "; ".join(_difference(n, str(theirs.get(n)), mine[n]) for n in other)
        raise SnapshotError(
            f"the state was saved with another {', '.join(other)} ({told}); go on with the same"
        )


def _difference(name: str, before: str, now: str) -> str:
    """Where two texts part, with a little of what is around it."""
    at = next((i for i, pair in enumerate(zip(before, now, strict=False)) if len({*pair}) > 1), 0)
    first = max(0, at - 60)
    cut = "…" if first else ""
    return f"{name}: {cut}{before[first : at + 140]} → {cut}{now[first : at + 140]}"
