"""Where and how fast a search runs: machine settings and the fast supernet."""

from workbench.engine.choice import accelerated, needs, runs_steadily
from workbench.engine.machine import Machine, MachineError, independent_seeds
from workbench.engine.optimizers import fitted, like, reloaded
from workbench.engine.step_graphs import CudaRecorder, StepGraphs
from workbench.engine.supernet import FastSupernet

__all__ = [
    "CudaRecorder",
    "FastSupernet",
    "Machine",
    "MachineError",
    "StepGraphs",
    "accelerated",
    "fitted",
    "independent_seeds",
    "like",
    "needs",
    "reloaded",
    "runs_steadily",
]
