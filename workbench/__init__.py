"""Run a differentiable architecture search on real images and see why it ended where it did.

Names are loaded when they are first used: reading a run needs no torch.  The loop itself is
`workbench.search.search`, the methods are `workbench.methods`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.config import SearchConfig
    from workbench.data import load
    from workbench.engine import Machine
    from workbench.evaluate_config import EvaluateConfig
    from workbench.evaluating import resume_evaluation, run_evaluation
    from workbench.method import Method, Stage, differences
    from workbench.spaces.darts import darts
    from workbench.spaces.genotype import Genotype
    from workbench.spaces.nasbench201 import nasbench201
    from workbench.tasks import resume, run_search
    from workbench.trace import Run, find_runs, open_run, record

_HOMES = {
    "EvaluateConfig": "evaluate_config",
    "SearchConfig": "config",
    "load": "data",
    "Machine": "engine",
    "Method": "method",
    "Stage": "method",
    "differences": "method",
    "find_runs": "trace",
    "darts": "spaces.darts",
    "Genotype": "spaces.genotype",
    "nasbench201": "spaces.nasbench201",
    "resume": "tasks",
    "resume_evaluation": "evaluating",
    "run_evaluation": "evaluating",
    "run_search": "tasks",
    "Run": "trace",
    "open_run": "trace",
    "record": "trace",
}

__all__ = [
    "EvaluateConfig",
    "Genotype",
    "Machine",
    "Method",
    "Run",
    "SearchConfig",
    "Stage",
    "darts",
    "differences",
    "find_runs",
    "load",
    "nasbench201",
    "open_run",
    "record",
    "resume",
    "resume_evaluation",
    "run_evaluation",
    "run_search",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    value = getattr(import_module(f"workbench.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if "IPython" in sys.modules:  # else nobody shows anything
    from workbench.rich import register

    register()
