"""A method as a value: what it changes of DARTS, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import pairwise
from operator import is_

from workbench.part_text import brief, numbered
from workbench.part_text import part_text as part_text
from workbench.parts.arch_gradients import first_order, single_level
from workbench.parts.arch_optimizers import Adam
from workbench.parts.derivations import as_published
from workbench.parts.edges import WeightedSum
from workbench.parts.inits import Normal
from workbench.parts.objectives import CrossEntropy
from workbench.parts.relaxations import Softmax
from workbench.parts.schedules import Alternating
from workbench.parts.weight_optimizers import Sgd
from workbench.protocols import (
    ArchGradient,
    Carry,
    Derivation,
    Edge,
    EdgeWeights,
    Init,
    Objective,
    OpDropout,
    Optimizer,
    Probe,
    Pruner,
    Regularizer,
    Relaxation,
    Reshape,
    Schedule,
    StopRule,
    WeightOptimizer,
)


@dataclass(frozen=True)
class Stage:
    """One stage of a search; the defaults are DARTS's (first order, arXiv:1806.09055).

    Args:
        name: "search" for the stages a method's own settings change; others keep theirs.
        epochs: passes over the weights' share of the training images.
        batch_size: images of a batch.
        train_portion: share of the training images for weights, the rest is for alphas; 1 gives
            all of them to both.
        init: first logits; None goes on with those of the stage before.
        reshape: the stage's space; None keeps the search's.
        clip_arch: bound on the norm of the gradient of all alphas and betas together, which spikes
            under an entmax above order 2; None leaves it as it is.
        carry: what the new supernet takes over; None starts it anew.
        measures: probes after every epoch; rules find what is a scalar in `View.ended`.
        steps_per_epoch: at most so many; None is a whole pass over the weights' images.
    """

    name: str = "search"
    epochs: int = 50
    batch_size: int = 64
    train_portion: float = 0.5
    objective: Objective = CrossEntropy()
    init: Init | None = Normal(1e-3)
    relaxation: Relaxation = Softmax()
    edge: Edge = WeightedSum
    edge_weights: EdgeWeights | None = None
    op_dropout: OpDropout | None = None
    arch_gradient: ArchGradient = first_order
    weight_optimizer: WeightOptimizer = Sgd()
    arch_optimizer: Optimizer = Adam()
    clip_arch: float | None = None
    schedule: Schedule = Alternating()
    regularizers: tuple[Regularizer, ...] = ()
    pruner: Pruner | None = None
    measures: tuple[Probe, ...] = ()
    steps_per_epoch: int | None = None
    stop: StopRule | None = None
    reshape: Reshape | None = None
    carry: Carry | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 1)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}, not {value}")
        if self.steps_per_epoch is not None and self.steps_per_epoch < 1:
            raise ValueError(f"`steps_per_epoch` must be at least 1, not {self.steps_per_epoch}")
        if self.clip_arch is not None and not self.clip_arch > 0:
            raise ValueError(f"`clip_arch` must be more than 0, not {self.clip_arch}")
        if not 0 < self.train_portion <= 1:
            raise ValueError(f"`train_portion` must be in (0, 1], not {self.train_portion}")

    def __repr__(self) -> str:
        """Only what differs from DARTS's."""
        return brief(self)

    @property
    def gradient_of_joint(self) -> bool:
        """Whether it is the training loss's, as joint steps have it, or nobody's choice."""
        return any(self.arch_gradient is own for own in (first_order, single_level))

    def lasting(self, epochs: int) -> Stage:
        """This stage with `epochs`; `…_epochs` of its parts shrink or grow in proportion."""
        parts = {f.name: self._lasting(getattr(self, f.name), epochs) for f in fields(Stage)}
        return replace(self, **{**parts, "epochs": epochs})  # pyright: ignore[reportArgumentType]

    def _lasting(self, part: object, epochs: int) -> object:
        """`part`, or the parts of a tuple, and whatever they wrap, for a stage of `epochs`."""
        if type(part) is tuple:
            parts = tuple(self._lasting(each, epochs) for each in part)
            return part if all(map(is_, parts, part)) else parts
        if not is_dataclass(part) or isinstance(part, type):
            return part
        changes: dict[str, object] = {}
        for name in (f.name for f in fields(part) if f.init):
            value = getattr(part, name)
            if name.endswith("_epochs") and isinstance(value, int):
                changes[name] = self._scaled(name, value, epochs)
            elif (inner := self._lasting(value, epochs)) is not value:
                changes[name] = inner
        return replace(part, **changes) if changes else part

    def _scaled(self, name: str, count: int, epochs: int) -> int:
        """A part's count of epochs; a warm-up or grace leaves an epoch for what comes after it."""
        if not count or not self.epochs:
            return count
        scaled = max(1, round(count * epochs / self.epochs))
        waiting = name.startswith(("warmup", "grace")) and count < self.epochs
        return min(scaled, epochs - 1) if waiting else scaled


@dataclass(frozen=True)
class Method:
    """A search method: its stages in order and how a genotype is read off at the end.

    `paper` is an arXiv id or DOI, `summary` one line of what it is for.
    """

    name: str
    paper: str
    summary: str
    stages: tuple[Stage, ...] = field(default_factory=lambda: (Stage(),))
    derivation: Derivation = as_published

    def __repr__(self) -> str:
        parts = list(map(repr, self.stages[:3]))
        if len(self.stages) > 3:
            parts[1:] = [f"{len(self.stages) - 1} more stages"]
        if self.derivation is not as_published:
            parts.append(brief(self.derivation))
        return f"<Method {self.name} ({self.paper}): {', then '.join(parts)}>"

    def but(self, **changes: object) -> Method:
        """This method with other parts.  Fields of a stage change in every stage named "search".

        Raises:
            TypeError: if there is no such field.
            ValueError: if no stage is named "search" whose field it could be.
        """
        own = {f.name for f in fields(Method)}
        staged = {f.name for f in fields(Stage)}
        unknown = sorted(set(changes) - own - staged)
        if unknown:
            known = ", ".join(sorted(own | staged))
            raise TypeError(f"a method has no {', '.join(unknown)}; it has {known}")
        mine = {key: value for key, value in changes.items() if key in own}
        theirs = {key: value for key, value in changes.items() if key not in own}
        method = replace(self, **mine)  # pyright: ignore[reportArgumentType]
        names = [stage.name for stage in method.stages]
        if theirs and "search" not in names:
            raise ValueError(
                f"{', '.join(theirs)} would change the stages named 'search', and {method.name} "
                f"has none ({', '.join(names)}): name one so, or give other `stages`"
            )
        return replace(
            method,
            stages=tuple(
                replace(stage, **theirs) if theirs and stage.name == "search" else stage  # pyright: ignore[reportArgumentType]
                for stage in method.stages
            ),
        )

    def lasting(self, epochs: int) -> Method:
        """This method with `epochs` in all its stages but a warm-up's, in their proportion.

        What its parts count in epochs (fields called `…_epochs`) shrinks or grows with the stage.

        Raises:
            ValueError: if that leaves a stage without an epoch.
        """
        mine = [stage.epochs for stage in self.stages if stage.name != "warm_up"]
        if epochs < len(mine):
            raise ValueError(f"{self.name} has {len(mine)} stages and needs as many epochs or more")
        ends = [round(epochs * sum(mine[: i + 1]) / sum(mine)) for i in range(len(mine))]
        for index in range(len(ends)):  # everybody has one
            ends[index] = max(ends[index], 1 + (ends[index - 1] if index else 0))
            ends[index] = min(ends[index], epochs - (len(ends) - 1 - index))
        counts = iter([end - start for start, end in pairwise([0, *ends])])
        stages = tuple(
            stage if stage.name == "warm_up" else stage.lasting(next(counts))
            for stage in self.stages
        )
        return replace(self, stages=stages)

    def after(self, stage: Stage, *, carry: Carry) -> Method:
        """This method with `stage` before it: alphas go on, `carry` hands the weights over."""
        first = replace(self.stages[0], init=None, carry=carry)
        return replace(self, stages=(stage, first, *self.stages[1:]))

    def describe(self) -> dict[str, object]:
        """Names and texts of every part, for the record of a run."""
        stages = [
            {f.name: part_text(getattr(stage, f.name)) for f in fields(Stage)}
            for stage in self.stages
        ]
        return {
            "name": self.name,
            "paper": self.paper,
            "summary": self.summary,
            "stages": stages,
            "derivation": part_text(self.derivation),
        }


@dataclass(frozen=True)
class Difference:
    """One field of a method that another changes."""

    field: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.field}: {self.before} → {self.after}"


SMALL_EPOCHS, SMALL_BATCH, SMALL_ARCH_LR = 12, 64, 5e-3


def small(method: Method) -> Method:
    """A preset cut to pictures like digits: 12 epochs, batches of 64, alphas at 5e-3 or more.

    The published counts of epochs are for 50,000 pictures, and at 3e-4 alphas hardly move in a few
    hundred steps.  A method that needs something else says so in a `…_small` value of its own.
    """
    stages = []
    for stage in method.lasting(max(SMALL_EPOCHS, len(method.stages))).stages:
        optimizer = stage.arch_optimizer
        if isinstance(optimizer, Adam):
            optimizer = replace(optimizer, lr=max(optimizer.lr, SMALL_ARCH_LR))
        batch = min(stage.batch_size, SMALL_BATCH)
        stages.append(replace(stage, batch_size=batch, arch_optimizer=optimizer))
    return replace(method, name=f"{method.name}_small", stages=tuple(stages))


class Differences(tuple[Difference, ...]):
    """What one method changes of another; prints one change a line."""

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no difference"

    __repr__ = __str__


def differences(a: Method, b: Method) -> Differences:
    """What `b` changes of `a`, field by field.

    Stages are compared from the last one backwards, so that a warm-up in front shows as itself.
    """
    rows: list[Difference] = []
    extra = len(b.stages) - len(a.stages)
    of_a, of_b = (numbered([stage.name for stage in method.stages]) for method in (a, b))
    for index in range(max(extra, 0)):
        rows.append(Difference(f"stage {of_b[index]}", "(none)", _stage_text(b.stages[index])))
    for index in range(max(-extra, 0)):
        rows.append(Difference(f"stage {of_a[index]}", _stage_text(a.stages[index]), "(none)"))
    pairs = list(zip(*(reversed(one) for one in (a.stages, b.stages, of_b)), strict=False))
    for old, new, told in reversed(pairs):
        prefix = "" if len(pairs) == 1 else f"{told}."
        for f in fields(Stage):
            before, after = part_text(getattr(old, f.name)), part_text(getattr(new, f.name))
            if before != after:
                rows.append(Difference(prefix + f.name, before, after))
    before, after = part_text(a.derivation), part_text(b.derivation)
    if before != after:
        rows.append(Difference("derivation", before, after))
    return Differences(rows)


def _stage_text(stage: Stage) -> str:
    default = Stage(name=stage.name)
    changed = [
        f"{f.name}={part_text(getattr(stage, f.name))}"
        for f in fields(Stage)
        if part_text(getattr(stage, f.name)) != part_text(getattr(default, f.name))
    ]
    return f"Stage({', '.join(changed)})"
