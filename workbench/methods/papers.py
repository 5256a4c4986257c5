"""The methods of the two papers this project implements."""

from __future__ import annotations

from dataclasses import replace

from workbench.method import Stage
from workbench.methods.bilevel import darts
from workbench.methods.one_level import single_level
from workbench.parts.arch_gradients import single_level as train_gradient
from workbench.parts.derivations import surviving_edges
from workbench.parts.pruners import ExactZeros
from workbench.parts.relaxations import Entmax
from workbench.parts.schedules import Alternating, ArchOnly, Joint, Linear, WeightsOnly
from workbench.parts.transitions import keep_weights
from workbench.parts.weight_optimizers import Sgd
from workbench.zero_cost import ZenInit, ZenObjective

_PAPER_A = "Zhang, A Zero-Cost DARTS Base on Multi-Step Optimization"
_PAPER_B = "doi:10.54503/2579-2903-2022.1-203"

# --- multi-step and zero-cost warm-up (paper A) --------------------------------------------------

# Paper A gives no n; 5 is ours.  Each of the n steps has a batch of its own (released code of a
# relative, MiLeNAS, repeats one batch).
multi_step = darts.but(
    name="multi_step",
    paper=_PAPER_A,
    summary="n weight steps on different batches, then one alpha step.",
    schedule=Alternating(weight_steps=5, order="weights_first"),
)

# The literal reading (docs/zero_cost.md): the first m epochs move the weights, and only them, along
# the gradient of the Zen-score on Gaussian inputs.  m, beta1 and beta2 are not given; 1 each is
# ours, and so are the guard against growing weights and its small learning rate.  The gradient of
# the kernel's norm is estimated without bias from one random projection, a quarter of the time.
zero_cost_warm_up = Stage(
    name="warm_up",
    epochs=1,
    objective=ZenObjective(probes=1),
    schedule=WeightsOnly(),
    weight_optimizer=Sgd(lr=1e-3, weight_decay=0.0, keep_norms=True),
)

# What moves in a warm-up: the paper can be read in each of these ways.
zero_cost_readings: dict[str, Stage] = {
    "weights": zero_cost_warm_up,
    "alphas": replace(zero_cost_warm_up, schedule=ArchOnly(), arch_gradient=train_gradient),
    "both": replace(zero_cost_warm_up, schedule=Joint(), arch_gradient=train_gradient),
    "score": replace(zero_cost_warm_up, epochs=0, init=ZenInit()),
}

zero_cost_multi_step = multi_step.but(
    name="zero_cost_multi_step",
    summary="A label-free warm-up along the Zen-score, then multi-step.",
).after(zero_cost_warm_up, carry=keep_weights)

# --- sparse relaxations with pruning (paper B) --------------------------------------------------

entmax2_prune = darts.but(
    name="entmax2_prune",
    paper=_PAPER_B,
    summary="Sparsemax; an operation whose weight is exactly 0 is gone for good.",
    relaxation=Entmax(2.0),
    pruner=ExactZeros(),
    derivation=surviving_edges,
)

entmax3_prune = entmax2_prune.but(
    name="entmax3_prune",
    summary="Entmax of order 3, sparser still, with pruning.",
    relaxation=Entmax(3.0),
)

entmax2_prune_single_level = single_level.but(
    name="entmax2_prune_single_level",
    summary="Sparsemax, pruning and single level.",
    relaxation=Entmax(2.0),
    pruner=ExactZeros(),
    derivation=surviving_edges,
)

entmax3_prune_single_level = entmax2_prune_single_level.but(
    name="entmax3_prune_single_level",
    summary="Paper B's method: entmax of order 3, pruning and single level.",
    relaxation=Entmax(3.0),
)

# Paper B's future work: from dense to sparse over the search.
entmax_annealed = entmax2_prune_single_level.but(
    name="entmax_annealed",
    summary="The order rises from 1 (softmax) to 3 over the search.",
    relaxation=Entmax(Linear(1.0, 3.0)),
)
