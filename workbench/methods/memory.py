"""Less memory, step by step: partial channels, stages, annealing and pruning, morphisms."""

from __future__ import annotations

from dataclasses import replace

from workbench.method import Stage
from workbench.methods.bilevel import darts
from workbench.parts.arch_optimizers import Adam
from workbench.parts.morphisms import (
    DEPTH_RESTRICTED,
    UNRESTRICTED,
    Primitives,
    PruneAndMorph,
    morph_weights,
)
from workbench.parts.schedules import Alternating, Cosine
from workbench.parts.weight_optimizers import Sgd

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
