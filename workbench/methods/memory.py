"""Less memory, step by step: partial channels, stages, annealing and pruning, morphisms."""

from __future__ import annotations

import math
from dataclasses import replace

from workbench.method import Stage, small
from workbench.methods.bilevel import darts
from workbench.parts.arch_optimizers import Adam
from workbench.parts.derivations import LimitedSkips
from workbench.parts.edge_weights import SoftmaxEdges
from workbench.parts.edges import PartialChannels, SkipDropout, WeightedSum
from workbench.parts.growth import Grow
from workbench.parts.morphisms import (
    DEPTH_RESTRICTED,
    UNRESTRICTED,
    Primitives,
    PruneAndMorph,
    morph_weights,
)
from workbench.parts.pruners import BelowShare
from workbench.parts.relaxations import Softmax
from workbench.parts.schedules import Alternating, Cosine, Exponential, Linear, Piecewise, Scalar
from workbench.parts.weight_optimizers import Sgd

# --- partial channels (PC-DARTS) ----------------------------------------------------------------

# As released for CIFAR-10; its search on a tenth of ImageNet has batches of 1024 images, a rate of
# 0.5 and a warm-up of 35 epochs.  The genotype does not change during the warm-up: alphas and betas
# stay where they started.
pc_darts = darts.but(
    name="pc_darts",
    paper="arXiv:1907.05737",
    summary="A quarter of the channels goes through the operations; edges are weighed too.",
    batch_size=256,
    edge=PartialChannels(4),
    edge_weights=SoftmaxEdges(),
    weight_optimizer=Sgd(lr=Cosine(0.1, 0.0)),
    arch_optimizer=Adam(lr=6e-4),
    schedule=Alternating(warmup_epochs=15),
)

# --- deeper with fewer operations (P-DARTS) -----------------------------------------------------


def _fading(rate: float) -> Scalar:
    """Dropout over 25 epochs: down to 0.6 of `rate` in the warm-up, then from `rate` to nearly 0.

    rate (25 - e) / 25 for e < 10,   rate exp(-0.2 (e - 10)) from there
    """
    return Piecewise(Linear(rate, 0.6 * rate), Exponential(rate, rate * math.exp(-3.0)), at=0.4)


def _growing(deeper: tuple[int, int, int]) -> tuple[Stage, ...]:
    """Three stages: supernet and alphas start anew in each, and only the space goes on."""
    edges = (WeightedSum, SkipDropout(_fading(0.4)), SkipDropout(_fading(0.7)))
    return tuple(
        Stage(
            epochs=25,
            batch_size=96,
            edge=edge,
            weight_optimizer=Sgd(lr=Cosine(0.025, 0.0)),
            arch_optimizer=Adam(lr=6e-4),
            schedule=Alternating(warmup_epochs=10),
            reshape=Grow(more, keep=left),
        )
        for more, left, edge in zip(deeper, (None, 5, 3), edges, strict=True)
    )


# The paper's depths are 5, 11 and 17 cells: search a space of 5 cells (`--cells 5`).  Rates of
# dropout are the paper's (from memory); the released code has 0 by default, and .1, .4, .7 in its
# README.  Otherwise than there: alphas' gradients are not clipped (theirs at 5), dropout changes
# from step to step, not from epoch to epoch, and does not start an epoch lower in the warm-up.
# NAS-Bench-201 has 5 operations, so nothing is dropped after the first stage there.
p_darts = darts.but(
    name="p_darts",
    paper="arXiv:1904.12760",
    summary="Three searches, each 6 cells deeper with the best 8, 5, then 3 operations per edge.",
    stages=_growing((0, 6, 12)),
    derivation=LimitedSkips(most=2),
)

# Six cells more at a time are too many for small pictures: here it is one.
p_darts_small = small(
    p_darts.but(
        summary="Three searches, each a cell deeper, with 8, 5, then 3 operations per edge.",
        stages=_growing((0, 1, 2)),
    )
)

# --- annealing and pruning (ASAP) ---------------------------------------------------------------

# The authors' code is not public; figures are those of the UniNAS framework, without the fault in
# its threshold (`BelowShare`).  Alphas wait until the temperature is below 1, at epoch 10.  It
# falls from step to step here, from epoch to epoch there.  The paper may sample from a
# Gumbel-softmax (from memory); UniNAS and this do not.
asap = darts.but(
    name="asap",
    paper="arXiv:1904.04123",
    summary="A softmax ever sharper; what falls below 0.4 of an edge's mean weight is gone.",
    relaxation=Softmax(temperature=Exponential(1.6, 1.6 * 0.95**50)),
    pruner=BelowShare(0.4, grace_epochs=10),
    schedule=Alternating(warmup_epochs=10),
)

# --- prune and replace (PR-DARTS) ---------------------------------------------------------------


def _cycles(replacing: PruneAndMorph) -> tuple[Stage, ...]:
    """The nine stages: alphas and learning rate start anew in each, weights do not."""
    dropping = (replace(replacing, keep=keep, morphs=0) for keep in (4, 3, 2))
    epochs, grace = (15, 15, *[10] * 7), (5, 5, *[3] * 7)
    return tuple(
        Stage(
            epochs=epochs[index],
            weight_optimizer=Sgd(lr=Cosine(0.025, 0.01)),
            arch_optimizer=Adam(lr=6e-4),
            schedule=Alternating(warmup_epochs=grace[index]),
            reshape=reshape,
            carry=morph_weights if index else None,
        )
        for index, reshape in enumerate((Primitives(), *[replacing] * 5, *dropping))
    )


# Figures of the released scripts.  Their --num_to_keep 6, …, 6, 4, 3, 2, 1 counts what an edge has
# *after* --num_morphs 3, …, 3, 0, … were added: 3 stay and 3 come.  The last 1 is the derivation.
# Otherwise than there: batches are of 64 images (theirs grow from 24 to 128 with the free memory of
# the GPU), the alphas' gradient is not clipped (theirs at 5), an edge's past is the last stage's,
# and a kept operation keeps its weights (`PruneAndMorph`, `morph_weights`).
pr_darts = darts.but(
    name="pr_darts",
    paper="arXiv:1906.07528",
    summary="Drop the weakest operations in nine cycles; new ones are made of those that stay.",
    stages=_cycles(PruneAndMorph(keep=3, morphs=3)),
)

pr_darts_depth_restricted = pr_darts.but(
    name="pr_darts_depth_restricted",
    summary="PR-DARTS with kernels from 1×1 and up to 5 times the channels between convolutions.",
    stages=_cycles(PruneAndMorph(keep=3, morphs=3, limits=DEPTH_RESTRICTED)),
)

pr_darts_unrestricted = pr_darts.but(
    name="pr_darts_unrestricted",
    summary="PR-DARTS with any number of convolutions of any inner width.",
    stages=_cycles(PruneAndMorph(keep=3, morphs=3, limits=UNRESTRICTED)),
)
