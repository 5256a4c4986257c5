"""One level: weights and alphas on the same images."""

from __future__ import annotations

from workbench.methods.bilevel import darts
from workbench.parts.arch_gradients import single_level as train_gradient
from workbench.parts.op_dropout import GroupedDropout
from workbench.parts.schedules import Cosine, Joint
from workbench.parts.weight_optimizers import PartialSgd

single_level = darts.but(
    name="single_level",
    paper="doi:10.54503/2579-2903-2022.1-203",
    summary="Weights and alphas both on all training images, from one backward pass.",
    arch_gradient=train_gradient,
    schedule=Joint(),
    train_portion=1.0,
)

# --- DropNAS ------------------------------------------------------------------------------------

# The paper's supernet has 14 cells of 16 channels: settings of the space.  Where the released code
# decays in a second optimizer step, with twice the usual factor and momentum that advances twice,
# decay is part of the one step here, as in the paper.  Alphas that are left out do not move, so
# their L2 is partial too; Adam's moments of theirs run on, as in the released code.
drop_nas = single_level.but(
    name="drop_nas",
    paper="arXiv:2201.11679",
    summary="Each step leaves some operations out, never all with weights or all without.",
    epochs=76,
    batch_size=96,
    op_dropout=GroupedDropout(rate=3e-5),
    weight_optimizer=PartialSgd(lr=Cosine(0.0375, 0.0015), clip=3.0),
)
