"""The loop of a search without gradients: propose a genotype, score it, keep the best."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from workbench.data import Data, Loader, describe, evaluation_batches, split_indices
from workbench.engine import Machine, independent_seeds
from workbench.epochs import Stopwatch, not_finite
from workbench.events import (
    Derived,
    EpochEnded,
    Resumable,
    Resumed,
    SearchEvent,
    StageStarted,
    Stepped,
)  # fmt: skip
from workbench.generators import generators, set_generators
from workbench.protocols import Batch, Clock
from workbench.snapshots import Moment, State, identity, refuse_other
from workbench.spaces.choices import one_hot
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import Network, cost
from workbench.spaces.space import Space
from workbench.training import Recipe, Training
from workbench.walk import Tried, Walk

_log = logging.getLogger(__name__,
)  # fmt: skip
_PROPOSALS, _CANDIDATE = 2, 3  # keys of seeds that share nothing


def explore(
    walk: Walk,
    space: Space,
    data: Data,
    *,
    machine: Machine | None = None,
    seed: int = 0,
    start: State | None = None,
) -> Iterator[SearchEvent]:
    """Try genotypes of `space` as `walk` says and derive the best, one event a candidate.

    Yields:
        `StageStarted`, a `Stepped` per candidate, `EpochEnded` every `walk.round` candidates, at
        last `Derived`; `Resumable` after each but the last; with `start`, a state that one of them
        saved, `Resumed` is the first.  A step's `mix` are one-hot rows of the best genotype so far,
        its `alpha` the mean score of the candidates with that operation on that edge, over all
        candidates' mean in standard deviations; 0 where none had it.

    Raises:
        DivergenceError: if a score is not a finite number.
        SnapshotError: if `start` is another search's.
    """
    machine = machine or Machine()
    machine.prepare()
    state = _State(walk, space, data, machine, seed)
    if start is None:
        yield state.started()
        yield from state.resumable(epoch_ended=True)
    else:
        state.load_state_dict(start)
        yield Resumed(state.clock, space, state.about())
    for step in range(len(state.tried), walk.candidates):
        yield state.step(step)
        ended = (step + 1) % walk.round == 0 or step + 1 == walk.candidates
        if ended:
            yield state.close_round()
        yield from state.resumable(epoch_ended=ended)
    yield state.derived()


class _State:
    """What was tried so far."""

    def __init__(self, walk: Walk, space: Space, data: Data, machine: Machine, seed: int) -> None:
        self.walk, self.space, self.data = walk, space, data
        self.machine, self.seed = machine, seed
        weights, judges = split_indices(data.train.labels, walk.train_portion, seed)
        self.split = {"weights": weights, "arch": judges}
        self.tried: list[Tried] = []
        self.best: Tried | None = None
        (own,) = independent_seeds(seed, _PROPOSALS, count=1)
        self.generator = torch.Generator().manual_seed(own)
        self.candidates = {c.kind: torch.tensor(c.candidates) for c in space.cells}
        self.sums = {kind: torch.zeros(2, *mask.shape) for kind, mask in self.candidates.items()}
        self.mix: Mapping[str, Tensor] = {
            kind: mask / mask.sum(dim=1, keepdim=True) for kind, mask in self.candidates.items()
        }
        self.clock = self._clock(0)
        self._watch = Stopwatch()  # of the round

    def resumable(self, *, epoch_ended: bool) -> Iterator[Resumable]:
        """The chance to save what was tried so far."""
        moment = Moment(self.state_dict)
        yield Resumable(self.clock, moment, epoch_ended)
        moment.passes()

    def state_dict(self) -> State:
        """Everything that is needed to go on."""
        return {
            "of": identity(self.walk.describe(), self.data, self.seed),
            "tried": [[each.genotype.to_json(), each.score] for each in self.tried],
            "generator": self.generator.get_state(),
            "generators": generators(),
            "seconds": self._watch.seconds,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on where `state` was taken."""
        refuse_other(state, identity(self.walk.describe(), self.data, self.seed))
        for text, score in state["tried"]:
            self._take(Tried(Genotype.from_json(text), score))
        if self.tried:
            self.clock = self._clock(len(self.tried) - 1)
        self.generator.set_state(state["generator"])
        set_generators(state["generators"])
        self._watch.go_on(state["seconds"])

    def _clock(self, step: int) -> Clock:
        each, count = self.walk.round, self.walk.candidates
        return Clock(0, step // each, math.ceil(count / each), step, count)

    def started(self) -> StageStarted:
        """The first event: nothing is known, mixing weights are equal; there is no supernet."""
        return StageStarted(
            self.clock, self.space, self._alpha(), self.mix, self._alive(), 0, self.split,
            self.about(),
        )  # fmt: skip

    def about(self) -> dict[str, object]:
        """Method, data, machine and seed in JSON values."""
        return {
            "method": self.walk.describe(),
            "data": describe(self.data),
            "machine": self.machine.describe(),
            "seed": self.seed,
        }

    def step(self, step: int) -> Stepped:
        """Try one more."""
        self.clock = self._clock(step)
        genotype = self.walk.proposal(self.space, self.tried, self.generator)
        bench = CandidateBench(self.space, self.data, self.split, self.machine, self.seed, step)
        score = self.walk.score(genotype, bench) if self.walk.score else 0.0
        if not math.isfinite(score):
            what = f"candidate {step} scored {score}, which ranks nowhere: {genotype}"
            raise not_finite(self.clock, what)
        best = self._take(Tried(genotype, score))
        told = {"score": score, "best_score": best.score} if self.walk.score else {}
        return Stepped(self.clock, told, self._alpha(), self.mix, self._alive())

    def _take(self, new: Tried) -> Tried:
        """Take in a candidate; returns the best so far."""
        self.tried.append(new)
        rows = one_hot(self.space, new.genotype)
        for kind, row in rows.items():
            self.sums[kind] += torch.stack([row * new.score, row])
        if self.best is None or new.score > self.best.score:
            self.best, self.mix = new, rows
        return self.best

    def _alive(self) -> dict[str, Tensor]:
        return dict(self.candidates)

    def _alpha(self) -> dict[str, Tensor]:
        """Mean score by edge and operation, in standard deviations from the mean of all."""
        scores = torch.tensor([each.score for each in self.tried] or [0.0], dtype=torch.float64)
        mean, spread = float(scores.mean()), float(scores.std(correction=0))
        return {
            kind: torch.where(
                (count > 0) & (spread > 0), (total / count.clamp_min(1) - mean) / (spread or 1), 0.0
            )
            for kind, (total, count) in self.sums.items()
        }

    def close_round(self) -> EpochEnded:
        """The best so far and what its network costs."""
        seconds = self._watch.lap()
        assert self.best is not None, "a walk has one candidate or more"
        first = self.clock.epoch * self.walk.round
        scores = [each.score for each in self.tried[first:]]
        told = {"score": sum(scores) / len(scores), "best_score": self.best.score}
        found = cost(
            self.best.genotype,
            channels=self.space.channels,
            cells=self.space.depth,
            in_channels=self.data.channels,
            classes=len(self.data.classes),
            size=self.data.size,
        )
        return EpochEnded(
            self.clock, told if self.walk.score else {}, seconds, self.machine.memory(),
            self.best.genotype, found.parameters, found.macs,
            sum(int(mask.sum()) for mask in self.candidates.values()), 0,
        )  # fmt: skip

    def derived(self) -> Derived:
        """The best of all; nothing is left open."""
        assert self.best is not None, "a walk has one candidate or more"
        return Derived(self.clock, self.best.genotype, dict.fromkeys(self.space.edge_names, 0.0))


class CandidateBench:
    """A `Bench`: what a score may do with candidate number `index`."""

    def __init__(
        self,
        space: Space,
        data: Data,
        split: Mapping[str, Tensor],
        machine: Machine,
        seed: int,
        index: int,
    ) -> None:
        self._space, self._data, self._machine = space, data, machine
        self._weights = split["weights"]
        self._judges = split["arch"] if len(split["arch"]) else split["weights"]
        self._seeds = independent_seeds(seed, _CANDIDATE, index, count=3)
        device = machine.torch_device
        self.generator = torch.Generator(device).manual_seed(self._seeds[0])

    def network(self, genotype: Genotype) -> nn.Module:
        """An untrained network; another call draws other weights."""
        return _Logits(self._network(genotype))

    def _network(self, genotype: Genotype) -> Network:
        with self._machine.seeded(self._seeds[1]):
            self._seeds[1] = int(torch.randint(2**62, ()))
            net = Network(
                genotype,
                channels=self._space.channels,
                cells=self._space.depth,
                in_channels=self._data.channels,
                classes=len(self._data.classes),
            )
        return net.to(self._machine.torch_device, self._machine.dtype)

    def pictures(self, count: int) -> Batch:
        """The first images that weights may see, not augmented."""
        batch = next(iter(self._batches(self._weights[:count], count)))
        return Batch(batch.images.to(self._machine.dtype), batch.labels)

    def noise(self, count: int) -> Batch:
        """Gaussian pictures; the labels are zeros."""
        device, dtype = self._machine.torch_device, self._machine.dtype
        shape = (count, self._data.channels, *self._data.size)
        images = torch.randn(shape, generator=self.generator, device=device, dtype=dtype)
        return Batch(images, torch.zeros(count, dtype=torch.long, device=device))

    def accuracy(self, genotype: Genotype, *, epochs: int, batch_size: int, lr: float) -> float:
        """Share of the held-out images that a network has right after a training on the others.

        0 where the training loss does not stay finite: such a network is no candidate.
        """
        space, machine = self._space, self._machine
        recipe = Recipe(space.channels, space.depth, epochs, batch_size, lr=lr)
        net = self._network(genotype)
        loader = Loader(
            self._data, self._weights, batch_size=batch_size, seed=self._seeds[2],
            device=machine.torch_device,
        )  # fmt: skip
        try:
            for _ in Training(net, loader, recipe, machine, self.generator).epochs():
                pass
        except FloatingPointError as error:
            _log.warning("a candidate scores 0: %s (%s)", error, genotype)
            return 0.0
        return self._right(net, batch_size)

    @torch.no_grad()
    def _right(self, net: Network, batch_size: int) -> float:
        net.eval()
        hits = [
            (net(batch.images.to(self._machine.dtype))[0].argmax(dim=1) == batch.labels).sum()
            for batch in self._batches(self._judges, batch_size)
        ]
        return int(torch.stack(hits).sum()) / len(self._judges)

    def _batches(self, indices: Tensor, batch_size: int) -> Iterator[Batch]:
        images = self._data.train.take(indices)
        device = self._machine.torch_device
        return evaluation_batches(images, self._data, batch_size=batch_size, device=device)


class _Logits(nn.Module):
    """A derived network without its auxiliary output: what training-free scores expect."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)[0]
