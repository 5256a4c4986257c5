"""Several recorded searches side by side: a row per run, a row per method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbench.analysis import summary
from workbench.comparison.alike import agreement
from workbench.comparison.labels import grouped, labels, run_names
from workbench.comparison.recorded import recipe_of
from workbench.comparison.spread import spread
from workbench.tables import DATASETS, Dataset, provenance
from workbench.trace.runs import Run

ABOVE = " (retrained: above NAS-Bench-201's table)"

COLUMNS = (
    "run", "method", "seed", "space", "data", "status", "epochs", "seconds", "device", "none_share",
    "skip_share", "alive_per_edge", "parameters", "macs", "test_accuracy", "retrainings",
    "accuracy_retraining_sd", "recipe", "genotype",
)  # fmt: skip
_MEASURED = ("parameters", "macs", "seconds", "none_share", "skip_share", "alive_per_edge")


def accuracies(run: Run) -> list[float]:
    """The test accuracy, in [0, 1], of every training of what a run found, by seed."""
    return [float(str(evaluation["test_accuracy"])) for evaluation in run.evaluations]


def device(run: Run) -> str:
    """What a run searched on, such as `cpu` or `cuda`; "unknown device" if it is not recorded."""
    machine = run.meta.get("machine")
    return str(machine.get("device")) if isinstance(machine, dict) else "unknown device"


def runs_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run.

    Returns:
        Columns run (of `run_names`), method, seed, space, data, status, epochs, seconds (of the
        search) on `device`, none_share and skip_share (of the edges, led by it at the end),
        alive_per_edge, parameters and macs (of the evaluated network; where retrainings is 0, of
        the network last derived, at the search's size), test_accuracy in [0, 1] (mean over the
        trainings of what it found), retrainings (their number), accuracy_retraining_sd (NaN of
        fewer than two), recipe (of these trainings, without seed and machine), genotype (text).
    """
    rows = []
    for name, run in zip(run_names(runs), runs, strict=True):
        found = spread([accuracies(run)])
        own = {"run": name, "seed": run.meta.get("seed"), "device": device(run)}
        accuracy = {"test_accuracy": found.mean, "retrainings": found.retrainings}
        accuracy["accuracy_retraining_sd"] = found.retraining_sd
        own["recipe"] = ", ".join(f"{n} {value}" for n, value in recipe_of(run).items()) or None
        rows.append({**summary(run), **own, **accuracy})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def methods_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per method, its settings, space and data: means over its runs, deviations, agreement.

    Returns:
        Columns method (the group of `labels`), runs; test_accuracy (mean over searches, of each
        the mean over its retrainings), accuracy_search_sd, accuracy_retraining_sd and
        accuracy_own_variance of the searches alone, see `spread`; searches (the evaluated ones),
        retrainings (of all of them); of every other measured column of `runs_frame` its mean and,
        with `_sd` behind, its standard deviation over runs (NaN of one), parameters and macs of the
        evaluated networks alone, where there is one; `same_genes` and `same_edges`, see
        `agreement`: NaN where no two genotypes can be compared.
    """
    frame, rows = runs_frame(runs).assign(group=labels(runs)), []
    for name, own in grouped(runs):
        part = frame.loc[frame["group"] == name]
        values = part.loc[:, list(_MEASURED)].astype("float64")
        if part["retrainings"].any():
            values.loc[part["retrainings"] == 0, ["parameters", "macs"]] = np.nan
        found = spread([accuracies(run) for run in own])
        row: dict[str, object] = {"method": name, "runs": len(own)}
        row |= dict(zip(_ACCURACY, found, strict=True))
        for column in _MEASURED:
            row[column] = float(values[column].mean())
            row[f"{column}_sd"] = float(values[column].std(ddof=1))
        genotypes = [run.genotype for run in own if run.genotype]
        rows.append({**row, **agreement(genotypes)})
    names = [column for name in _MEASURED for column in (name, f"{name}_sd")]
    columns = ["method", "runs", *_ACCURACY, *names, "same_genes", "same_edges"]
    return pd.DataFrame(rows, columns=columns)


_ACCURACY = (
    "test_accuracy", "accuracy_search_sd", "accuracy_retraining_sd", "accuracy_own_variance",
    "searches", "retrainings",
)  # fmt: skip


def honest_table(runs: Sequence[Run]) -> pd.DataFrame:
    """`methods_frame` as people read it: mean ± standard deviation with units, best first.

    Returns:
        Columns of texts: method, runs, test accuracy (%) ± sd over searches, retraining sd (%),
        parameters (k), search (s), none leads (% of edges), skip leads (% of edges), same genes
        (%), same edges (%).  Parameters are of the evaluated networks, of a method without one of
        the networks last derived, at the search's size.  An accuracy above the best of
        NAS-Bench-201's table says so.
    """
    frame = methods_frame(runs).sort_values("test_accuracy", ascending=False, ignore_index=True)
    frame = frame.assign(test_accuracy_sd=frame["accuracy_search_sd"])
    above = {name for name, run in zip(labels(runs), runs, strict=True) if above_the_table(run)}
    return pd.DataFrame(
        {
            "method": frame["method"],
            "runs": frame["runs"],
            "test accuracy (%)": [
                text + (ABOVE if method in above else "")
                for text, method in zip(
                    _with_sd(frame, "test_accuracy", 100, 2), frame["method"], strict=True
                )
            ],
            "retraining sd (%)": [_text(100 * sd, 2) for sd in frame["accuracy_retraining_sd"]],
            "parameters (k)": _with_sd(frame, "parameters", 1e-3, 1),
            "search (s)": _with_sd(frame, "seconds", 1, 1),
            "none leads (% of edges)": _with_sd(frame, "none_share", 100, 1),
            "skip leads (% of edges)": _with_sd(frame, "skip_share", 100, 1),
            "same genes (%)": [_text(100 * value, 0) for value in frame["same_genes"]],
            "same edges (%)": [_text(100 * value, 0) for value in frame["same_edges"]],
        }
    )


def trained_accuracy(run: Run) -> tuple[Dataset, float] | None:
    """The tabled data set a run was evaluated on, and its own test accuracy in percent.

    None where it was not evaluated, or on other images.
    """
    name = run.named("data")
    if run.evaluation is None or name not in DATASETS:
        return None
    return name, 100 * float(str(run.evaluation["test_accuracy"]))


def above_the_table(run: Run) -> bool:
    """Has a NAS-Bench-201 cell reached more than any in the published table?

    It was then trained under another recipe than the table's, and cannot stand beside figures that
    were looked up.
    """
    own = trained_accuracy(run)
    if own is None or run.genotype is None or not run.genotype.is_nasbench201:
        return False
    return provenance(*own) == "retrained, not looked up"


def _with_sd(frame: pd.DataFrame, name: str, unit: float, digits: int) -> list[str]:
    pairs = zip(frame[name] * unit, frame[f"{name}_sd"] * unit, strict=True)
    return [
        _text(mean, digits) if np.isnan(sd) else f"{_text(mean, digits)} ± {sd:.{digits}f}"
        for mean, sd in pairs
    ]


def _text(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:,.{digits}f}"
