"""Figures of a run: `X_frame(run)` is the table, `X(run)` draws it and returns the figure.

A notebook shows a figure that is the last line of a cell; elsewhere call its `.show()`.
"""

from workbench.plots.cells import CellGraph, cell_graph, cells
from workbench.plots.compare import accuracy, accuracy_against_time, accuracy_frame, curves
from workbench.plots.cost import cost, cost_frame
from workbench.plots.dominance import dominance, dominance_frame
from workbench.plots.evaluation import confusion_frame, evaluation, evaluation_frame
from workbench.plots.gap import gap, gap_frame
from workbench.plots.probes import probe, probe_frame
from workbench.plots.pruning import alive_frame, pruning_timeline, pruning_timeline_frame
from workbench.plots.summary import SummaryTable, summary_table, summary_table_frame
from workbench.plots.support import support, support_frame
from workbench.plots.training import training, training_frame
from workbench.plots.warm_up import warm_up, warm_up_frame
from workbench.plots.weights import (
    edge_weight_frame,
    weight_evolution,
    weight_evolution_frame,
)

__all__ = [
    "CellGraph",
    "SummaryTable",
    "accuracy",
    "accuracy_against_time",
    "accuracy_frame",
    "alive_frame",
    "cell_graph",
    "cells",
    "confusion_frame",
    "cost",
    "cost_frame",
    "curves",
    "dominance",
    "dominance_frame",
    "edge_weight_frame",
    "evaluation",
    "evaluation_frame",
    "gap",
    "gap_frame",
    "probe",
    "probe_frame",
    "pruning_timeline",
    "pruning_timeline_frame",
    "summary_table",
    "summary_table_frame",
    "support",
    "support_frame",
    "training",
    "training_frame",
    "warm_up",
    "warm_up_frame",
    "weight_evolution",
    "weight_evolution_frame",
]
