"""One stage of a search under way: what it holds, and what happens to it in a step."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from workbench import contracts
from workbench.arch import Arch, first_betas
from workbench.bilevel import LiveBilevel, LiveTrial, frozen_statistics
from workbench.data import Data, ImageSet, Loader, describe, evaluation_batches, split_indices
from workbench.divergence import Watch
from workbench.engine import Machine, accelerated, fitted, independent_seeds, needs
from workbench.epochs import EpochUnderWay
from workbench.events import Derived, EpochEnded, Held, Pruned, Resumed, StageStarted, Stepped
from workbench.generators import draws_of_torch
from workbench.measuring import ProbeError, part_name, told
from workbench.method import Method
from workbench.moves import Moves, changing, step_graphs
from workbench.past import Past
from workbench.protocols import Batch, Clock, Probe, Rows, View
from workbench.pruning import anything_new, count_weights, remove, spared, verdict
from workbench.snapshots import State
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import cost
from workbench.spaces.space import Space
from workbench.spaces.supernet import Supernet
from workbench.supernets import first_supernet, take_over

_LOG = logging.getLogger(__name__)
_DRAWS = (
    "a part of stage %s drew from torch's own generator, which the seed of a search does not set: "
    "with the same seed it can go another way. Draw from the generator that parts are given, or "
    "from one made of a seed"
)


class Run:
    """The state of a stage: supernet, alphas, optimizers, batches.  Parts hold none."""

    def __init__(
        self,
        method: Method,
        index: int,
        space: Space,
        data: Data,
        machine: Machine,
        seed: int,
        before: Run | None,
        *,
        saved: State | None = None,
    ) -> None:
        """Begin a stage; with `saved` (of `run_state`), build one whose state can be put back."""
        contracts.fits(method)
        self.method, self.stage, self.space = method, method.stages[index], space
        self.data, self.machine, self.index, self.seed = data, machine, index, seed
        self.asked: Space = before.asked if before else space  # before any stage reshaped it
        self.device = machine.torch_device
        stage, seeds = self.stage, independent_seeds(seed, index, count=5)
        self.generator = torch.Generator(self.device).manual_seed(seeds[0])
        net = first_supernet(stage, space, data, machine, seeds[1])
        if saved is None:
            self.arch = self._first_arch(net, before, torch.Generator().manual_seed(seeds[2]))
            if before and stage.carry:
                stage.carry(before.readable(), net)
        else:
            self.arch = self._arch(saved["alpha"], saved["beta"])
            self.arch.reopen(saved["alive"], saved["kept"])
            net.drop(self.arch.alive)
        opens_net, elementwise = needs(stage.objective, stage.weight_optimizer)
        self.net = accelerated(
            net, machine, opens_net=opens_net, elementwise=elementwise,
            steps_captured=changing(stage, net) is None,
        )  # fmt: skip
        weights, alphas = list(self.net.parameters()), list(self.arch.parameters())
        self.weight_optimizer = fitted(stage.weight_optimizer(weights), machine)
        self.arch_optimizer = fitted(stage.arch_optimizer(alphas), machine)
        self._split(seed, seeds[3:])
        self.past = Past()
        self.held = {kind: torch.zeros_like(mask) for kind, mask in self.arch.alive.items()}
        self.clock = Clock(index, 0, stage.epochs, 0, stage.epochs * self.steps_per_epoch)
        self.epoch = EpochUnderWay(0)
        self.mix = self.arch.mix(0.0)
        self.watch = Watch(self.device)
        self.moves = Moves(step_graphs(self))
        self.last_weights = self._rows()
        self.last_batches: tuple[Batch | None, Batch | None] = (None, None)
        self._told = False

    def readable(self) -> Supernet:
        """The supernet as modules, with the weights of now and what is alive."""
        if isinstance(self.net, Supernet):
            return self.net
        fresh = first_supernet(self.stage, self.space, self.data, self.machine, 0)
        return take_over(fresh, self.net, self.arch.alive)

    def _first_arch(self, net: Supernet, before: Run | None, generator: torch.Generator) -> Arch:
        """Architecture parameters of the stage's own, or those of the stage before."""
        stage, edges = self.stage, self.stage.edge_weights
        if stage.init is None and before is None:
            raise ValueError("`init=None` goes on with an earlier stage's alphas; there is none")
        if stage.init is None and before is not None:
            alpha, beta = before.arch.snapshot(), dict(before.arch.beta)
        else:
            assert stage.init is not None
            first = stage.init(self.space, net, generator)
            alpha, beta = contracts.alphas(stage.init, first, self.space), {}
        if edges is not None and not beta:
            beta = first_betas(edges, self.space, generator)
        return self._arch(alpha, beta)

    def _arch(self, alpha: Rows, beta: Rows) -> Arch:
        stage, edges = self.stage, self.stage.edge_weights
        return Arch(
            self.space, stage.relaxation, alpha, self.device, self.machine.dtype,
            beta=beta if edges is not None else None,
            edge_weights=edges, op_dropout=stage.op_dropout,
        )  # fmt: skip

    def _split(self, seed: int, seeds: Sequence[int]) -> None:
        """Batches of both halves; with no hold-out both draw from all training images."""
        stage, labels = self.stage, self.data.train.labels
        weights, arch = split_indices(labels, stage.train_portion, seed)
        self.split = {"weights": weights, "arch": arch}
        both = (weights, arch if len(arch) else weights)
        self._judges = both[1]
        self.train, self.val = (
            Loader(self.data, part, batch_size=stage.batch_size, seed=own, device=self.device)
            for part, own in zip(both, seeds, strict=True)
        )
        most = stage.steps_per_epoch or len(self.train)
        self.steps_per_epoch = min(most, len(self.train))

    def held_out(self) -> Iterator[Batch]:
        """The images that tell the alphas where to go, once, in order and not augmented."""
        return evaluation_batches(
            self._held_out, self.data, batch_size=self.stage.batch_size, device=self.device
        )

    @cached_property
    def _held_out(self) -> ImageSet:
        """Taken once, and only where a rule looks: DARTS-PT goes through them hundreds of times."""
        return self.data.train.take(self._judges)

    def started(self) -> StageStarted:
        """The stage's first event."""
        return StageStarted(
            self.clock, self.space, self.arch.snapshot(), self._rows(), dict(self.arch.alive),
            count_weights(self.net), self.split, self._about(),
        )  # fmt: skip

    def resumed(self) -> Resumed:
        """The first event of a stage that goes on from a saved state."""
        return Resumed(self.clock, self.space, self._about())

    def _about(self) -> dict[str, object]:
        return {
            "method": self.method.describe(),
            "data": describe(self.data),
            "machine": self.machine.describe(),
            "seed": self.seed,
        }

    def set_rates(self, progress: float) -> None:
        """The weights' learning rate after `progress` in [0, 1) of the stage's epochs."""
        for group in self.weight_optimizer.param_groups:
            group["lr"] = self.stage.weight_optimizer.lr_at(progress)

    def stepped(self, scalars: Mapping[str, Tensor | float]) -> Stepped:
        """The event of the step that was just taken."""
        edges = {kind: m.edges for kind, m in self.mix.items() if m.edges is not None}
        rows = self.arch.snapshot(), self._rows(), dict(self.arch.alive), edges
        return Stepped(self.clock, scalars, *rows, self.machine.memory())

    def step(self, clock: Clock) -> tuple[dict[str, Tensor | float], list[Pruned | Held]]:
        """All updates of one step; returns what was measured, and prunings."""
        self.clock = clock
        drawn = draws_of_torch(self.device) if clock.step < 2 else None
        updates = contracts.updates(self.stage.schedule, self.stage.schedule(clock))
        needs_data = self.stage.objective.needs_data
        train = self._batch(self.train) if needs_data else None
        val = self._batch(self.val) if needs_data and "arch" in updates else None
        self.last_batches = (train, self.last_batches[1] if val is None else val)
        self.watch.begins(self)
        self.arch.draw(clock.t, self.generator)
        logs, self.mix = self.moves(self, updates, train, val)
        self.watch.ends(self)
        if drawn is not None and not self._told and drawn():
            self._told = True
            _LOG.warning(_DRAWS, self.stage.name)
        self.last_weights = {
            kind: torch.where(rows > 0, rows, self.last_weights[kind])
            for kind, rows in self._rows().items()
        }
        moved = "arch" in updates or "joint" in updates
        events = self.prune(clock, "step") if moved else []
        rates = {
            "lr": self.weight_optimizer.param_groups[0]["lr"],
            "arch_lr": self.arch_optimizer.param_groups[0]["lr"],
        }
        return {**logs, **rates}, events

    def _batch(self, loader: Loader) -> Batch:
        batch = loader.next()
        last = torch.channels_last if self.machine.channels_last else torch.preserve_format
        return Batch(batch.images.to(self.machine.dtype, memory_format=last), batch.labels)

    def prune(self, clock: Clock, every: str) -> list[Pruned | Held]:
        """Ask the pruner; take dead operations out of the net and both optimizers."""
        pruner = self.stage.pruner
        events: list[Pruned | Held] = []
        if pruner is None or pruner.every != every:
            return events
        view = self.view(clock)
        alive = self.watch.decided(self, pruner, view)
        contracts.by_kind(("the pruner", pruner), alive, self.arch.alive, mask=True)
        if all(mask is view.alive[kind] and not mask._version for kind, mask in alive.items()):
            return events  # handed back as it was, as in grace epochs: nothing is held either
        held = spared(self.arch.alive, alive)
        newly = {kind: mask & ~self.held[kind] for kind, mask in held.items()}
        if not anything_new(self.arch.alive, alive, newly):
            return events
        self.watch.nodes(self, alive)
        rule = f"the {type(pruner).__name__} rule"
        for cell in self.space.cells:
            events += verdict(clock, cell, self.last_weights, self.arch.alive, alive, newly, rule)
        self.held = {kind: self.held[kind] | mask for kind, mask in held.items()}
        if any(isinstance(event, Pruned) for event in events):
            optimizers = (self.weight_optimizer, self.arch_optimizer)
            remove(self.net, self.arch, *optimizers, alive)
            self.moves.forget()
            if every == "epoch":  # a step is told as it was; an epoch ends with what is left
                self.mix = self.arch.mix((clock.step + 1) / clock.steps)
        return events

    def measure(self, probe: Probe, clock: Clock) -> dict[str, Tensor | Rows]:
        """Measure without a trace: random generators and statistics are put back, errors or not."""
        bilevel = LiveBilevel(self, self.last_batches[0], self.last_batches[1])
        state = self.generator.get_state()
        versions = [value._version for value in (*bilevel.weights, *bilevel.alphas)]
        try:
            with self.machine.seeded(clock.step), frozen_statistics(self.net), torch.enable_grad():
                values = probe(self.view(clock), bilevel)
        finally:
            self.generator.set_state(state)
        if versions != [value._version for value in (*bilevel.weights, *bilevel.alphas)]:
            raise ProbeError(f"{part_name(probe)} wrote into weights or alphas; let it copy them")
        return told(probe, values)

    def _rows(self) -> dict[str, Tensor]:
        return {kind: mixture.ops for kind, mixture in self.mix.items()}

    def view(self, clock: Clock) -> View:
        """What rules may look at now; what they write into it leaves no trace."""
        mix = {kind: mixture.copied() for kind, mixture in self.mix.items()}
        alive = {kind: mask.clone() for kind, mask in self.arch.alive.items()}
        return View(
            clock, self.space, self.arch.snapshot(), mix, alive,
            self.past.history, self.past.ended, self.seed, LiveTrial(self),
        )  # fmt: skip

    def close_epoch(self, means: Mapping[str, float], seconds: float) -> EpochEnded:
        """The epoch's event, after which rules know of it."""
        genotype = self.past.known(self.derive())
        found = cost(
            genotype,
            channels=self.space.channels,
            cells=self.space.depth,
            in_channels=self.data.channels,
            classes=len(self.data.classes),
            size=self.data.size,
        )
        ended = EpochEnded(
            self.clock, means, seconds, self.machine.memory(),
            genotype, found.parameters, found.macs,
            sum(int(mask.sum()) for mask in self.arch.alive.values()), count_weights(self.net),
        )  # fmt: skip
        self.past.add(ended, self._rows())
        return ended

    def derive(self) -> Genotype:
        """What the method would derive now."""
        view = self.view(self.clock)
        return self.method.derivation(view.space, view.mix, view.alive)

    def derived(self) -> Derived:
        """The search's last event."""
        entropy = {
            name: float(-torch.special.xlogy(row, row).sum())
            for cell in self.space.cells
            for name, row in zip(cell.edge_names, self.mix[cell.kind].ops, strict=True)
        }
        return Derived(self.clock, self.derive(), entropy)
