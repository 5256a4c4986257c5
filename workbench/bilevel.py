"""The two-level problem of a running search, as architecture gradients and probes see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from workbench.engine import Machine
from workbench.protocols import Batch, Mixture, Mixtures

if TYPE_CHECKING:
    from workbench.search import Run


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

    def mixtures(self) -> dict[str, Mixture]:
        """Mixing weights for a forward pass, differentiable in the alphas."""
        return self._run.arch.mixtures(self._run.clock.t, self._run.generator)

    def loss(
        self, weights: Sequence[Tensor], batch: Batch | None, mixtures: Mixtures | None = None
    ) -> Tensor:
        """The objective at `weights`.

        Only passes at the search's own weights advance batch-norm running statistics.
        """
        run = self._run
        shape = (run.data.channels, *run.data.size)
        net = WeightedNet(run.net, weights, shape, run.machine, live=weights is self.weights)
        loss = run.stage.objective(
            net, mixtures or self.mixtures(), batch, run.clock.t, run.generator
        )
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
        total = torch.stack([term(view, mixtures) for term in run.stage.regularizers]).sum()
        extra = torch.autograd.grad(total, self.alphas, materialize_grads=True)
        return tuple(grad + more for grad, more in zip(grads, extra, strict=True))


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


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms use the batch's statistics but leave their running ones as they are."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    tracking = [(norm, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm, track in tracking:
            norm.track_running_stats = track


def detached(mixtures: Mapping[str, Mixture]) -> dict[str, Mixture]:
    """The same mixing weights as constants."""
    return {
        kind: Mixture(m.ops.detach(), None if m.edges is None else m.edges.detach())
        for kind, m in mixtures.items()
    }
