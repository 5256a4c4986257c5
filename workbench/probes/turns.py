"""Probes that wait for their turn; in between they measure nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from workbench.protocols import Bilevel, Probe, Rows, View


@dataclass(frozen=True)
class Every:
    """`probe` after the first step of a stage, every `steps`-th from there, and the last one.

    Args:
        steps: 1 is every step.
        probe: what is measured then.
    """

    steps: int
    probe: Probe

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"`Every(steps={self.steps})` needs 1 or more")

    def __call__(self, view: View, bilevel: Bilevel) -> Mapping[str, Tensor | Rows]:
        """What `probe` measures, or nothing."""
        clock = view.clock
        turn = clock.step % self.steps == 0 or clock.step + 1 == clock.steps
        return self.probe(view, bilevel) if turn else {}


@dataclass(frozen=True)
class EveryEpoch:
    """`probe` after the last step of every epoch, before pruning that comes after epochs.

    Args:
        probe: what is measured then.
    """

    probe: Probe

    def __call__(self, view: View, bilevel: Bilevel) -> Mapping[str, Tensor | Rows]:
        """What `probe` measures, or nothing."""
        clock = view.clock
        last = (clock.step + 1) % (clock.steps // clock.epochs) == 0
        return self.probe(view, bilevel) if last else {}
