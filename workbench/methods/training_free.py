"""No training: operations and genotypes judged by scores at random weights."""

from __future__ import annotations

from workbench.methods.bilevel import darts
from workbench.parts.derivations import surviving_edges
from workbench.parts.edges import WeightedSum
from workbench.parts.inits import Constant
from workbench.parts.proposals import ElitistEvolution, RandomGenotypes
from workbench.parts.schedules import Frozen
from workbench.parts.scores import Untrained
from workbench.walk import Walk
from workbench.zero_cost import proxies
from workbench.zero_cost.te_nas import TeNas

_SCORES = proxies.named()

# One round per operation of an edge but the last; `none` goes in the first, before anything is
# measured.  On one busy CPU core a supernet of the DARTS space took 17 s to measure and one of
# NAS-Bench-201's 1.3 s (14 pictures of 32 pixels): half a day and four minutes in all.  Fewer
# `TeNas(repeats=…)` cost less.  What differs from the released code is told there.
te_nas = darts.but(
    name="te_nas",
    paper="arXiv:2102.11535",
    summary="Operations go whose loss helps the tangent kernel and linear regions most.",
    epochs=7,
    steps_per_epoch=1,
    init=Constant(0.0),
    schedule=Frozen(),
    pruner=TeNas(edge=WeightedSum),
    derivation=surviving_edges,
)

# Smaller kernels of smaller nets and one draw of weights: as many measurements, each cheaper.
te_nas_small = te_nas.but(
    name="te_nas_small",
    pruner=TeNas(edge=WeightedSum, channels=1, cells=3, batch_size=8, repeats=1),
)

# The paper then trains its best 40 and keeps the best of those: `evaluate` trains what you choose.
# Gradients of 50 batches in the released code are those of 50 pictures here; the number of
# candidates is from memory.
knas = Walk(
    name="knas",
    paper="arXiv:2111.13293",
    summary="The best of 100 random genotypes by the mean of the gradients' Gram matrix.",
    candidates=100,
    proposal=RandomGenotypes(),
    score=Untrained(_SCORES["mgm"], batch_size=50),
)
knas_small = knas.but(name="knas_small", candidates=24, score=Untrained(_SCORES["mgm"], 16))

# The released scripts score one draw of weights on 64 pictures.  Population and candidates are the
# paper's, from memory (the released default is 480,000); theirs is a space of widths and depths
# under a bound of cost, which cells of fixed width have no need of.
zen_nas = Walk(
    name="zen_nas",
    paper="arXiv:2102.01063",
    summary="Evolution on Zen-NAS's own Zen-score: mutate any member, drop the worst.",
    candidates=96_000,
    proposal=ElitistEvolution(population=256),
    score=Untrained(_SCORES["zen_nas"], batch_size=64),
    round=1000,
)
zen_nas_small = zen_nas.but(
    name="zen_nas_small",
    candidates=64,
    proposal=ElitistEvolution(population=16),
    score=Untrained(_SCORES["zen_nas"], batch_size=16),
    round=8,
)
