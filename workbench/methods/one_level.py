"""One level: weights and alphas on the same images."""

from __future__ import annotations

from workbench.methods.bilevel import darts
from workbench.parts.arch_gradients import single_level as train_gradient
from workbench.parts.arch_optimizers import Adam, HeavyBall
from workbench.parts.derivations import survivors
from workbench.parts.flops import FlopsBelow, FlopsPenalty
from workbench.parts.inits import Constant
from workbench.parts.op_dropout import GroupedDropout
from workbench.parts.relaxations import Sigmoid
from workbench.parts.schedules import Cosine, Joint
from workbench.parts.shares import WeakestShares
from workbench.parts.stopping import ModelSize
from workbench.parts.transitions import IndividualCells
from workbench.parts.weight_optimizers import PartialSgd, Sgd

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

# --- DropNAS ------------------------------------------------------------------------------------

# The paper's supernet has 14 cells of 16 channels: settings of the space.  Where the released code
# decays in a second optimizer step, with twice the usual factor and momentum that advances twice,
# decay is part of the one step here, as in the paper.  Alphas that are left out do not move, so
# their L2 is partial too; Adam's moments of theirs run on.
drop_nas = single_level.but(
    name="drop_nas",
    paper="arXiv:2201.11679",
    summary="Each step leaves some operations out, never all with weights or all without.",
    epochs=76,
    batch_size=96,
    op_dropout=GroupedDropout(rate=3e-5),
    weight_optimizer=PartialSgd(lr=Cosine(0.0375, 0.0015), clip=3.0),
)

# --- GOLD-NAS -----------------------------------------------------------------------------------

# The paper's supernet has 14 cells of 36 channels: settings of the space, and so are AutoAugment
# and cutout of the data.  Constants are the unofficial code's, whose pruning of the first edge into
# each node alone is not followed.  It searches until the network is cheap enough; 100 epochs are
# our bound.  It emits a network after every rest from pruning; here every epoch tells one, and
# those are the paper's series.  Left out: the auxiliary head, and the batch norm behind a skip.
gold_nas = single_level.but(
    name="gold_nas",
    paper="arXiv:2007.03331",
    summary="Two operations an edge, each cell its own; a growing penalty, the weakest are pruned.",
    epochs=100,
    batch_size=96,
    reshape=IndividualCells(("skip_connect", "sep_conv_3x3", "nor_conv_3x3")),
    init=Constant(0.0),
    relaxation=Sigmoid(),
    weight_optimizer=Sgd(lr=0.01),
    arch_optimizer=HeavyBall(lr=1.0, momentum=0.9),
    regularizers=(FlopsPenalty(),),
    pruner=WeakestShares(low=0.01, high=0.05, count=4),
    stop=FlopsBelow(240e6),
    derivation=survivors,
)

# For a thousand digits of 8×8: the network is below the paper's bound before it is searched, and in
# 12 epochs of 22 steps the published lambda prunes about 8 of 84 operations, this one about 30.
gold_nas_small = gold_nas.but(
    name="gold_nas_small",
    summary="GOLD-NAS for small data: a penalty a thousand times as strong, until half the cost.",
    epochs=12,
    batch_size=64,
    regularizers=(FlopsPenalty(first=1e-2),),
    stop=FlopsBelow(macs=None, share=0.5),
)
