"""Short searches to measure in."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tests.tiny import READABLE64, SPACES, play, shrunk, start
from workbench import methods
from workbench.bilevel import LiveBilevel
from workbench.engine import Machine
from workbench.method import Method
from workbench.protocols import Probe
from workbench.run import Run


def trained(
    space: str = "darts", machine: Machine = READABLE64, method: Method = methods.darts
) -> Run:
    """A stage after its last step, with alphas that tell operations apart."""
    run = start(shrunk(method), SPACES[space], machine=machine)
    play(run)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for rows in run.arch.alpha.values():
            rows += torch.randn(rows.shape, generator=generator, dtype=rows.dtype)
    run.mix = run.arch.mix(run.clock.t)
    return run


def without_one_op() -> Run:
    """A stage whose first edge has lost the fourth operation of NAS-Bench-201."""
    run = trained("nasbench201")
    alive = {kind: mask.clone() for kind, mask in run.arch.alive.items()}
    alive["cell"][0, 3] = False
    run.net.drop(alive)
    run.arch.prune(alive)
    run.mix = run.arch.mix(run.clock.t)
    return run


def measured(run: Run, probe: Probe) -> dict:
    """What a probe says of it now."""
    return run.measure(probe, run.clock)


def held_out_loss(run: Run) -> tuple[LiveBilevel, Tensor]:
    """The loss on the last held-out batch, to be differentiated."""
    bilevel = LiveBilevel(run, *run.last_batches)
    return bilevel, bilevel.loss(list(bilevel.weights), bilevel.val)


def decided(method: Method = methods.darts) -> Method:
    """`method` with a derivation that keeps every edge, as in NAS-Bench-201."""
    from workbench.parts.derivations import EdgeArgmax

    return replace(method, derivation=EdgeArgmax())
