"""How many passes through the supernet a step of a method takes: counted, by taking steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from workbench.data import Augment, Data, ImageSet
from workbench.engine import Machine
from workbench.method import Method, Stage
from workbench.parts.inits import Constant
from workbench.protocols import Clock, Schedule, Update
from workbench.run import Run
from workbench.spaces.darts import darts
from workbench.spaces.space import Space

_STEPS = 60  # of an epoch: every published n of weight steps per alpha step divides it


@dataclass(frozen=True)
class Passes:
    """Forward and backward passes through the supernet per training batch, on average."""

    forward: float
    backward: float

    def __str__(self) -> str:
        return f"{self.forward:.3g}+{self.backward:.3g}"


def passes(method: Method) -> Passes:
    """The passes of a step in the last epoch of the first stage that moves alphas.

    Every different kind of step is taken once, on noise and at a tiny size, and weighed by how
    often the schedule asks for it.  A method that moves nothing takes none.
    """
    moving = [stage for stage in method.stages if _asked(stage, {"arch", "joint"})]
    stage = (moving or list(method.stages))[0]
    kinds = Counter(_updates(stage))
    found = {kind: _taken(method, stage, kind) for kind in kinds}
    return Passes(
        sum(times * found[kind].forward for kind, times in kinds.items()) / kinds.total(),
        sum(times * found[kind].backward for kind, times in kinds.items()) / kinds.total(),
    )


@dataclass(frozen=True)
class _Always:
    """The schedule that asks for the same at every step."""

    updates: tuple[Update, ...]

    def __call__(self, clock: Clock) -> tuple[Update, ...]:
        return self.updates


def _updates(stage: Stage) -> list[tuple[Update, ...]]:
    """What the schedule asks for in each step of the stage's last epoch."""
    epochs = max(stage.epochs, 1)
    steps = range((epochs - 1) * _STEPS, epochs * _STEPS)
    schedule: Schedule = stage.schedule
    clocks = [Clock(0, epochs - 1, epochs, step, epochs * _STEPS) for step in steps]
    return [tuple(schedule(clock)) for clock in clocks]


def _asked(stage: Stage, updates: set[Update]) -> bool:
    return any(updates & set(step) for step in _updates(stage))


def _taken(method: Method, stage: Stage, kind: tuple[Update, ...]) -> Passes:
    """The passes of one step of that kind; the step before it fills momentum buffers."""
    stage = replace(
        stage,
        batch_size=8,
        schedule=_Always(kind),
        init=stage.init or Constant(0.0),
        pruner=None,
        carry=None,
    )
    cells = 8 if stage.regularizers else 1  # one that switches cells off has a pass for each
    space: Space = darts(channels=4, cells=cells, nodes=1)
    space = stage.reshape(space, None) if stage.reshape else space
    alone, machine = replace(method, stages=(stage,)), Machine("cpu", engine="readable")
    machine.prepare()
    run = Run(alone, 0, space, _noise(), machine, 0, None)
    run.step(Clock(0, 0, 1, 0, 2))
    with _counting(run.net) as counts:
        run.step(Clock(0, 0, 1, 1, 2))
    return Passes(counts["forward"], counts["backward"])


@contextmanager
def _counting(net: nn.Module) -> Iterator[Counter[str]]:
    """Counts passes in both directions by what comes out of `net` and what comes back there."""
    counts: Counter[str] = Counter()

    def backward(grad: Tensor) -> None:
        counts["backward"] += 1

    def forward(module: nn.Module, inputs: object, logits: Tensor) -> None:
        counts["forward"] += 1
        if logits.requires_grad:
            logits.register_hook(backward)

    hook = net.register_forward_hook(forward)
    try:
        yield counts
    finally:
        hook.remove()


def _noise() -> Data:
    """Pictures of 8×8 that nobody can tell apart."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (32, 1, 8, 8), generator=generator, dtype=torch.uint8)
    part = ImageSet(images, torch.arange(32) % 2)
    return Data("noise", ("a", "b"), part, part, (0.5,), (0.3,), Augment())
