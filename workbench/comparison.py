"""Several recorded searches side by side, without torch: who found what, how good, how alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import cast

import numpy as np
import pandas as pd

from workbench.analysis import summary
from workbench.spaces.genotype import Genotype
from workbench.tables import DATASETS, Dataset, provenance
from workbench.trace.runs import Run

ABOVE = " (retrained: above NAS-Bench-201's table)"

COLUMNS = (
    "run", "method", "seed", "space", "data", "status", "epochs", "seconds", "none_share",
    "skip_share", "alive_per_edge", "parameters", "macs", "test_accuracy", "genotype",
)  # fmt: skip
_MEASURED = (
    "test_accuracy", "parameters", "macs", "seconds", "none_share", "skip_share", "alive_per_edge"
)  # fmt: skip


def runs_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run.

    Returns:
        Columns run (the folder's name), method, seed, space, data, status, epochs, seconds (of the
        search), none_share and skip_share (of the edges, led by it at the end), alive_per_edge,
        parameters and macs (of the evaluated network), test_accuracy in [0, 1], genotype (text).
    """
    rows = []
    for run in runs:
        seed = run.meta.get("seed")
        rows.append({**summary(run), "run": run.path.name, "seed": seed})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def methods_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per method: mean and standard deviation over its runs, and how alike they are.

    Returns:
        Columns method, runs; of every measured column of `runs_frame` its mean and, with `_sd`
        behind, its standard deviation (NaN of one run: it is over searches, each evaluated once);
        `same_genes` and `same_edges`, see `agreement`.
    """
    frame, rows = runs_frame(runs), []
    for method, part in frame.groupby("method", sort=False):
        values = part.loc[:, list(_MEASURED)].astype("float64")
        row: dict[str, object] = {"method": method, "runs": len(part)}
        for name in _MEASURED:
            row[name] = float(values[name].mean())
            row[f"{name}_sd"] = float(values[name].std(ddof=1))
        found = [run.genotype for run in (runs[index] for index in part.index)]
        rows.append({**row, **agreement([genotype for genotype in found if genotype])})
    names = [column for name in _MEASURED for column in (name, f"{name}_sd")]
    return pd.DataFrame(rows, columns=["method", "runs", *names, "same_genes", "same_edges"])


def agreement(genotypes: Sequence[Genotype]) -> dict[str, float]:
    """How alike genotypes are: what two share, of what either has, on the mean over all pairs.

    |A ∩ B| / |A ∪ B|

    Returns:
        `same_genes` counts operation and edge, `same_edges` the edge alone; 1 where all are the
        same, NaN of fewer than two.
    """
    return {
        "same_genes": _overlap([_genes(genotype) for genotype in genotypes]),
        "same_edges": _overlap([{gene[:3] for gene in _genes(genotype)} for genotype in genotypes]),
    }


def settings_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """The settings in which runs differ: one row per run, one column per setting.

    Returns:
        Column run, then every setting of the command line that is not the same in all runs.
    """
    rows = []
    for run in runs:
        config = run.meta.get("config")
        known = cast("Mapping[str, object]", config) if isinstance(config, dict) else {}
        rows.append({"run": run.path.name, **{k: v for k, v in known.items() if k != "out"}})
    frame = pd.DataFrame(rows)
    texts = {str(name): set(frame[name].astype(str).tolist()) for name in frame.columns}
    differ = [name for name, values in texts.items() if name == "run" or len(values) > 1]
    return frame.loc[:, differ]


def curves_frame(runs: Sequence[Run], scalar: str) -> pd.DataFrame:
    """A scalar of every epoch, by method: its mean over seeds and their standard deviation.

    Returns:
        Columns method, progress (share of the run's epochs done, in (0, 1]), mean, sd, runs.
    """
    parts = []
    for run in runs:
        if scalar in run.epochs:
            values = run.epochs[scalar].to_numpy(dtype=float)
            done = np.arange(1, len(values) + 1) / max(len(values), 1)
            part = {"method": run.named("method"), "progress": done, "value": values}
            parts.append(pd.DataFrame(part))
    if not parts:
        return pd.DataFrame(columns=["method", "progress", "mean", "sd", "runs"])
    frame = pd.concat(parts).dropna()
    grouped = frame.groupby(["method", "progress"], sort=False)["value"]
    found = grouped.agg(mean="mean", sd="std", runs="count")
    return found.reset_index().sort_values(["method", "progress"], ignore_index=True)


def markdown(frame: pd.DataFrame) -> str:
    """A table as Markdown, its values as they print."""
    head = [str(name) for name in frame.columns]
    rows = [[str(value) for value in row] for row in frame.itertuples(index=False)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def honest_table(runs: Sequence[Run]) -> pd.DataFrame:
    """`methods_frame` as people read it: mean ± standard deviation with units, best first.

    Returns:
        Columns of texts: method, runs, test accuracy (%), parameters (k), search (s), none leads
        (% of edges), skip leads (% of edges), same genes (%), same edges (%).  An accuracy above
        the best of NAS-Bench-201's table says so.
    """
    frame = methods_frame(runs).sort_values("test_accuracy", ascending=False, ignore_index=True)
    above = {run.named("method") for run in runs if above_the_table(run)}
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


def _genes(genotype: Genotype) -> set[tuple[str, int, int, str]]:
    """Every gene as (kind, source, node, operation)."""
    return {
        (cell.kind, gene.src, gene.dst, gene.op) for cell in genotype.cells for gene in cell.genes
    }


def _overlap(sets: Sequence[Iterable[object]]) -> float:
    pairs = [(set(a), set(b)) for a, b in combinations(sets, 2)]
    return fmean(len(a & b) / max(len(a | b), 1) for a, b in pairs) if pairs else float("nan")
