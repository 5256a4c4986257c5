"""Against the collapse to skip connections, and against the gap of discretisation."""

from __future__ import annotations

from workbench.methods.bilevel import darts
from workbench.parts.edges import AuxiliarySkip

# --- an auxiliary skip connection (DARTS-) ------------------------------------------------------

# The released code keeps beta constant unless told otherwise; its search script asks for the linear
# decay.  beta falls from step to step here, from epoch to epoch there.
darts_minus = darts.but(
    name="darts_minus",
    paper="arXiv:2009.01027",
    summary="A skip connection beside every edge that fades out, so that skips need not win.",
    edge=AuxiliarySkip(),
)
