"""What a search and an evaluation say while they run: frozen, detached values, one direction.

Tensors stay on the device; whoever wants numbers converts them in bulk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.protocols import Clock
    from workbench.spaces.genotype import Genotype
    from workbench.spaces.space import Space

Scalars = Mapping[str, "Tensor | float"]
Rows = Mapping[str, "Tensor"]  # {kind: (edges, ops)}


@dataclass(frozen=True)
class StageStarted:
    """A stage begins: its space and its state before the first step.

    `parameters` counts the supernet's weights; `split` holds the indices of the training images
    that go to `weights` and to `arch`; `about` describes method, data, machine and seed in JSON
    values, for whoever keeps a record.
    """

    clock: Clock
    space: Space
    alpha: Rows
    mix: Rows
    alive: Rows
    parameters: int
    split: Mapping[str, Tensor] = field(default_factory=dict)
    about: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Stepped:
    """One step is done: the state after it, and what it measured.

    `scalars` holds for example `loss_train`, `loss_val`, `accuracy_train`, `accuracy_val`, `lr`,
    `arch_lr`; a name that was not measured in this step is missing.  `edges` holds the weights
    `(edges,)` of whole edges by kind of cell, where the method has such.  `memory` is in bytes, as
    in `EpochEnded`; None if nobody looked.
    """

    clock: Clock
    scalars: Scalars
    alpha: Rows
    mix: Rows
    alive: Rows
    edges: Rows = field(default_factory=dict)
    memory: int | None = None


@dataclass(frozen=True)
class Probed:
    """A probe measured `values`, after the step of its clock.

    Scalars, rows by kind of cell `{kind: (edges,)}` or `{kind: (edges, ops)}`, or other tensors.
    """

    clock: Clock
    values: Mapping[str, Tensor | Rows]


@dataclass(frozen=True)
class Pruned:
    """Operation `op` of `edge` (`normal:0→2`) is gone for good.

    `weight` is the last mixing weight above 0 that it had.
    """

    clock: Clock
    edge: str
    op: str
    weight: float
    reason: str


@dataclass(frozen=True)
class Held:
    """The pruner wanted `op` of `edge` gone but kept it, because of `reason`."""

    clock: Clock
    edge: str
    op: str
    reason: str


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is done.

    `genotype` is what would be derived now; `parameters` and `macs` are the derived network's, at
    the search's own width and depth; `alive` counts operations; `memory` is in bytes, of the whole
    process on a CPU, the peak of tensors so far on a GPU.
    """

    clock: Clock
    scalars: Mapping[str, float]
    seconds: float
    memory: int
    genotype: Genotype | None = None
    parameters: int | None = None
    macs: int | None = None
    alive: int | None = None
    supernet_parameters: int | None = None


@dataclass(frozen=True)
class Stopped:
    """A stage ended before its last epoch."""

    clock: Clock
    reason: str


@dataclass(frozen=True)
class Derived:
    """The search is over: its genotype, and per edge the entropy (nats) of what was left."""

    clock: Clock
    genotype: Genotype
    residual_entropy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Diverged:
    """It cannot go on: `what` became of its numbers, on `edge` (`normal:0→2`) where that is known.

    `remedy` says what to try.  `cell` counts the blocks after the stem from 0, `op` is there where
    one operation's output was the first that was not finite; `stage` is the stage's name, empty in
    an evaluation.  A DivergenceError follows.
    """

    clock: Clock
    what: str
    edge: str | None
    remedy: str
    cell: int | None = None
    op: str | None = None
    stage: str = ""


class DivergenceError(WorkbenchError, FloatingPointError):
    """A search or training that diverged, as `event` says; `saved` is its last state, if known."""

    def __init__(self, event: Diverged, saved: str | None = None) -> None:
        super().__init__(event)
        self.event, self.saved = event, saved

    def __str__(self) -> str:
        event, clock = self.event, self.event.clock
        stage = f", stage {clock.stage} ({event.stage})" if event.stage else ""
        when = f"step {clock.step}, epoch {clock.epoch}{stage}"
        cell = "" if event.cell is None else f"cell {event.cell}"
        places = [text for text in (event.edge, event.op, cell) if text]
        where = f" at {', '.join(places)}" if places else ""
        saved = f"; last saved state: {self.saved}" if self.saved else ""
        return f"{event.what}{where} in {when}{saved}; to try: {event.remedy}"


@dataclass(frozen=True)
class Evaluated:
    """The evaluation phase is over: figures on the untouched test split.

    `test_accuracy` and `test_map` (macro one-vs-rest average precision) are in [0, 1]; `confusion`
    counts rows of true against columns of predicted classes.
    """

    genotype: Genotype
    test_accuracy: float
    test_map: float
    confusion: tuple[tuple[int, ...], ...]
    parameters: int
    macs: int
    seconds: float


class Savable(Protocol):
    """The whole state of a run, until the next event is asked for; then it has `passed`."""

    @property
    def passed(self) -> bool:
        """Has the run gone on?"""
        ...

    def save(self, stream: BinaryIO) -> None:
        """Write the state into `stream`, for `start=` of `search` or `evaluate`."""
        ...


@dataclass(frozen=True)
class Resumable:
    """All that happened so far has been told, and the run can go on from here another time.

    Comes before the first step of a stage, after every step with what belongs to it, and after
    every epoch.
    """

    clock: Clock
    now: Savable
    epoch_ended: bool = False  # or the stage is about to begin


@dataclass(frozen=True)
class Resumed:
    """A run goes on from a saved state: the first event then, in place of what was told before.

    `space` is that of the stage it is in, None in an evaluation; `about` is as in `StageStarted`.
    """

    clock: Clock
    space: Space | None = None
    about: Mapping[str, object] = field(default_factory=dict)


SearchEvent = (
    StageStarted
    | Stepped
    | Probed
    | Pruned
    | Held
    | EpochEnded
    | Stopped
    | Derived
    | Diverged
    | Resumable
    | Resumed
)
EvaluationEvent = EpochEnded | Evaluated | Diverged | Resumable | Resumed
