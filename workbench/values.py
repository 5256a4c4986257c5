"""Values that parts are given and give back; the contracts that use them are in `protocols`.

Shapes: a kind of cell has `edges` edges and `ops` columns, the ordered union of its candidate
operations; `alive` is False where an operation is no candidate of an edge, or was pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from workbench.events import EpochEnded
    from workbench.spaces.genotype import Genotype
    from workbench.spaces.space import Space
    from workbench.spaces.supernet import Supernet

Update = Literal["weights", "arch", "joint"]


@dataclass(frozen=True)
class Clock:
    """Where a search is: `step` of `steps` and `epoch` of `epochs`, both of one stage, from 0."""

    stage: int
    epoch: int
    epochs: int
    step: int
    steps: int

    @property
    def t(self) -> float:
        """Progress of the stage in [0, 1]: 0 before the first step, 1 after the last."""
        return self.step / self.steps if self.steps else 1.0


class Batch(NamedTuple):
    """Normalised, augmented images `(batch, channels, height, width)` and labels `(batch,)`."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Mixture:
    """Mixing weights of one kind of cell: `ops` `(edges, ops)`, `edges` `(edges,)` or None."""

    ops: Tensor
    edges: Tensor | None = None

    def copied(self) -> Mixture:
        """The same in memory of its own."""
        return Mixture(self.ops.clone(), None if self.edges is None else self.edges.clone())


Mixtures = Mapping[str, Mixture]
Rows = Mapping[str, "Tensor"]  # {kind: (edges, ops)}


class Holding(dict[str, "Tensor"]):
    """The `alive` of a pruner that keeps what its rule takes, and says what: the record tells it.

    Args:
        alive: what is left, `{kind: bool (edges, ops)}`.
        held: what is only left lest a node lose its last operations, of the same shape.
    """

    def __init__(self, alive: Rows, held: Rows) -> None:
        super().__init__(alive)
        self.held = held


class Bilevel(Protocol):
    """The two-level problem as an architecture gradient sees it: a virtual step can be written."""

    weights: tuple[Tensor, ...]
    alphas: tuple[Tensor, ...]
    momentum: float  # of weight steps

    @property
    def lr(self) -> float:
        """Learning rate of the next weight step."""
        ...

    @property
    def weight_decay(self) -> float:
        """L2 factor of the next weight step."""
        ...

    @property
    def generator(self) -> torch.Generator:
        """What the search draws from, on its device: saved with it, so that draws repeat."""
        ...

    @property
    def velocity(self) -> tuple[Tensor, ...]:
        """Momentum times buffer, per weight."""
        ...

    def mixtures(self, alphas: Sequence[Tensor] | None = None) -> Mixtures:
        """The mixing weights of the current alphas, or of others, differentiable in them."""
        ...

    def loss(
        self, weights: Sequence[Tensor], batch: Batch | None, mixtures: Mixtures | None = None
    ) -> Tensor:
        """The objective at `weights`, under `mixtures` or the current ones."""
        ...


class Trial(Protocol):
    """What a rule may try: nothing of it leaves a trace in the search."""

    @property
    def batch(self) -> Batch | None:
        """The held-out batch of the last step that had one, else its training batch."""
        ...

    def loss(self, mixtures: Mixtures) -> Tensor:
        """The objective on `batch` at the current weights, differentiable in `mixtures`."""
        ...

    def evaluate(self, mixtures: Mixtures) -> Mapping[str, float]:
        """Mean `loss` and `accuracy` over the held-out images, with statistics of each batch.

        Of the training images where nothing is held out; in order, not augmented.
        """
        ...

    def genotype(self) -> Genotype:
        """What the method would derive now."""
        ...

    def net(self) -> Supernet:
        """A copy of the supernet as modules, with what is alive, to be used up."""
        ...


@dataclass(frozen=True)
class View:
    """What a rule may look at.  New information is a new field here, never a new parameter."""

    clock: Clock
    space: Space
    alpha: Rows
    mix: Mixtures
    alive: Rows
    history: Sequence[Rows] = ()  # mixing weights at the end of each epoch so far
    ended: Sequence[EpochEnded] = ()  # of the stage's epochs so far: genotype, size, mean losses
    seed: int = 0  # of the search: a rule that draws makes a generator from it and the clock
    trial: Trial | None = None  # None outside a running search


class Loss(NamedTuple):
    """A scalar to minimise and what to log beside it (detached scalars by name)."""

    value: Tensor
    logs: Mapping[str, Tensor]


def said(edge: object, name: str) -> Any:
    """What a mixed edge's class says of itself; None if only of an ancestor's `forward`."""
    for kind in type(edge).__mro__:
        if name in vars(kind):
            return getattr(edge, name)
        if "forward" in vars(kind):
            return None
    return None


class EdgeForm(NamedTuple):
    """What a mixed edge computes, in the words of the fast supernet.

    shuffle(concat(sum_o row_o o(x') + beside(t) skip(x'), rest)),   x' the first 1/k of channels

    The rest of the channels is max-pooled 2×2 at stride 2, odd sizes up.  The shuffle of k groups
    puts channel i c/k + j at place j k + i.

    Args:
        ops: where the edge keeps its operations: the name of an `nn.ModuleDict` in it.
        k: 1 where all channels go through them, and nothing is shuffled.
        skip: the name of a `skip_connect` in it that is no candidate; empty without one.
        beside: what that one weighs, a number or a function of the progress t.
        chosen: whether only operations run whose weight is not 0; the others' gradient is 0.
    """

    ops: str = "ops"
    k: int = 1
    skip: str = ""
    beside: float | Callable[[float], float] = 0.0
    chosen: bool = False

    @classmethod
    def of(cls, edge: object) -> EdgeForm | None:
        """That of a mixed edge; None of one that says nothing of its own `forward`."""
        form = said(edge, "form")
        return form or (cls() if said(edge, "plain_sum") else None)

    @property
    def is_steady(self) -> bool:
        """Whether it runs the same at every `t` and in every pass."""
        return not callable(self.beside) and not self.chosen

    @property
    def is_special(self) -> bool:
        """Whether it is none of what all kernels know: a sum, and a skip beside it."""
        return self.k > 1 or self.chosen

    def more(self, t: float) -> tuple[float, ...]:
        """What stands behind every row of mixing weights: of `skip` and of the rest, where any."""
        beside = self.beside(t) if callable(self.beside) else float(self.beside)
        return (*((beside,) if self.skip else ()), *((1.0,) if self.k > 1 else ()))
