"""An epoch under way: how many steps it has taken, what they measured, how long they took."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from workbench.events import Diverged, DivergenceError
from workbench.protocols import Clock


@dataclass
class Means:
    """Means of scalars over the steps that measured them; tensors stay where they are till then."""

    sums: dict[str, Tensor | float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Take in what one step measured."""
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def finite(self, clock: Clock) -> dict[str, float]:
        """The means, all of them finite.

        Raises:
            DivergenceError: if one is not.
        """
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            what = f"the epoch's mean of {', '.join(bad)} became {means[bad[0]]}"
            remedy = "lower the learning rates or the entmax order, in a new search"
            raise DivergenceError(Diverged(clock, what, None, remedy))
        return means


def not_finite(clock: Clock, what: str) -> DivergenceError:
    """The error of a score that is none."""
    return DivergenceError(Diverged(clock, what, None, "another score, in a new search"))


class Stopwatch:
    """Seconds since it was made, and before that in the processes that it goes on for."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self._began

    def go_on(self, seconds: float) -> None:
        """As if it had run for `seconds`."""
        self._began = time.perf_counter() - seconds

    def lap(self) -> float:
        """The seconds so far; it begins anew."""
        seconds = self.seconds
        self.go_on(0.0)
        return seconds


class EpochUnderWay:
    """Where epoch `index` stands: steps `taken`, `means` so far, and whether it is `closed`."""

    def __init__(self, index: int) -> None:
        self.index, self.taken, self.closed = index, 0, False
        self.means = Means()
        self.watch = Stopwatch()

    def state_dict(self) -> dict[str, Any]:
        """Everything of it, as tensors and plain values."""
        return {
            "index": self.index,
            "taken": self.taken,
            "closed": self.closed,
            "seconds": self.watch.seconds,
            "sums": dict(self.means.sums),
            "counts": dict(self.means.counts),
        }

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> EpochUnderWay:
        """The epoch that `state_dict` told of, its clock running again."""
        epoch = EpochUnderWay(state["index"])
        epoch.taken, epoch.closed = state["taken"], state["closed"]
        epoch.means = Means(dict(state["sums"]), dict(state["counts"]))
        epoch.watch.go_on(state["seconds"])
        return epoch
