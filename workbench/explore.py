"""The loop of a search without gradients: propose a genotype, score it, keep the best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from workbench.candidates import CandidateBench
from workbench.data import Data, describe, split_indices
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
from workbench.protocols import Clock
from workbench.snapshots import (
    Moment,
    SnapshotError,
    State,
    identity,
    refuse_other,
    taken_up,
)
from workbench.spaces.choices import one_hot
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import cost
from workbench.spaces.space import Space
from workbench.walk import Tried, Walk

_PROPOSALS = 2  # key of seeds that nothing else of a walk has


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
            "of": self._identity(),
            "device": self.machine.torch_device.type,
            "tried": [[each.genotype.to_json(), each.score] for each in self.tried],
            "generator": self.generator.get_state(),
            "generators": generators(),
            "seconds": self._watch.seconds,
        }

    @taken_up()
    def load_state_dict(self, state: State) -> None:
        """Go on where `state` was taken."""
        refuse_other(state, self._identity())
        here = self.machine.torch_device.type
        if state["device"] != here:
            raise SnapshotError(
                f"the state was saved on {state['device']}; this is {here}. Go on where the device "
                "is of that kind"
            )
        for text, score in state["tried"]:
            self._take(Tried(Genotype.from_json(text), score))
        if self.tried:
            self.clock = self._clock(len(self.tried) - 1)
        self.generator.set_state(state["generator"])
        set_generators(state["generators"])
        self._watch.go_on(state["seconds"])

    def _identity(self) -> dict[str, str]:
        of = identity(self.walk.describe(), self.data, self.seed, self.space.to_json())
        return {**of, "number format": str(self.machine.dtype)}

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
        memory = self.machine.memory()
        return Stepped(self.clock, told, self._alpha(), self.mix, self._alive(), memory=memory)

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
