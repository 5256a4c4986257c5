"""The two-level problem of a running search, as architecture gradients and probes see it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from workbench import contracts
from workbench.engine import Machine
from workbench.protocols import Batch, Mixture, Mixtures
from workbench.spaces.ops import Noise
from workbench.spaces.supernet import Supernet

if TYPE_CHECKING:
    from workbench.search import Run
    from workbench.spaces.genotype import Genotype


class LiveBilevel:
    """`protocols.Bilevel` over a `Run`, for the batches of one step.

    `logs` collects what the first pass over each batch measured, at the weights of the moment.
    """

    def __init__(self, run: Run, train: Batch | None, val: Batch | None) -> None:
        self._run = run
        self.train, self.val = train, val
        self.weights: tuple[Tensor, ...] = tuple(run.net.parameters())
        self.alphas: tuple[Tensor, ...] = run.arch.parameters()
        self.momentum: float = run.weight_optimizer.param_groups[0].get("momentum", 0.0)
        self.logs: dict[str, Tensor | float] = {}

    @property
    def lr(self) -> float:
        """Learning rate of the next weight step."""
        return self._run.weight_optimizer.param_groups[0]["lr"]

    @property
    def weight_decay(self) -> float:
        """L2 factor of the next weight step."""
        return self._run.weight_optimizer.param_groups[0]["weight_decay"]

    @property
    def velocity(self) -> tuple[Tensor, ...]:
        """Momentum times buffer, per weight: what the next step moves whatever the gradient."""
        optimizer = self._run.weight_optimizer
        buffers = (optimizer.state[w].get("momentum_buffer") for w in self.weights)
        return tuple(
            torch.zeros_like(w) if buffer is None else self.momentum * buffer
            for w, buffer in zip(self.weights, buffers, strict=True)
        )

    @property
    def generator(self) -> torch.Generator:
        """What the search draws from, on its device."""
        return self._run.generator

    def mixtures(self, alphas: Sequence[Tensor] | None = None) -> dict[str, Mixture]:
        """Mixing weights for a forward pass, differentiable in the alphas, or in others."""
        arch = self._run.arch if alphas is None else self._run.arch.at(alphas)
        return arch.mixtures(self._run.clock.t, self._run.generator)

    def loss(
        self, weights: Sequence[Tensor], batch: Batch | None, mixtures: Mixtures | None = None
    ) -> Tensor:
        """The objective at `weights`.

        Only passes at the search's own weights advance batch-norm running statistics.
        """
        run = self._run
        net = _at(run, weights, live=weights is self.weights)
        objective = run.stage.objective
        found = objective(net, mixtures or self.mixtures(), batch, run.clock.t, run.generator)
        loss = contracts.loss(objective, found)
        side = "" if batch is None else "_val" if batch is self.val else "_train"
        for name, value in {"loss": loss.value.detach(), **loss.logs}.items():
            self.logs.setdefault(name + side, value)
        return loss.value

    def with_regularizers(self, grads: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Add the gradient of the stage's regularizers to an architecture gradient."""
        run = self._run
        if not run.stage.regularizers:
            return tuple(grads)
        view, mixtures = run.view(run.clock), self.mixtures()
        terms = [contracts.term(part, part(view, mixtures)) for part in run.stage.regularizers]
        # One that is constant, as in epochs of grace, has no gradient to add.
        terms = [term for term in terms if term.requires_grad]
        if not terms:
            return tuple(grads)
        total = torch.stack(terms).sum()
        extra = torch.autograd.grad(total, self.alphas, materialize_grads=True)
        return tuple(grad + more for grad, more in zip(grads, extra, strict=True))


class LiveTrial:
    """`protocols.Trial` over a `Run`."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def batch(self) -> Batch | None:
        """The held-out batch of the last step that had one, else its training batch."""
        train, val = self._run.last_batches
        return train if val is None else val

    def loss(self, mixtures: Mixtures) -> Tensor:
        """The objective on `batch`; what it draws is drawn from a copy of the generator."""
        run, own = self._run, torch.Generator(self._run.device)
        own.set_state(run.generator.get_state())
        return run.stage.objective(self._bound(), mixtures, self.batch, run.clock.t, own).value

    @torch.no_grad()
    def evaluate(self, mixtures: Mixtures) -> dict[str, float]:
        """Mean `loss` (nats) and `accuracy` in [0, 1] over the held-out images."""
        run, net = self._run, self._bound()
        total = torch.zeros(3, dtype=torch.float64, device=run.device)
        for batch in run.held_out():
            logits = net(batch.images.to(run.machine.dtype), mixtures, run.clock.t)
            loss = functional.cross_entropy(logits, batch.labels, reduction="sum")
            hits = (logits.argmax(dim=1) == batch.labels).sum()
            total += torch.stack([loss, hits, hits.new_tensor(len(batch.labels))]).double()
        loss, hits, count = total.tolist()
        if run.watch.met is not None:
            run.watch.met.append(loss / count)
        return {"loss": loss / count, "accuracy": hits / count}

    def genotype(self) -> Genotype:
        """What the method would derive now."""
        return self._run.derive()

    def net(self) -> Supernet:
        """A copy of the supernet as modules, with what is alive."""
        net = self._run.readable()  # of a fast supernet already a copy
        return copy.deepcopy(net) if net is self._run.net else net

    def _bound(self) -> WeightedNet:
        return _at(self._run, tuple(self._run.net.parameters()), live=False)


class WeightedNet:
    """A supernet at given weights (`protocols.BoundNet`)."""

    def __init__(
        self,
        module: nn.Module,
        weights: Sequence[Tensor],
        input_shape: tuple[int, int, int],
        machine: Machine,
        *,
        live: bool,
    ) -> None:
        self.module, self.weights, self.input_shape = module, weights, input_shape
        self.machine, self.live = machine, live

    def __call__(self, images: Tensor, mixtures: Mixtures, t: float) -> Tensor:
        """Logits `(batch, classes)`, in the weights' number format."""
        with self.machine.autocast():
            return self._logits(images, mixtures, t).to(images.dtype)

    def _logits(self, images: Tensor, mixtures: Mixtures, t: float) -> Tensor:
        if self.live:
            return self.module(images, mixtures, t)
        names = [name for name, _ in self.module.named_parameters()]
        state = dict(zip(names, self.weights, strict=True))
        with frozen_statistics(self.module):
            return functional_call(self.module, state, (images, mixtures, t))


def _at(run: Run, weights: Sequence[Tensor], *, live: bool) -> WeightedNet:
    """The supernet of `run` at `weights`; `live` ones are its own and advance its statistics."""
    shape = (run.data.channels, *run.data.size)
    return WeightedNet(run.net, weights, shape, run.machine, live=live)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms use the batch's statistics but leave their running ones; noise is drawn again."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    tracking = [(norm, norm.track_running_stats) for norm in norms]
    noises = [(noise, noise.calls) for noise in module.modules() if isinstance(noise, Noise)]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm, track in tracking:
            norm.track_running_stats = track
        for noise, calls in noises:
            noise.calls = calls


def detached(mixtures: Mapping[str, Mixture]) -> dict[str, Mixture]:
    """The same mixing weights as constants."""
    return {
        kind: Mixture(m.ops.detach(), None if m.edges is None else m.edges.detach())
        for kind, m in mixtures.items()
    }
