"""Two levels: weights on training images, alphas on held-out ones; how alphas get a gradient."""

from __future__ import annotations

from workbench.method import Method
from workbench.parts.arch_gradients import Unrolled

darts = Method(
    name="darts",
    paper="arXiv:1806.09055",
    summary="Softmax over operations; alphas on held-out images, weights on the rest, in turns.",
)

darts_second_order = darts.but(
    name="darts_second_order",
    summary="Alphas see the held-out loss after one virtual weight step.",
    arch_gradient=Unrolled(),
)
