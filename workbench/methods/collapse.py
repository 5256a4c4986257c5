"""Against the collapse to skip connections, and against the gap of discretisation."""

from __future__ import annotations

from workbench.methods.bilevel import darts
from workbench.parts.stopping import EigenvalueRise, SkipCount, StableRanking
from workbench.probes import HessianEigenvalue

# DARTS+ has no released code: the two criteria are from the paper, all else is as in DARTS.  The
# genotype is the one whose skip connections stopped the search.
darts_plus = darts.but(
    name="darts_plus",
    paper="arXiv:1909.06035",
    summary="Ends when the derived normal cell has two skip connections or more.",
    stop=SkipCount(most=1),
)

darts_plus_ranking = darts_plus.but(
    name="darts_plus_ranking",
    summary="Ends when the convolutions of every edge have ranked the same for ten epochs.",
    stop=StableRanking(patience_epochs=10),
)

# The paper goes back to the architecture of before the rise; a rule only ends a search, so what is
# derived is of six epochs later (`EigenvalueRise`).  Its spaces are `s1` to `s4`.
robust_darts = darts.but(
    name="robust_darts",
    paper="arXiv:1909.09656",
    summary="Ends when the largest eigenvalue of the alphas' Hessian rises by 1.3 in four epochs.",
    measures=(HessianEigenvalue(),),
    stop=EigenvalueRise(window_epochs=5, start_epochs=10, delta_epochs=4, factor=1.3),
)
