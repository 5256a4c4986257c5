"""What a search imports and compiles, once, for all processes that are forked after it."""

from __future__ import annotations

import torch

import workbench.methods
import workbench.tasks
from tests.faults import methods
from workbench.data import load
from workbench.search import search
from workbench.spaces.darts import darts

torch.set_num_threads(1)


def _kernels() -> None:
    """Read the compiled kernels: a step of a search that records nothing, so without threads."""
    method = workbench.methods.single_level.but(batch_size=8)
    for event in search(method, darts(channels=4, cells=3, nodes=2), load("digits")):
        if type(event).__name__ == "Stepped":
            return


methods.known()
_kernels()
