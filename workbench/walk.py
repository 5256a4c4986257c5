"""A search without gradients as a value: it tries genotypes, one by one, and keeps the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from workbench.method import part_text

if TYPE_CHECKING:
    import torch
    from torch import nn

    from workbench.protocols import Batch
    from workbench.spaces.genotype import Genotype
    from workbench.spaces.space import Space


class Tried(NamedTuple):
    """A genotype that was tried, and its score."""

    genotype: Genotype
    score: float


class Proposal(Protocol):
    """Which genotype a walk looks at next."""

    def __call__(
        self, space: Space, tried: Sequence[Tried], generator: torch.Generator
    ) -> Genotype:
        """A genotype of `space`; `tried` is in order, `generator` lives on the CPU."""
        ...


class Bench(Protocol):
    """What a score may do with one candidate; the test split is out of its reach."""

    @property
    def generator(self) -> torch.Generator:
        """For what a score draws: the candidate's own, on the device."""
        ...

    def network(self, genotype: Genotype) -> nn.Module:
        """An untrained network at the search's width and depth, which returns logits."""
        ...

    def pictures(self, count: int) -> Batch:
        """Images that weights may see, not augmented: the same at every call."""
        ...

    def noise(self, count: int) -> Batch:
        """Gaussian pictures of the data's shape, with labels that mean nothing."""
        ...

    def accuracy(self, genotype: Genotype, *, epochs: int, batch_size: int, lr: float) -> float:
        """Share of the held-out images that a network has right after a training on the others."""
        ...


class Score(Protocol):
    """How good a genotype is; larger is better."""

    def __call__(self, genotype: Genotype, bench: Bench) -> float:
        """The score, a finite number."""
        ...


@dataclass(frozen=True)
class Walk:
    """A search that tries `candidates` genotypes and ends with the best of them.

    `paper` is an arXiv id or DOI, `summary` one line of what it is for.

    Args:
        candidates: how many are tried.
        proposal: which one comes next.
        score: how good one is; None takes the only candidate as it is.
        round: candidates between two reports (`EpochEnded`) of the best so far.
        train_portion: share of the training images that weights may see; the rest judges.
    """

    name: str
    paper: str
    summary: str
    candidates: int
    proposal: Proposal
    score: Score | None
    round: int = 10
    train_portion: float = 0.5

    def __post_init__(self) -> None:
        for name in ("candidates", "round"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if self.score is None and self.candidates > 1:
            raise ValueError(
                f"`Walk(candidates={self.candidates}, score=None)` cannot tell which is best; "
                "give it a score, or one candidate"
            )
        if not 0 < self.train_portion <= 1:
            raise ValueError(f"`train_portion` must be in (0, 1], not {self.train_portion}")

    def __repr__(self) -> str:
        parts = ", ".join(f"{f}={part_text(getattr(self, f))}" for f in ("proposal", "score"))
        return f"<Walk {self.name} ({self.paper}): {self.candidates} candidates, {parts}>"

    def but(self, **changes: object) -> Walk:
        """This walk with other fields.

        Raises:
            TypeError: if there is no such field.
        """
        known = [f.name for f in fields(Walk)]
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise TypeError(f"a walk has no {', '.join(unknown)}; it has {', '.join(known)}")
        return replace(self, **changes)  # pyright: ignore[reportArgumentType]

    def describe(self) -> dict[str, object]:
        """Names and texts of every part, for the record of a run."""
        texts = ("proposal", "score")
        return {
            f.name: part_text(getattr(self, f.name)) if f.name in texts else getattr(self, f.name)
            for f in fields(Walk)
        }


SMALL_CANDIDATES = 24


def small(walk: Walk) -> Walk:
    """A walk cut to pictures like digits: 24 candidates at most.

    A walk that needs something else says so in a `…_small` value of its own.
    """
    return walk.but(name=f"{walk.name}_small", candidates=min(walk.candidates, SMALL_CANDIDATES))
