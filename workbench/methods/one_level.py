"""One level: weights and alphas on the same images."""

from __future__ import annotations

from workbench.methods.bilevel import darts
from workbench.parts.arch_gradients import single_level as train_gradient
from workbench.parts.arch_optimizers import Adam
from workbench.parts.relaxations import Sigmoid
from workbench.parts.schedules import Joint
from workbench.parts.stopping import ModelSize

single_level = darts.but(
    name="single_level",
    paper="doi:10.54503/2579-2903-2022.1-203",
    summary="Weights and alphas both on all training images, from one backward pass.",
    arch_gradient=train_gradient,
    schedule=Joint(),
    train_portion=1.0,
)

# From memory, no code is known: that a small learning rate of alphas matters (a large one favours
# operations without weights), but not which, so 1e-4 is ours; and that a search ends when the
# derived network is small enough, but not how small, so `ModelSize()` never ends one.  Ask for
# `hou_jin.but(stop=ModelSize(1_500_000))`.
hou_jin = single_level.but(
    name="hou_jin",
    paper="arXiv:2012.11337",
    summary="One level, sigmoids that do not compete, slow alphas, and an end by the model's size.",
    relaxation=Sigmoid(),
    arch_optimizer=Adam(lr=1e-4),
    stop=ModelSize(None),
)

# Alphas must not be fast here, so not as fast as other methods' on digits: this moves them by a
# quarter or so in a dozen epochs.
hou_jin_small = hou_jin.but(
    name="hou_jin_small",
    summary="Hou and Jin's search for a dozen epochs of digits, with alphas a little faster.",
    epochs=12,
    arch_optimizer=Adam(lr=1e-3),
)
