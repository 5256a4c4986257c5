"""What the updates of a step do to weights and alphas: the only code that moves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench.bilevel import LiveBilevel, detached
from workbench.protocols import Batch, Mixture, Update

if TYPE_CHECKING:
    from workbench.run import Run

Outcome = tuple[dict[str, Tensor | float], dict[str, Mixture]]


class Moves:
    """The updates of a run's steps; all they go by is what the run holds."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(
        self, updates: Sequence[Update], train: Batch | None, val: Batch | None
    ) -> Outcome:
        """What was measured on the way, and the mixing weights that the step led to.

        Args:
            updates: who moves, in order.
            train: batch of the weights, `val` of the alphas.
        """
        run = self._run
        bilevel = LiveBilevel(run, train, val)
        for update in updates:
            self._update(update, bilevel)
        return bilevel.logs, run.arch.mix((run.clock.step + 1) / run.clock.steps)

    def _update(self, update: Update, bilevel: LiveBilevel) -> None:
        run = self._run
        if update == "arch":
            grads = run.stage.arch_gradient(bilevel, bilevel.train, bilevel.val)
            run.watch.losses(run, bilevel.logs)
            self._move_alphas(grads, bilevel)
            return
        alphas = bilevel.alphas if update == "joint" else ()
        mixtures = bilevel.mixtures() if update == "joint" else detached(bilevel.mixtures())
        loss = bilevel.loss(bilevel.weights, bilevel.train, mixtures)
        grads = torch.autograd.grad(loss, (*bilevel.weights, *alphas), materialize_grads=True)
        for weight, grad in zip(bilevel.weights, grads, strict=False):
            weight.grad = grad
        norm = bilevel.logs["grad_norm_weights"] = run.watch.weights(run, loss, grads)
        if (clip := run.stage.weight_optimizer.clip) is not None:
            nn.utils.clip_grads_with_norm_(bilevel.weights, clip, norm)
        run.weight_optimizer.step()
        run.weight_optimizer.zero_grad(set_to_none=True)
        if alphas:
            self._move_alphas(grads[len(bilevel.weights) :], bilevel)

    def _move_alphas(self, grads: Sequence[Tensor], bilevel: LiveBilevel) -> None:
        run = self._run
        grads = [grad.detach() for grad in bilevel.with_regularizers(grads)]
        norm = bilevel.logs["grad_norm_alpha"] = run.watch.alphas(run, grads)
        for alpha, grad in zip(bilevel.alphas, grads, strict=True):
            alpha.grad = grad
        if run.stage.clip_arch is not None:
            nn.utils.clip_grads_with_norm_(bilevel.alphas, run.stage.clip_arch, norm)
        run.arch.step(run.arch_optimizer)
        run.arch_optimizer.zero_grad(set_to_none=True)
