"""Schedules: who moves at a step; and numbers that change over a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.protocols import Clock, Update


@dataclass(frozen=True)
class Linear:
    """`start` at progress 0, `end` at progress 1, a straight line between."""

    start: float
    end: float

    def __call__(self, t: float) -> float:
        """The number at progress `t` in [0, 1]."""
        return self.start + (self.end - self.start) * t


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from `start` to `end`, or the first `share` of it.

    end + (start - end) (1 + cos(pi share t)) / 2

    Args:
        share: below 1 where a search ends before its schedule does: 0.5 for 25 epochs of a
            schedule of 50.

    Loshchilov and Hutter, SGDR, ICLR 2017, arXiv:1608.03983.
    """

    start: float
    end: float = 0.0
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"`Cosine(share={self.share})` needs a share in (0, 1]")

    def __call__(self, t: float) -> float:
        """The number at progress `t` in [0, 1]."""
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * self.share * t)) / 2


@dataclass(frozen=True)
class Exponential:
    """`start` at progress 0, `end` at progress 1, the same factor from step to step.

    start (end / start)^t

    start gamma^e over E epochs e is `Exponential(start, start * gamma**E)`.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        if self.start <= 0 or self.end <= 0:
            raise ValueError(f"`{self}` needs a start and an end above 0")

    def __call__(self, t: float) -> float:
        """The number at progress `t` in [0, 1]."""
        return self.start * (self.end / self.start) ** t


@dataclass(frozen=True)
class Piecewise:
    """`before` up to progress `at`, then `after`; each runs from its own 0 to its own 1."""

    before: Scalar
    after: Scalar
    at: float

    def __post_init__(self) -> None:
        if not 0 < self.at < 1:
            raise ValueError(f"`Piecewise(at={self.at})` needs a progress between 0 and 1")

    def __call__(self, t: float) -> float:
        """The number at progress `t` in [0, 1]; at `at` itself, that of `after`."""
        if t < self.at:
            return scalar_at(self.before, t / self.at)
        return scalar_at(self.after, (t - self.at) / (1 - self.at))


Scalar = float | Linear | Cosine | Exponential | Piecewise


def scalar_at(value: Scalar, t: float) -> float:
    """A constant, or a schedule's number at progress `t` in [0, 1]."""
    return value(t) if callable(value) else float(value)


def scalar_range(value: Scalar) -> tuple[float, float]:
    """The smallest and largest number `value` takes."""
    if isinstance(value, Piecewise):
        lows, highs = zip(scalar_range(value.before), scalar_range(value.after), strict=True)
        return min(lows), max(highs)
    ends = (scalar_at(value, 0.0), scalar_at(value, 1.0))
    return min(ends), max(ends)


@dataclass(frozen=True)
class Alternating:
    """One architecture step for every `weight_steps` weight steps, each on a new batch.

    `weight_steps=1, order="arch_first"` is DARTS as released; `order="weights_first"` is
    NAS-Bench-201's order and, with n weight steps, paper A's multi-step optimisation (eqs. 6, 7).
    Steps are counted over the whole stage, so that an epoch of 10 batches has 3 architecture
    steps at n = 3 and the tenth weight step belongs to the next round.

    Args:
        warmup_epochs: epochs in which only weights move.

    Liu et al., DARTS, arXiv:1806.09055; Zhang, A Zero-Cost DARTS Base on Multi-Step Optimization.
    """

    weight_steps: int = 1
    order: Literal["arch_first", "weights_first"] = "arch_first"
    warmup_epochs: int = 0

    def __post_init__(self) -> None:
        if self.weight_steps < 1:
            raise ValueError(
                f"`Alternating(weight_steps={self.weight_steps})` needs at least 1 weight step"
            )

    def __call__(self, clock: Clock) -> Sequence[Update]:
        """The updates of this step, in order."""
        if clock.epoch < self.warmup_epochs:
            return ("weights",)
        if self.order == "arch_first":
            return ("arch", "weights") if clock.step % self.weight_steps == 0 else ("weights",)
        due = (clock.step + 1) % self.weight_steps == 0
        return ("weights", "arch") if due else ("weights",)


@dataclass(frozen=True)
class Joint:
    """Weights and alphas both move on one backward pass of one training batch (single level)."""

    def __call__(self, clock: Clock) -> Sequence[Update]:
        """Always the joint update."""
        return ("joint",)


@dataclass(frozen=True)
class WeightsOnly:
    """Only weights move."""

    def __call__(self, clock: Clock) -> Sequence[Update]:
        """Always the weight update."""
        return ("weights",)


@dataclass(frozen=True)
class ArchOnly:
    """Only alphas move."""

    def __call__(self, clock: Clock) -> Sequence[Update]:
        """Always the architecture update."""
        return ("arch",)


@dataclass(frozen=True)
class Frozen:
    """Nobody moves: for a search that only measures and prunes."""

    def __call__(self, clock: Clock) -> Sequence[Update]:
        """Never an update."""
        return ()
