"""Runs on disk: written while they happen, read without torch, also while they are written."""

from workbench.trace.evaluation_record import record_evaluation
from workbench.trace.finding import Runs, find_runs
from workbench.trace.folder import RunError
from workbench.trace.record import record
from workbench.trace.runs import Run, open_run

__all__ = ["Run", "RunError", "Runs", "find_runs", "open_run", "record", "record_evaluation"]
