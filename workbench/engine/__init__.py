"""Where and how fast a search runs: machine settings and the fast supernet."""

from workbench.engine.choice import accelerated, needs
from workbench.engine.machine import Machine, MachineError, independent_seeds
from workbench.engine.supernet import FastSupernet

__all__ = ["FastSupernet", "Machine", "MachineError", "accelerated", "independent_seeds", "needs"]
