"""Figures of a run: `X_frame(run)` is the table, `X(run)` draws it and returns the figure.

A notebook shows a figure that is the last line of a cell; elsewhere call its `.show()`.
"""

from workbench.plots.cells import CellGraph, cell_graph, cells
from workbench.plots.compare import accuracy, accuracy_against_time, accuracy_frame, curves
from workbench.plots.cost import cost, cost_frame
from workbench.plots.decisions import decisions, decisions_frame
from workbench.plots.dominance import dominance, dominance_frame
from workbench.plots.evaluation import confusion_frame, evaluation, evaluation_frame
from workbench.plots.genotypes import (
    GenotypeHistory,
    genotype_difference,
    genotype_difference_frame,
    genotype_history,
    genotype_history_frame,
)
from workbench.plots.heat_map import heat_map, heat_map_frame
from workbench.plots.machine import memory_frame, step_time_frame, time_and_memory
from workbench.plots.margins import edge_margins_frame, margins, margins_frame
from workbench.plots.pruning import alive_frame, pruning_timeline, pruning_timeline_frame
from workbench.plots.scores import scores, scores_frame
from workbench.plots.summary import SummaryTable, summary_table, summary_table_frame
from workbench.plots.support import support, support_frame
from workbench.plots.training import training, training_frame
from workbench.plots.weights import (
    edge_weight_frame,
    weight_evolution,
    weight_evolution_frame,
)

__all__ = [
    "CellGraph",
    "GenotypeHistory",
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
    "decisions",
    "decisions_frame",
    "dominance",
    "dominance_frame",
    "edge_margins_frame",
    "edge_weight_frame",
    "evaluation",
    "evaluation_frame",
    "genotype_difference",
    "genotype_difference_frame",
    "genotype_history",
    "genotype_history_frame",
    "heat_map",
    "heat_map_frame",
    "margins",
    "margins_frame",
    "memory_frame",
    "pruning_timeline",
    "pruning_timeline_frame",
    "scores",
    "scores_frame",
    "step_time_frame",
    "summary_table",
    "summary_table_frame",
    "support",
    "support_frame",
    "time_and_memory",
    "training",
    "training_frame",
    "weight_evolution",
    "weight_evolution_frame",
]
