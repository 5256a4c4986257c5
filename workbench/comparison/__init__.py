"""Several recorded searches side by side, without torch: who found what, how good, how alike.

Runs of one method, space, data and settings are seeds of the same thing (`labels`); everything is
by them.
"""

from workbench.comparison.alike import agreement, agreement_frame, pairs_frame, random_genotype
from workbench.comparison.curves import (
    curves_frame,
    per_epoch,
    retraining_frame,
    single_curves_frame,
)
from workbench.comparison.differences import method_differences, mixed_settings, settings_frame
from workbench.comparison.export import markdown, to_latex
from workbench.comparison.labels import Group, grouped, groups_of, labels, run_names
from workbench.comparison.runs import (
    above_the_table,
    accuracies,
    honest_table,
    methods_frame,
    runs_frame,
    trained_accuracy,
)
from workbench.comparison.spread import Spread, spread
from workbench.comparison.table_one import QUANTITIES, table_note, table_one

__all__ = [
    "QUANTITIES",
    "Group",
    "Spread",
    "above_the_table",
    "accuracies",
    "agreement",
    "agreement_frame",
    "curves_frame",
    "grouped",
    "groups_of",
    "honest_table",
    "labels",
    "markdown",
    "method_differences",
    "methods_frame",
    "mixed_settings",
    "pairs_frame",
    "per_epoch",
    "random_genotype",
    "retraining_frame",
    "run_names",
    "runs_frame",
    "settings_frame",
    "single_curves_frame",
    "spread",
    "table_note",
    "table_one",
    "to_latex",
    "trained_accuracy",
]
