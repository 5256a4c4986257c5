"""Against the collapse to skip connections, and against the gap of discretisation."""

from __future__ import annotations

from dataclasses import replace

from workbench.method import small
from workbench.methods.bilevel import darts
from workbench.parts.edges import AuxiliarySkip, WeightedSum
from workbench.parts.normalised import NodeNorm
from workbench.parts.perturbation import Perturbation
from workbench.parts.schedules import Cosine, WeightsOnly
from workbench.parts.similarity import Similarity
from workbench.parts.stopping import EigenvalueRise, SkipCount, StableRanking
from workbench.parts.transitions import keep_weights
from workbench.parts.weight_optimizers import Sgd
from workbench.probes import HessianEigenvalue

# --- an auxiliary skip connection (DARTS-) ------------------------------------------------------

# The released code keeps beta constant unless told otherwise; its search script asks for the linear
# decay.  beta falls from step to step here, from epoch to epoch there.
darts_minus = darts.but(
    name="darts_minus",
    paper="arXiv:2009.01027",
    summary="A skip connection beside every edge that fades out, so that skips need not win.",
    edge=AuxiliarySkip(),
)

# DARTS+ has no released code: the two criteria are from the paper, all else is as in DARTS.  The
# genotype is the one whose skip connections stopped the search.  The first genotypes are chance, of
# alphas that have hardly moved, and may have two: `grace_epochs` waits, the paper does not.
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

# Twelve epochs are too few for windows of five, and one epoch's eigenvalue is too noisy for none.
robust_darts_small = small(robust_darts).but(
    name="robust_darts_small",
    summary="Ends when the largest eigenvalue of the alphas' Hessian rises by 1.3 in two epochs.",
    stop=EigenvalueRise(window_epochs=3, start_epochs=3, delta_epochs=2, factor=1.3),
)

# 14 edges and 3 nodes of more than two inputs are 17 rounds, 5 epochs apart: 81 epochs.  The
# alphas' Adam starts anew with the stage, as momentum does; the released code keeps the former.
_projection = replace(
    darts.stages[0],
    name="projection",
    epochs=81,
    init=None,
    carry=keep_weights,
    weight_optimizer=Sgd(lr=Cosine(0.0025, 0.001)),
    pruner=Perturbation(tune_epochs=5, criterion="accuracy"),
)

darts_pt = darts.but(
    name="darts_pt",
    paper="arXiv:2108.04392",
    summary="DARTS, then on every edge the operation whose removal costs most accuracy.",
    stages=(darts.stages[0], _projection),
)

# As on NAS-Bench-201: six rounds and no choice of edges.
darts_pt_nasbench201 = darts_pt.but(
    name="darts_pt_nasbench201",
    summary="DARTS-PT with the epochs for NAS-Bench-201: 100, then six decisions in 25.",
    stages=(replace(darts.stages[0], epochs=100), replace(_projection, epochs=25)),
)

darts_pt_blank = darts_pt.but(
    name="darts_pt_blank",
    summary="DARTS-PT on a supernet whose alphas never move.",
    stages=tuple(replace(stage, schedule=WeightsOnly()) for stage in darts_pt.stages),
)

# A reading of a paper without public code: what it normalises and how it decorrelates are told in
# `NodeNorm` and `Similarity`; settings of the search that it does not give are as in DARTS.
idarts_node = darts.but(
    name="idarts_node",
    paper="arXiv:2108.11014",
    summary="Edges see nodes at one scale; operations most like their node's output are kept.",
    edge=NodeNorm(WeightedSum, mode="batch"),
    pruner=Similarity(inputs=2),
)
