"""Figures of a run: `X(run)` draws it, `X_frame(run)` is its table where it is one of its own.

A notebook shows a figure that is the last line of a cell; elsewhere call its `.show()`.
"""

from workbench.plots.alike import agreement, agreement_matrix
from workbench.plots.cells import (
    CellGraph,
    cell_graph,
    cells,
    cells_frame,
    genotype_graph,
    genotype_graph_frame,
)
from workbench.plots.compare import accuracy, accuracy_against_time, accuracy_frame
from workbench.plots.cost import cost, cost_frame
from workbench.plots.decisions import decisions, decisions_frame
from workbench.plots.dominance import dominance, dominance_frame
from workbench.plots.evaluation import confusion_frame, evaluation, evaluation_frame
from workbench.plots.gap import gap, gap_frame
from workbench.plots.genotypes import (
    GenotypeHistory,
    gene_history_frame,
    genotype_difference,
    genotype_difference_frame,
    genotype_history,
    genotype_history_frame,
)
from workbench.plots.gradients import gradients, gradients_frame
from workbench.plots.heat_map import heat_map, heat_map_frame
from workbench.plots.machine import memory_frame, step_time_frame, time_and_memory
from workbench.plots.margins import edge_margins_frame, margins, margins_frame
from workbench.plots.names import IN_GAP, probed
from workbench.plots.overlaid import curves, overlaid, overlaid_frame, retraining
from workbench.plots.probes import probe, probe_frame
from workbench.plots.pruning import alive_frame, pruning_timeline, pruning_timeline_frame
from workbench.plots.scores import scores, scores_frame
from workbench.plots.spaces import space_cell, space_cell_frame
from workbench.plots.summary import SummaryTable, summary_table, summary_table_frame
from workbench.plots.support import support, support_frame
from workbench.plots.training import training, training_frame
from workbench.plots.warm_up import warm_up, warm_up_frame
from workbench.plots.weights import (
    edge_weight_frame,
    weight_evolution,
    weight_evolution_frame,
)

# What one run can be drawn as, and written as: `workbench export` takes all of these.
FIGURES = {
    "weight_evolution": weight_evolution,
    "heat_map": heat_map,
    "dominance": dominance,
    "margins": margins,
    "support": support,
    "decisions": decisions,
    "pruning_timeline": pruning_timeline,
    "training": training,
    "time_and_memory": time_and_memory,
    "cost": cost,
    "gap": gap,
    "gradients": gradients,
    "evaluation": evaluation,
    "warm_up": warm_up,
}
FRAMES = {
    "alive": alive_frame,
    "cells": cells_frame,
    "confusion": confusion_frame,
    "cost": cost_frame,
    "decisions": decisions_frame,
    "dominance": dominance_frame,
    "edge_margins": edge_margins_frame,
    "edge_weight": edge_weight_frame,
    "evaluation": evaluation_frame,
    "gap": gap_frame,
    "gene_history": gene_history_frame,
    "genotype_history": genotype_history_frame,
    "gradients": gradients_frame,
    "heat_map": heat_map_frame,
    "margins": margins_frame,
    "memory": memory_frame,
    "pruning_timeline": pruning_timeline_frame,
    "step_time": step_time_frame,
    "summary_table": summary_table_frame,
    "support": support_frame,
    "training": training_frame,
    "warm_up": warm_up_frame,
    "weight_evolution": weight_evolution_frame,
}

__all__ = [
    "FIGURES",
    "FRAMES",
    "IN_GAP",
    "CellGraph",
    "GenotypeHistory",
    "SummaryTable",
    "accuracy",
    "accuracy_against_time",
    "accuracy_frame",
    "agreement",
    "agreement_matrix",
    "alive_frame",
    "cell_graph",
    "cells",
    "cells_frame",
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
    "gap",
    "gap_frame",
    "gene_history_frame",
    "genotype_difference",
    "genotype_difference_frame",
    "genotype_graph",
    "genotype_graph_frame",
    "genotype_history",
    "genotype_history_frame",
    "gradients",
    "gradients_frame",
    "heat_map",
    "heat_map_frame",
    "margins",
    "margins_frame",
    "memory_frame",
    "overlaid",
    "overlaid_frame",
    "probe",
    "probe_frame",
    "probed",
    "pruning_timeline",
    "pruning_timeline_frame",
    "retraining",
    "scores",
    "scores_frame",
    "space_cell",
    "space_cell_frame",
    "step_time_frame",
    "summary_table",
    "summary_table_frame",
    "support",
    "support_frame",
    "time_and_memory",
    "training",
    "training_frame",
    "warm_up",
    "warm_up_frame",
    "weight_evolution",
    "weight_evolution_frame",
]
