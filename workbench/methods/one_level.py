"""One level: weights and alphas on the same images."""

from __future__ import annotations

from workbench.methods.bilevel import darts
from workbench.parts.arch_gradients import single_level as train_gradient
from workbench.parts.schedules import Joint

single_level = darts.but(
    name="single_level",
    paper="doi:10.54503/2579-2903-2022.1-203",
    summary="Weights and alphas both on all training images, from one backward pass.",
    arch_gradient=train_gradient,
    schedule=Joint(),
    train_portion=1.0,
)
