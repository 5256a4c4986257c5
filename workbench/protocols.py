"""The contract of every slot, on one page.

A method fills slots with parts.  A part is a function, or a frozen dataclass with `__call__`; it
remembers nothing, prints nothing and moves nothing: it returns a value and `search` acts on it.
What parts are given, and the shapes, is in `values`.  A relaxation, edge weights or an objective
that does the same at every `t` may say so, `steady = True`: a CUDA graph can then hold whole steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from workbench.values import Batch as Batch
from workbench.values import Bilevel as Bilevel
from workbench.values import Clock as Clock
from workbench.values import EdgeForm as EdgeForm
from workbench.values import Holding as Holding
from workbench.values import Loss as Loss
from workbench.values import Mixture as Mixture
from workbench.values import Mixtures as Mixtures
from workbench.values import Rows as Rows
from workbench.values import Trial as Trial
from workbench.values import Update as Update
from workbench.values import View as View
from workbench.values import said as said

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from workbench.spaces.genotype import Genotype
    from workbench.spaces.space import CellShape, Space

OpFactory = Callable[[int, int], "nn.Module"]  # (channels, stride) -> module
RowSum = Literal["one", "positive", "any"]
Pictures = Literal["data", "gaussian"]  # what the paper of a score feeds the network


class SupernetLike(Protocol):
    """A network whose output is a function of mixing weights it does not own."""

    def __call__(self, images: Tensor, mixtures: Mixtures, t: float) -> Tensor:
        """Logits `(batch, classes)` of `images` `(batch, channels, height, width)`."""
        ...


class BoundNet(Protocol):
    """A supernet at given weights; `input_shape` is (channels, height, width) of the pictures."""

    module: nn.Module
    weights: Sequence[Tensor]
    input_shape: tuple[int, int, int]

    def __call__(self, images: Tensor, mixtures: Mixtures, t: float) -> Tensor:
        """Logits `(batch, classes)`, differentiable in `weights` and in `mixtures`."""
        ...


class Objective(Protocol):
    """What a search minimises; one that `opens_net` looks at the modules of `net.module`."""

    needs_data: ClassVar[bool]
    opens_net: ClassVar[bool]

    def __call__(
        self,
        net: BoundNet,
        mixtures: Mixtures,
        batch: Batch | None,
        t: float,
        generator: torch.Generator,
    ) -> Loss:
        """The loss of `net` on `batch` under `mixtures`; `generator` lives on the net's device."""
        ...


class Init(Protocol):
    """First logits of every kind of cell."""

    def __call__(self, space: Space, net: SupernetLike, generator: torch.Generator) -> Rows:
        """`{kind: (edges, ops)}`."""
        ...


class Relaxation(Protocol):
    """Turns each row of logits, by itself, into mixing weights: exactly 0 where not `alive`."""

    row_sum: ClassVar[RowSum]  # of a row of `mix` with something alive; "any": gates, may all be 0

    def mix(self, logits: Tensor, alive: Tensor, t: float) -> Tensor:
        """The deterministic face `(edges, ops)`: recorded, pruned by and derived from."""
        ...

    def sample(self, logits: Tensor, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """The face used in the forward pass `(edges, ops)`; `mix` unless the method samples."""
        ...


class MixedEdge(Protocol):
    """One edge of a supernet; a `plain_sum` of its `ops` may run on the fast supernet."""

    # So may one with a `form`.  One that `chooses` is also given `runs`: which of `row` are not 0.
    plain_sum: ClassVar[bool]

    def __call__(self, x: Tensor, row: Tensor, t: float) -> Tensor:
        """The edge's output for input `x` `(batch, c, h, w)` and mixing weights `row` `(ops,)`."""
        ...

    def drop(self, alive: Sequence[bool]) -> None:
        """Delete the modules of operations that are no longer alive."""
        ...


class EdgeWeights(Protocol):
    """Weighs the edges into a node: beta `(nodes, sources)`, row by row like a relaxation.

    Row i is the i-th intermediate node, column j source j; `alive` is False where j is no source.
    """

    def first(self, alive: Tensor, generator: torch.Generator) -> Tensor:
        """The first betas, of the shape of `alive`; drawn on the CPU."""
        ...

    def mix(self, beta: Tensor, alive: Tensor, t: float) -> Tensor:
        """Weights of the same shape, exactly 0 where not `alive`."""
        ...


class OpDropout(Protocol):
    """Draws which operations a step leaves out of one kind of cell."""

    def kept(self, cell: CellShape, alive: Tensor, t: float, generator: torch.Generator) -> Tensor:
        """What takes part: bool `(edges, ops)`, never more than `alive`, something in every row."""
        ...

    def adjusted(self, before: Tensor, after: Tensor, alive: Tensor, kept: Tensor) -> Tensor:
        """The alphas `(edges, ops)` after a step in which only `kept` ones moved."""
        ...


class Edge(Protocol):
    """How one edge combines its operations; builds an `nn.Module` that is a `MixedEdge`."""

    def __call__(self, ops: Mapping[str, OpFactory], channels: int, stride: int) -> nn.Module:
        """The module of one edge whose candidates are `ops`, in row order."""
        ...


class ArchGradient(Protocol):
    """Gradient of the architecture parameters: one tensor per `bilevel.alphas`, shaped like it."""

    def __call__(
        self, bilevel: Bilevel, train: Batch | None, val: Batch | None
    ) -> tuple[Tensor, ...]:
        """The gradient at the current weights and alphas."""
        ...


class Optimizer(Protocol):
    """Builds a torch optimizer.  `ArchOptimizer` and `WeightOptimizer` are both this."""

    def __call__(self, params: Sequence[Tensor]) -> torch.optim.Optimizer:
        """An optimizer of `params`."""
        ...


ArchOptimizer = Optimizer  # the geometry of the architecture step


class WeightOptimizer(Optimizer, Protocol):
    """The weight step; an `elementwise` one treats every number alike, whichever its tensor."""

    @property
    def elementwise(self) -> bool:
        """Whether weights may be packed."""
        ...

    @property
    def clip(self) -> float | None:
        """Bound on the global gradient norm, or None."""
        ...

    def lr_at(self, progress: float) -> float:
        """The learning rate after `progress` in [0, 1) of the stage's epochs."""
        ...


class Schedule(Protocol):
    """Who moves at this step, in order."""

    def __call__(self, clock: Clock) -> Sequence[Update]:
        """Any of "weights", "arch", "joint"."""
        ...


class Regularizer(Protocol):
    """A differentiable term added to the loss an architecture step sees."""

    def __call__(self, view: View, mixtures: Mixtures) -> Tensor:
        """A scalar."""
        ...


class Pruner(Protocol):
    """Shrinks `alive` during the search; a `Holding` says what it kept against its own rule."""

    @property
    def every(self) -> Literal["step", "epoch"]:
        """When it is asked: after steps that moved alphas, or after epochs."""
        ...

    def __call__(self, view: View) -> Rows:
        """The new `alive`, `{kind: bool (edges, ops)}`, never larger than `view.alive`."""
        ...


class StopRule(Protocol):
    """Ends a stage early."""

    def __call__(self, view: View) -> str | None:
        """The reason to stop, or None to go on."""
        ...


class Derivation(Protocol):
    """Reads a genotype off the mixing weights."""

    def __call__(self, space: Space, mix: Mixtures, alive: Rows) -> Genotype:
        """The genotype."""
        ...


class Reshape(Protocol):
    """The space of the next stage, from the first space of the search and the last view."""

    def __call__(self, space: Space, view: View | None) -> Space:
        """A space."""
        ...


class Carry(Protocol):
    """What the supernet of a new stage takes over from the old one."""

    def __call__(self, old: nn.Module, new: nn.Module) -> None:
        """Write into `new`."""
        ...


class Probe(Protocol):
    """Measures something during a search without changing it."""

    def __call__(self, view: View, bilevel: Bilevel) -> Mapping[str, Tensor | Rows]:
        """Detached tensors by name: scalars, or rows `{kind: (edges,)}` or `{kind: (edges, ops)}`.

        These are recorded beside alpha.  Tensors of other shapes are told in events only.
        """
        ...


class Proxy(Protocol):
    """A training-free score.  It leaves the network as it was, also when it fails."""

    needs_labels: ClassVar[bool]
    higher_is_better: ClassVar[bool]
    pictures: ClassVar[Pictures]

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net`, which returns logits `(batch, classes)`."""
        ...
