"""Two levels: weights on training images, alphas on held-out ones; how alphas get a gradient."""

from __future__ import annotations

from workbench.method import Method
from workbench.parts.arch_gradients import Amended, Implicit, MixedLevel, Unrolled
from workbench.parts.schedules import Alternating

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


def unrolled(steps: int) -> Method:
    """Truncated back-propagation through `steps` virtual weight steps.

    The derivative is exact: differences across kinks would add up from step to step.
    """
    return darts_second_order.but(
        name=f"unrolled{steps}",
        summary=f"Alphas see the held-out loss after {steps} virtual weight steps, exactly.",
        arch_gradient=Unrolled(steps=steps, exact=True),
    )


# DARTS's second order with its one step made n: no paper's method (paper A's n steps are not
# unrolled), but what the implicit gradient is an alternative to.
unrolled2 = unrolled(2)
unrolled5 = unrolled(5)

# The released code does not clip weights (it clips alphas by mistake); here they are, as in DARTS.
milenas = darts.but(
    name="milenas",
    paper="arXiv:2003.12238",
    summary="Alphas follow the training loss and the held-out loss together.",
    arch_gradient=MixedLevel(train=1.0, val=1.0),
)

# Batch and weight steps of the released code for NAS-Bench-1Shot1.  That for NAS-Bench-201 has 64
# and 4, and its weight steps train a copy that is then thrown away; here they train the supernet.
idarts = darts.but(
    name="idarts",
    paper="arXiv:2106.10784",
    summary="Five weight steps, then alphas by the implicit function theorem, two Neumann terms.",
    batch_size=96,
    arch_gradient=Implicit(terms=2),
    schedule=Alternating(weight_steps=5, order="weights_first"),
)

# The coefficient is from memory, and so is that all else is as in DARTS; the paper also makes
# search and evaluation share their settings, which is not a part of a search.
amended = darts.but(
    name="amended",
    paper="arXiv:1910.11831",
    summary="First order plus a curvature term on training images, with no virtual step.",
    arch_gradient=Amended(eta=0.1),
)
