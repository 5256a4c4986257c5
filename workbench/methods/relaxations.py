"""Other relaxations of the choice of an operation: sigmoids, samples, the simplex."""

from __future__ import annotations

from workbench.methods.bilevel import darts
from workbench.methods.one_level import single_level
from workbench.parts.arch_optimizers import Adam, ClippedSgd, ExponentiatedGradient
from workbench.parts.candidates import Without
from workbench.parts.derivations import Threshold, surviving_edges
from workbench.parts.edge_weights import SimplexEdges
from workbench.parts.edges import PartialChannels
from workbench.parts.inits import Constant, Normal, Uniform
from workbench.parts.regularizers import Ablation, ExpectedCost, ZeroOne
from workbench.parts.relaxations import Sigmoid, Simplex
from workbench.parts.sampling import Concrete, HardConcrete
from workbench.parts.schedules import Alternating, Cosine, Linear
from workbench.parts.single_op import SingleOp
from workbench.parts.transitions import IndividualCells
from workbench.parts.weight_optimizers import Sgd

# --- the simplex --------------------------------------------------------------------------------

# The released settings of GAEA on the DARTS space (batch 64, weights as in DARTS).  The paper's
# headline is of `gaea_pc_darts`.  The released code keeps the genotype of the epoch with the best
# held-out accuracy; here it is the last one's, as everywhere.
gaea = darts.but(
    name="gaea",
    paper="arXiv:2004.07802",
    summary="Alphas are mixing weights themselves, moved by exponentiated gradient.",
    init=Uniform(),
    relaxation=Simplex(),
    arch_optimizer=ExponentiatedGradient(),
)

# The form of the headline: PC-DARTS without its warm-up.  Alphas and edge weights start equal.
gaea_pc_darts = gaea.but(
    name="gaea_pc_darts",
    summary="GAEA with partial channels; edge weights are moved by exponentiated gradient too.",
    batch_size=256,
    edge=PartialChannels(4),
    edge_weights=SimplexEdges(),
    weight_optimizer=Sgd(lr=Cosine(0.1, 0.0)),
)

# "ERM" on NAS-Bench-201: weights and alphas on batches of their own of the same images, 25 epochs
# of a learning-rate schedule of 50.  The paper's space has 24 channels, 5 cells a stage and no
# operation `none`: those are settings of the space.
gaea_nasbench201 = gaea.but(
    name="gaea_nasbench201",
    summary="GAEA on one level, as on NAS-Bench-201: half of a schedule of 50 epochs.",
    epochs=25,
    train_portion=1.0,
    weight_optimizer=Sgd(lr=Cosine(0.025, 0.001, share=0.5)),
)

# --- sigmoids -----------------------------------------------------------------------------------

# Settings of the released code.  Evaluated as DARTS, but with drop-path on the sum of a node.
fair_darts = darts.but(
    name="fair_darts",
    paper="arXiv:1911.12126",
    summary="A sigmoid per operation instead of a softmax, pushed to 0 or 1, and no `none`.",
    batch_size=128,
    init=Constant(0.0),
    relaxation=Sigmoid(),
    weight_optimizer=Sgd(lr=Cosine(0.005, 0.001)),
    arch_optimizer=Adam(lr=3e-3, betas=(0.9, 0.999)),
    regularizers=(ZeroOne(10.0),),
    reshape=Without(("none",)),
    derivation=Threshold(0.85, edges=2),
)

# 12 epochs of digits are some 130 alpha steps: at the published rate no sigmoid could get from a
# half to the threshold of 0.85.
_FOR_DIGITS = {
    "epochs": 12,
    "batch_size": 64,
    "weight_optimizer": Sgd(),
    "arch_optimizer": Adam(lr=3e-2, betas=(0.9, 0.999)),
}

fair_darts_small = fair_darts.but(
    name="fair_darts_small",
    summary="FairDARTS for a dozen epochs of digits, whose alphas move ten times as fast.",
    **_FOR_DIGITS,
)

# The paper's supernet has 32 channels, which is a setting of the space.  Here every step is of all
# cells at once with a constant rate; in the released code each cell has an Adam of its own whose
# rate falls to 1e-3 along a cosine.  Its loss of ablation has no gradient (`Ablation`); that search
# is `d_darts.but(regularizers=(ZeroOne(9.0, each_kind=True),))`.
d_darts = fair_darts.but(
    name="d_darts",
    paper="arXiv:2108.09306",
    summary="FairDARTS with alphas for every cell by itself, each to contribute above the mean.",
    batch_size=72,
    regularizers=(ZeroOne(9.0, each_kind=True), Ablation(0.7)),
    reshape=IndividualCells(without=("none",)),
)

d_darts_small = d_darts.but(
    name="d_darts_small",
    summary="D-DARTS for a dozen epochs of digits, whose alphas move ten times as fast.",
    **_FOR_DIGITS,
)

# --- samples ------------------------------------------------------------------------------------

# The released command for one GPU: the sum over edges of the logarithm of what a drawn edge costs,
# 1e-2 of it.  There it is the mean of three logarithms; the third is of memory access, which is not
# counted here.  Its drop-path of 0.3 in the search is left out, and it validates on test images,
# which are not touched here.  It may leave a node without input, where `none` wins every edge; here
# such a node keeps the best other operation.
snas = single_level.but(
    name="snas",
    paper="arXiv:1812.09926",
    summary="Every forward pass draws nearly one operation per edge; what a draw costs is a loss.",
    epochs=150,
    init=Normal(scale=0.01, mean=1.0),
    relaxation=Concrete(Linear(1.0, 0.03)),
    arch_optimizer=ClippedSgd(lr=3e-4, clip=10.0),
    regularizers=(
        ExpectedCost(5e-3, of="parameters", log=True),
        ExpectedCost(5e-3, of="macs", log=True),
    ),
    derivation=surviving_edges,
)

# Plain gradient descent at 3e-4 would hardly move alphas in some 270 steps.  Adam is what the
# released code takes on several GPUs.
snas_small = snas.but(
    name="snas_small",
    summary="SNAS for a dozen epochs of digits, whose alphas are moved by Adam.",
    epochs=12,
    arch_optimizer=Adam(lr=1e-2),
)

# Settings for NASNet's cells, which are DARTS's.  On NAS-Bench-201 the batch is 64 and the weights'
# momentum Nesterov's, which `Sgd` has not.  The FRC form, with a fixed reduction cell, is not here.
gdas = darts.but(
    name="gdas",
    paper="arXiv:1910.04465",
    summary="Every forward pass draws one operation per edge and runs only that one.",
    epochs=250,
    batch_size=256,
    relaxation=HardConcrete(Linear(10.0, 0.1)),
    edge=SingleOp(),
    weight_optimizer=Sgd(weight_decay=5e-4),
    schedule=Alternating(order="weights_first"),
)
