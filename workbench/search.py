"""The loop: the only code that changes parameters."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from workbench.arch import Arch
from workbench.bilevel import LiveBilevel, detached, frozen_statistics
from workbench.data import Data, Loader, describe, split_indices
from workbench.engine import Machine, accelerated, independent_seeds, needs
from workbench.events import (
    Derived,
    EpochEnded,
    Held,
    Probed,
    Pruned,
    SearchEvent,
    StageStarted,
    Stepped,
    Stopped,
)
from workbench.method import Method
from workbench.protocols import Batch, Clock, Probe, Rows, Update, View
from workbench.pruning import count_weights, remove, verdict
from workbench.spaces.network import cost
from workbench.spaces.space import Space
from workbench.spaces.supernet import Supernet
from workbench.supernets import first_supernet, take_over


def search(
    method: Method,
    space: Space,
    data: Data,
    *,
    probes: Sequence[Probe] = (),
    machine: Machine | None = None,
    seed: int = 0,
) -> Iterator[SearchEvent]:
    """Search `space` for a genotype by `method` on `data`, one event at a time.

    Args:
        probes: measurements after every step; they cannot change the search.
        machine: device and number format; a GPU if there is one.
        seed: of weights, alphas, split, batches and augmentation; same seed, same machine, same
            trajectory.

    Yields:
        `StageStarted`, then `Stepped` (with `Pruned`, `Held`, `Probed`) and `EpochEnded`, perhaps
        `Stopped`, for every stage; at last `Derived`.

    Raises:
        DataError: if a batch is larger than the data.
        FloatingPointError: if a loss is no longer a finite number at the end of an epoch.
    """
    machine = machine or Machine()
    machine.prepare()
    run: Run | None = None
    for index, stage in enumerate(method.stages):
        view = run.view(run.clock) if run else None
        here = stage.reshape(space, view) if stage.reshape else space
        run = Run(method, index, here, data, machine, seed, run)
        yield run.started()
        for epoch in range(stage.epochs):
            yield from run.epoch(epoch, probes)
            reason = stage.stop(run.view(run.clock)) if stage.stop else None
            if reason:
                yield Stopped(run.clock, reason)
                break
    assert run is not None, "a method has one or more stages"
    yield run.derived()


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
    ) -> None:
        self.method, self.stage, self.space = method, method.stages[index], space
        self.data, self.machine, self.index, self.seed = data, machine, index, seed
        self.device = machine.torch_device
        stage, seeds = self.stage, independent_seeds(seed, index, count=5)
        self.generator = torch.Generator(self.device).manual_seed(seeds[0])
        net = first_supernet(stage, space, data, machine, seeds[1])
        alpha = self._first_alpha(net, before, seeds[2])
        self.arch = Arch(space, stage.relaxation, alpha, self.device, machine.dtype)
        if before and stage.carry:
            stage.carry(before.readable(), net)
        opens_net, elementwise = needs(stage.objective, stage.weight_optimizer)
        self.net = accelerated(net, machine, opens_net=opens_net, elementwise=elementwise)
        self.weight_optimizer = stage.weight_optimizer(list(self.net.parameters()))
        self.arch_optimizer = stage.arch_optimizer(list(self.arch.parameters()))
        self._split(seed, seeds[3:])
        self.history: list[Rows] = []
        self.held: set[tuple[str, str]] = set()
        self.clock = Clock(index, 0, stage.epochs, 0, stage.epochs * self.steps_per_epoch)
        self.mix = self.arch.mix(0.0)
        self.last_weights = self._rows()
        self.last_batches: tuple[Batch | None, Batch | None] = (None, None)

    def readable(self) -> Supernet:
        """The supernet as modules, with the weights of now and what is alive."""
        if isinstance(self.net, Supernet):
            return self.net
        fresh = first_supernet(self.stage, self.space, self.data, self.machine, 0)
        return take_over(fresh, self.net, self.arch.alive)

    def _first_alpha(self, net: Supernet, before: Run | None, seed: int) -> Rows:
        if self.stage.init is not None:
            return self.stage.init(self.space, net, torch.Generator().manual_seed(seed))
        if before is None:
            raise ValueError("`init=None` goes on with an earlier stage's alphas; there is none")
        return before.arch.snapshot()

    def _split(self, seed: int, seeds: Sequence[int]) -> None:
        """Batches of both halves; with no hold-out both draw from all training images."""
        stage, labels = self.stage, self.data.train.labels
        weights, arch = split_indices(labels, stage.train_portion, seed)
        self.split = {"weights": weights, "arch": arch}
        both = (weights, arch if len(arch) else weights)
        self.train, self.val = (
            Loader(self.data, part, batch_size=stage.batch_size, seed=own, device=self.device)
            for part, own in zip(both, seeds, strict=True)
        )
        self.steps_per_epoch = len(self.train)

    def started(self) -> StageStarted:
        """The stage's first event."""
        return StageStarted(
            self.clock, self.space, self.arch.snapshot(), self._rows(), dict(self.arch.alive),
            count_weights(self.net), self.split, self._about(),
        )  # fmt: skip

    def _about(self) -> dict[str, object]:
        return {
            "method": self.method.describe(),
            "data": describe(self.data),
            "machine": self.machine.describe(),
            "seed": self.seed,
        }

    def epoch(self, epoch: int, probes: Sequence[Probe]) -> Iterator[SearchEvent]:
        """One pass over the weights' images."""
        started, sums, counts = time.perf_counter(), {}, {}
        for group in self.weight_optimizer.param_groups:
            group["lr"] = self.stage.weight_optimizer.lr_at(epoch / self.stage.epochs)
        for step in range(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch):
            clock = Clock(self.index, epoch, self.stage.epochs, step, self.clock.steps)
            scalars, events = self.step(clock)
            for name, value in scalars.items():
                sums[name] = sums.get(name, 0) + value
                counts[name] = counts.get(name, 0) + 1
            yield Stepped(clock, scalars, self.arch.snapshot(), self._rows(), dict(self.arch.alive))
            yield from events
            for probe in probes:
                yield Probed(clock, self._probe(probe, clock))
        yield from self._prune(self.clock, "epoch")
        means = {name: float(total) / counts[name] for name, total in sums.items()}
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"{', '.join(bad)} became {means[bad[0]]} in epoch {epoch}; "
                "lower the learning rates or the entmax order"
            )
        self.history.append({kind: mix.ops.cpu() for kind, mix in self.mix.items()})
        yield self._epoch_ended(means, time.perf_counter() - started)

    def step(self, clock: Clock) -> tuple[dict[str, Tensor | float], list[Pruned | Held]]:
        """All updates of one step; returns what was measured, and prunings."""
        self.clock = clock
        updates = self.stage.schedule(clock)
        needs_data = self.stage.objective.needs_data
        train = self._batch(self.train) if needs_data else None
        val = self._batch(self.val) if needs_data and "arch" in updates else None
        self.last_batches = (train, val)
        bilevel = LiveBilevel(self, train, val)
        for update in updates:
            self._update(update, bilevel)
        self.mix = self.arch.mix((clock.step + 1) / clock.steps)
        self.last_weights = {
            kind: torch.where(rows > 0, rows, self.last_weights[kind])
            for kind, rows in self._rows().items()
        }
        moved = "arch" in updates or "joint" in updates
        events = self._prune(clock, "step") if moved else []
        rates = {
            "lr": self.weight_optimizer.param_groups[0]["lr"],
            "arch_lr": self.arch_optimizer.param_groups[0]["lr"],
        }
        return {**bilevel.logs, **rates}, events

    def _batch(self, loader: Loader) -> Batch:
        batch = loader.next()
        last = torch.channels_last if self.machine.channels_last else torch.preserve_format
        return Batch(batch.images.to(self.machine.dtype, memory_format=last), batch.labels)

    def _update(self, update: Update, bilevel: LiveBilevel) -> None:
        if update == "arch":
            grads = self.stage.arch_gradient(bilevel, bilevel.train, bilevel.val)
            self._move_alphas(grads, bilevel)
            return
        alphas = bilevel.alphas if update == "joint" else ()
        mixtures = bilevel.mixtures() if update == "joint" else detached(bilevel.mixtures())
        loss = bilevel.loss(bilevel.weights, bilevel.train, mixtures)
        grads = torch.autograd.grad(loss, (*bilevel.weights, *alphas), materialize_grads=True)
        for weight, grad in zip(bilevel.weights, grads, strict=False):
            weight.grad = grad
        if self.stage.weight_optimizer.clip is not None:
            nn.utils.clip_grad_norm_(bilevel.weights, self.stage.weight_optimizer.clip)
        self.weight_optimizer.step()
        self.weight_optimizer.zero_grad(set_to_none=True)
        if alphas:
            self._move_alphas(grads[len(bilevel.weights) :], bilevel)

    def _move_alphas(self, grads: Sequence[Tensor], bilevel: LiveBilevel) -> None:
        grads = bilevel.with_regularizers(grads)
        for alpha, grad in zip(bilevel.alphas, grads, strict=True):
            alpha.grad = grad.detach()
        self.arch.step(self.arch_optimizer)
        self.arch_optimizer.zero_grad(set_to_none=True)

    def _prune(self, clock: Clock, every: str) -> list[Pruned | Held]:
        """Ask the pruner; take dead operations out of the net and both optimizers."""
        pruner = self.stage.pruner
        events: list[Pruned | Held] = []
        if pruner is None or pruner.every != every:
            return events
        alive = pruner(self.view(clock))
        if all(mask is self.arch.alive[kind] for kind, mask in alive.items()):
            return events  # handed back as it was, as in grace epochs: nothing is held either
        rule = f"the {type(pruner).__name__} rule"
        for cell in self.space.cells:
            events += verdict(
                clock, cell, self.last_weights, self.mix, self.arch.alive, alive, rule
            )
        if any(isinstance(event, Pruned) for event in events):
            optimizers = (self.weight_optimizer, self.arch_optimizer)
            remove(self.net, self.arch, *optimizers, alive)
        new = [e for e in events if isinstance(e, Pruned) or (e.edge, e.op) not in self.held]
        self.held |= {(event.edge, event.op) for event in new if isinstance(event, Held)}
        return new

    def _probe(self, probe: Probe, clock: Clock) -> dict[str, Tensor]:
        """Measure without a trace: random generators and statistics are put back."""
        bilevel = LiveBilevel(self, self.last_batches[0], self.last_batches[1])
        state = self.generator.get_state()
        with self.machine.seeded(clock.step), frozen_statistics(self.net):
            values = dict(probe(self.view(clock), bilevel))
        self.generator.set_state(state)
        return values

    def _rows(self) -> dict[str, Tensor]:
        return {kind: mixture.ops for kind, mixture in self.mix.items()}

    def view(self, clock: Clock) -> View:
        """What rules may look at now."""
        return View(
            clock, self.space, self.arch.snapshot(), self.mix, dict(self.arch.alive),
            tuple(self.history),
        )  # fmt: skip

    def _epoch_ended(self, means: Mapping[str, float], seconds: float) -> EpochEnded:
        genotype = self.method.derivation(self.space, self.mix, self.arch.alive)
        found = cost(
            genotype,
            channels=self.space.channels,
            cells=self.space.depth,
            in_channels=self.data.channels,
            classes=len(self.data.classes),
            size=self.data.size,
        )
        return EpochEnded(
            self.clock, means, seconds, self.machine.memory(),
            genotype, found.parameters, found.macs,
            sum(int(mask.sum()) for mask in self.arch.alive.values()), count_weights(self.net),
        )  # fmt: skip

    def derived(self) -> Derived:
        """The search's last event."""
        genotype = self.method.derivation(self.space, self.mix, self.arch.alive)
        entropy = {
            name: float(-torch.special.xlogy(row, row).sum())
            for cell in self.space.cells
            for name, row in zip(cell.edge_names, self.mix[cell.kind].ops, strict=True)
        }
        return Derived(self.clock, genotype, entropy)
