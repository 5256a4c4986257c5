"""What the updates of a step do to weights and alphas: the only code that moves them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench import contracts
from workbench.bilevel import LiveBilevel, detached
from workbench.engine import CudaRecorder, FastSupernet, StepGraphs, like, runs_steadily
from workbench.part_text import part_text
from workbench.protocols import Batch, Mixture, Update

if TYPE_CHECKING:
    from workbench.method import Stage
    from workbench.run import Run
    from workbench.spaces.supernet import Supernet

Logs = dict[str, Tensor | float]
Outcome = tuple[Logs, dict[str, Mixture]]
_LOG = logging.getLogger(__name__)


class Moves:
    """The updates of a run's steps; all they go by is what the run holds.

    They do not keep the run: one that is over goes at once, and with it what a graph holds.

    Args:
        graphs: captures whole steps and replays them; None takes every step operation by operation.
    """

    def __init__(self, graphs: StepGraphs[Outcome] | None = None) -> None:
        self.graphs = graphs
        self._told = False

    def __call__(
        self, run: Run, updates: Sequence[Update], train: Batch | None, val: Batch | None
    ) -> Outcome:
        """What was measured on the way, and the mixing weights that the step led to.

        Args:
            updates: who moves, in order.
            train: batch of the weights.
            val: batch of the alphas.
        """
        if "joint" in updates and not self._told:
            self._told = True
            _tell_what_is_left_out(run.stage)
        if self.graphs is None:
            return _take(run, updates, train, val)
        there = train is not None, val is not None

        def work(tensors: Sequence[Tensor]) -> Outcome:
            left = iter(tensors)
            batches = [Batch(next(left), next(left)) if given else None for given in there]
            return _take(run, updates, batches[0], batches[1])

        tensors = [x for batch in (train, val) if batch is not None for x in batch]
        optimizers = run.weight_optimizer, run.arch_optimizer
        rates = tuple(group["lr"] for each in optimizers for group in each.param_groups)
        logs, mix = self.graphs((*updates, there), rates, work, tensors)
        # Copies: the next step of this kind writes where this one did.
        kept: Logs = {n: x.clone() if isinstance(x, Tensor) else x for n, x in logs.items()}
        return kept, {kind: mixture.copied() for kind, mixture in mix.items()}

    def forget(self) -> None:
        """Tensors of the run have been replaced: what was captured is of no use."""
        if self.graphs is not None:
            self.graphs.forget()


def _tell_what_is_left_out(stage: Stage) -> None:
    """One line in the log if joint steps ask no `arch_gradient` that somebody has chosen."""
    if not stage.gradient_of_joint:
        _LOG.warning(
            "joint steps take the training loss's gradient for the alphas: arch_gradient %s of "
            "stage %s is not asked; take a schedule with 'arch' steps, or leave it out",
            part_text(stage.arch_gradient), stage.name,
        )  # fmt: skip


def _take(run: Run, updates: Sequence[Update], train: Batch | None, val: Batch | None) -> Outcome:
    bilevel = LiveBilevel(run, train, val)
    for update in updates:
        _update(run, update, bilevel)
    return bilevel.logs, run.arch.mix((run.clock.step + 1) / run.clock.steps)


def _update(run: Run, update: Update, bilevel: LiveBilevel) -> None:
    if update == "arch":
        rule = run.stage.arch_gradient
        grads = contracts.gradient(rule, rule(bilevel, bilevel.train, bilevel.val), bilevel.alphas)
        run.watch.losses(run, bilevel.logs)
        _move_alphas(run, grads, bilevel)
        return
    alphas = bilevel.alphas if update == "joint" else ()
    mixtures = bilevel.mixtures() if update == "joint" else detached(bilevel.mixtures())
    loss = bilevel.loss(bilevel.weights, bilevel.train, mixtures)
    grads = torch.autograd.grad(loss, (*bilevel.weights, *alphas), materialize_grads=True)
    for weight, grad in zip(bilevel.weights, grads, strict=False):
        weight.grad = like(weight, grad)
    norm = bilevel.logs["grad_norm_weights"] = run.watch.weights(run, loss, grads)
    if (clip := run.stage.weight_optimizer.clip) is not None:
        nn.utils.clip_grads_with_norm_(bilevel.weights, clip, norm)
    run.weight_optimizer.step()
    run.weight_optimizer.zero_grad(set_to_none=True)
    if alphas:
        _move_alphas(run, grads[len(bilevel.weights) :], bilevel)


def _move_alphas(run: Run, grads: Sequence[Tensor], bilevel: LiveBilevel) -> None:
    grads = [grad.detach() for grad in bilevel.with_regularizers(grads)]
    norm = bilevel.logs["grad_norm_alpha"] = run.watch.alphas(run, grads)
    for alpha, grad in zip(bilevel.alphas, grads, strict=True):
        alpha.grad = like(alpha, grad)
    if run.stage.clip_arch is not None:
        nn.utils.clip_grads_with_norm_(bilevel.alphas, run.stage.clip_arch, norm)
    run.arch.step(run.arch_optimizer)
    run.arch_optimizer.zero_grad(set_to_none=True)


def changing(stage: Stage, net: Supernet | FastSupernet) -> str | None:
    """What changes from step to step beside tensors, so that no graph can hold a step; or None.

    A part that does not say that it is `steady` is none.

    Args:
        net: the stage's, whose mixed edges are looked at.
    """
    if stage.op_dropout is not None:
        return "operations are left out anew in every step"
    if stage.regularizers:
        return "regularizers look at more than tensors"
    parts = {"relaxation": stage.relaxation, "objective": stage.objective}
    if stage.edge_weights is not None:
        parts["edge weights"] = stage.edge_weights
    if not runs_steadily(net):
        return "the mixed edges may change with the progress of the stage"
    for name, part in parts.items():
        if not getattr(part, "steady", False):
            return f"the {name} {type(part).__name__} may change with the progress of the stage"
    return None


def step_graphs(run: Run) -> StepGraphs[Outcome] | None:
    """Who captures the steps of `run`, where that is asked for; one line in the log if they cannot.

    On the readable supernet none is captured, which says so of itself.
    """
    if not run.machine.graphs or not isinstance(run.net, FastSupernet):
        return None
    if run.net.chosen:  # no pass is captured either, which was said
        return None
    reason = changing(run.stage, run.net)
    if reason is None:
        return StepGraphs(CudaRecorder(run.device, run.generator))
    _LOG.warning(
        "graphs hold the supernet's passes, not whole steps, of stage %s: %s",
        run.stage.name, reason,
    )  # fmt: skip
    return None
