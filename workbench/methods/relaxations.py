"""Other relaxations of the choice of an operation: sigmoids, samples, the simplex."""

from __future__ import annotations

from workbench.methods.bilevel import darts
from workbench.parts.arch_gradients import single_level as train_gradient
from workbench.parts.arch_optimizers import ExponentiatedGradient
from workbench.parts.edge_weights import SimplexEdges
from workbench.parts.edges import PartialChannels
from workbench.parts.inits import Uniform
from workbench.parts.relaxations import Simplex
from workbench.parts.schedules import Cosine, Joint
from workbench.parts.weight_optimizers import Sgd

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

# "ERM" on NAS-Bench-201: 25 epochs of a learning-rate schedule of 50.  The paper's space has 24
# channels, 5 cells a stage and no operation `none`: those are settings of the space.
gaea_nasbench201 = gaea.but(
    name="gaea_nasbench201",
    summary="GAEA on one level, as on NAS-Bench-201: half of a schedule of 50 epochs.",
    epochs=25,
    arch_gradient=train_gradient,
    schedule=Joint(),
    train_portion=1.0,
    weight_optimizer=Sgd(lr=Cosine(0.025, 0.001, share=0.5)),
)
