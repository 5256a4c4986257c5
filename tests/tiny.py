"""Tiny searches: a few digits, small spaces, and an objective that keeps what it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from workbench.data import Augment, Data, ImageSet, load
from workbench.engine import Machine
from workbench.events import EpochEnded, Held, Pruned, Resumable, SearchEvent, StageStarted, Stepped
from workbench.method import Method
from workbench.parts.objectives import CrossEntropy
from workbench.protocols import Batch, BoundNet, Loss, Mixture, Mixtures, Probe, Rows
from workbench.search import Run, epoch_of, search
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import Space

CPU, CPU64 = Machine("cpu"), Machine("cpu", "float64")
READABLE = Machine("cpu", engine="readable")  # for who looks at modules
READABLE64 = Machine("cpu", "float64", engine="readable")
SMOOTH_OPS = ("none", "avg_pool_3x3", "skip_connect", "dil_conv_3x3")  # but for their activation

SPACES: Mapping[str, Space] = {
    "darts": darts(channels=4, cells=3, nodes=1),
    "nasbench201": nasbench201(channels=4, cells_per_stage=1, nodes=2),
}


@cache
def tiny_data() -> Data:
    """48 digits, 8 each of 0 to 5, not augmented; the first pixel of image i is i, so that a batch
    tells who is in it."""
    data = load("digits")
    each = [(data.train.labels == digit).nonzero()[:8, 0] for digit in range(6)]
    train = data.train.take(torch.cat(each))
    pixels = train.images.clone()
    pixels[:, 0, 0, 0] = torch.arange(len(pixels), dtype=torch.uint8)
    return replace(data, train=ImageSet(pixels, train.labels), augment=Augment())


def who(images: Tensor, data: Data) -> list[int]:
    """The indices of a batch's images in `tiny_data`."""
    first = images[:, 0, 0, 0].double() * data.std[0] + data.mean[0]
    return (first * 255).round().long().tolist()


def shrunk(method: Method, *, epochs: int = 1, batch_size: int = 8) -> Method:
    """`method` with every stage, warm-ups too, small enough for `tiny_data`."""
    return replace(
        method,
        stages=tuple(replace(s.lasting(epochs), batch_size=batch_size) for s in method.stages),
    )


def start(
    method: Method,
    space: Space,
    *,
    data: Data | None = None,
    machine: Machine = CPU,
    seed: int = 0,
    index: int = 0,
    before: Run | None = None,
) -> Run:
    """One stage, about to begin: what `search` drives."""
    return Run(method, index, space, data or tiny_data(), machine, seed, before)


def play(run: Run, probes: Sequence[Probe] = ()) -> list[SearchEvent]:
    """Every event of that stage."""
    started: list[SearchEvent] = [run.started()]
    return started + [e for epoch in range(run.stage.epochs) for e in epoch_of(run, epoch, probes)]


def searched(
    method: Method, space: Space, *, machine: Machine = CPU, seed: int = 0
) -> list[SearchEvent]:
    """What happened in a search on `tiny_data`."""
    return told(search(method, space, tiny_data(), machine=machine, seed=seed))


def told(events: Iterable[SearchEvent]) -> list[SearchEvent]:
    """What happened: `events` without the places where the search could go on another time."""
    return [event for event in events if not isinstance(event, Resumable)]


def steps(events: Iterable[SearchEvent]) -> list[Stepped]:
    """The steps among `events`."""
    return [event for event in events if isinstance(event, Stepped)]


def prunings(events: Iterable[SearchEvent]) -> list[Pruned]:
    """The removals among `events`."""
    return [event for event in events if isinstance(event, Pruned)]


def holdings(events: Iterable[SearchEvent]) -> list[Held]:
    """The removals that were not."""
    return [event for event in events if isinstance(event, Held)]


def trajectory(events: Iterable[SearchEvent]) -> list[dict[str, Tensor]]:
    """Everything the states and steps among `events` say, and every epoch's means, by name."""
    out: list[dict[str, Tensor]] = []
    for event in events:
        if isinstance(event, (StageStarted, Stepped)):
            rows = {"alpha": event.alpha, "mix": event.mix, "alive": event.alive}
            out.append({f"{name} {kind}": x for name, r in rows.items() for kind, x in r.items()})
        if isinstance(event, (Stepped, EpochEnded)):
            out.append({name: torch.as_tensor(value) for name, value in event.scalars.items()})
    return out


def assert_same(
    a: Sequence[Mapping[str, Tensor]], b: Sequence[Mapping[str, Tensor]], atol: float = 0.0
) -> None:
    """Equal to the bit, or to `atol`; and not trivially so."""
    assert len(a) == len(b) > 1
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        assert x.keys() == y.keys()
        for name in x:
            gap = (x[name].double() - y[name].double()).abs().max()
            assert gap <= atol, f"{name} differs by {gap} at place {index}"


def moved(events: Iterable[SearchEvent]) -> bool:
    """Did the alphas move at all?  Two searches that stand still are equal for no reason."""
    states = [e.alpha for e in events if isinstance(e, (StageStarted, Stepped))]
    return any(not torch.equal(states[0][kind], states[-1][kind]) for kind in states[0])


@dataclass(frozen=True)
class Pass:
    """One pass through an objective: which images, and the weights and mixing weights it met."""

    images: list[int]
    moves_alphas: bool
    weights: list[Tensor]
    mix: Rows


class Spy:
    """Cross-entropy that keeps what every pass was shown."""

    needs_data = True
    opens_net = False

    def __init__(self, data: Data) -> None:
        self.data, self.passes = data, []

    def __call__(
        self,
        net: BoundNet,
        mixtures: Mixtures,
        batch: Batch | None,
        t: float,
        generator: torch.Generator,
    ) -> Loss:
        """The cross-entropy."""
        assert batch is not None
        rows = {kind: mixture.ops.detach().clone() for kind, mixture in mixtures.items()}
        seen = Pass(
            who(batch.images, self.data),
            any(mixture.ops.requires_grad for mixture in mixtures.values()),
            [weight.detach().clone() for weight in net.weights],
            rows,
        )
        self.passes.append(seen)
        return CrossEntropy()(net, mixtures, batch, t, generator)

    def images(self, *, moves_alphas: bool) -> list[int]:
        """What the passes of one level were shown, in order."""
        return [i for p in self.passes if p.moves_alphas == moves_alphas for i in p.images]


@dataclass(frozen=True)
class Planted:
    """Cross-entropy plus `strength` times what every edge gives to other operations than its own.

    L(w, alpha) + strength * sum over edges e of (1 - mix[e, plant[e]])

    Its best operation per edge is known beforehand.
    """

    plant: Rows  # {kind: column (edges,)}
    strength: float = 1.0
    needs_data = True
    opens_net = False

    def __call__(
        self,
        net: BoundNet,
        mixtures: Mixtures,
        batch: Batch | None,
        t: float,
        generator: torch.Generator,
    ) -> Loss:
        """The loss on `batch`."""
        loss = CrossEntropy()(net, mixtures, batch, t, generator)
        missing = torch.stack(
            [
                (1 - mixture.ops.gather(1, self.plant[kind][:, None])).sum()
                for kind, mixture in mixtures.items()
            ]
        ).sum()
        return Loss(loss.value + self.strength * missing, loss.logs)


def cross_entropy(run: Run, batch: Batch, alphas: Mapping[str, Tensor]) -> Tensor:
    """The loss of a run's net under softmax of `alphas`, written out."""
    mixtures = {kind: Mixture(torch.softmax(rows, -1)) for kind, rows in alphas.items()}
    return functional.cross_entropy(run.net(batch.images, mixtures, 0.0), batch.labels)
