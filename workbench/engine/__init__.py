"""Where a search runs: machine settings; later the fast supernet."""

from workbench.engine.machine import Machine, MachineError, independent_seeds

__all__ = ["Machine", "MachineError", "independent_seeds"]
