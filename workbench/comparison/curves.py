"""What was measured over the epochs, by method: means over seeds and their deviations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd

from workbench import analysis
from workbench.comparison.labels import grouped, grouped_names
from workbench.comparison.spread import spread
from workbench.trace.runs import Run

COLUMNS = ("method", "progress", "mean", "sd", "runs")


def _led(op: str) -> Callable[[Run], np.ndarray]:
    def share(run: Run) -> np.ndarray:
        frame = analysis.dominance(run, by="all")
        own = frame.loc[frame["op"] == op, "share"].to_numpy(dtype=float)
        return own if len(own) else np.zeros(run.trace.sizes["step"])

    return share


# Of the trace at the ends of epochs: one number per epoch.
MEASURES: Mapping[str, Callable[[Run], np.ndarray]] = {
    "none_share": _led(analysis.NONE),
    "skip_share": _led(analysis.SKIP),
    "entropy": lambda run: analysis.entropy(run).mean("edge").to_numpy(),
    "alive_share": lambda run: analysis.alive_share(run).to_numpy(),
    "margin": lambda run: analysis.margins(run).mean("edge").to_numpy(),
}


def per_epoch(run: Run, what: str) -> np.ndarray:
    """A scalar or measure after every epoch of a run.

    Args:
        run: The run.
        what: A recorded scalar of epochs, such as `loss_train`; or one of `MEASURES`: none_share
            and skip_share (edges led, in [0, 1]), entropy (nats, mean over edges), alive_share (of
            the candidates of the stages so far), margin (first minus second mixing weight, mean
            over edges); all of them after what the epoch's end pruned.

    Returns:
        `(epochs,)`, those that ended, NaN where it was not measured; empty where the run has no
        such thing.
    """
    if what in run.epochs:
        return run.epochs[what].to_numpy(dtype=float)
    if what not in MEASURES or not run.trace.sizes["step"]:
        return np.empty(0)
    return MEASURES[what](run.at_epoch_ends())[: len(run.epochs)]


def curves_frame(runs: Sequence[Run], what: str) -> pd.DataFrame:
    """A scalar or measure of every epoch, by group: its mean over seeds and their deviation.

    Runs of other lengths are interpolated at each other's epochs, as far as they came.

    Args:
        runs: The runs.
        what: See `per_epoch`.

    Returns:
        Columns method (the group of `labels`), progress (share of the epochs done, of an
        unfinished run of those it was to have, in (0, 1]), mean, sd (NaN of one run), runs.
    """
    parts = []
    for name, own in grouped(runs):
        curves = [per_epoch(run, what) for run in own]
        progress, rows = _aligned(
            curves, [_progress(run, len(c)) for run, c in zip(own, curves, strict=True)]
        )
        part = pd.DataFrame(rows, columns=progress).melt(var_name="progress").dropna()
        found = part.groupby("progress")["value"].agg(mean="mean", sd="std", runs="count")
        parts.append(found.reset_index().assign(method=name))
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(parts, ignore_index=True).loc[:, list(COLUMNS)]


def single_curves_frame(runs: Sequence[Run], what: str) -> pd.DataFrame:
    """The curve of every single run.

    Returns:
        Columns method (the group of `labels`), run (of `run_names`), progress, value.
    """
    parts = []
    for group, name, run in grouped_names(runs):
        values = per_epoch(run, what)
        part = {"method": group, "run": name, "progress": _progress(run, len(values))}
        parts.append(pd.DataFrame({**part, "value": values}).dropna())
    columns = ["method", "run", "progress", "value"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def retraining_frame(runs: Sequence[Run], what: str = "accuracy_train") -> pd.DataFrame:
    """A scalar of the evaluation phase, by group and epoch, with both kinds of luck.

    The test split is looked at once, after the last epoch: no scalar is of it.

    Returns:
        Columns method (the group of `labels`), epoch, mean, search_sd and retraining_sd as in
        `spread`, searches, retrainings.
    """
    rows = []
    for name, own in grouped(runs):
        parts = [(index, run.retraining_epochs) for index, run in enumerate(own)]
        known = [part.assign(search=index) for index, part in parts if what in part]
        if not known:
            continue
        frame = pd.concat(known).dropna(subset=[what])
        for epoch, part in frame.groupby("epoch"):
            values = [one[what].tolist() for _, one in part.groupby("search")]
            row = spread(values)._asdict()
            rows.append({"method": name, "epoch": epoch, **row})
    columns = ["method", "epoch", "mean", "search_sd", "retraining_sd", "searches", "retrainings"]
    return pd.DataFrame(rows, columns=columns)


def _progress(run: Run, epochs: int) -> np.ndarray:
    """Share of a run's search that is done after each of its first `epochs`."""
    return np.arange(1, epochs + 1) / max(epochs, 1 if run.status == "finished" else _planned(run))


def _planned(run: Run) -> int:
    """Epochs that a search was to have: of the stages that have begun, and of those after them."""
    begun = [event for event in run.events if event["event"] == "StageStarted"]
    if not begun:
        return 1
    method = run.meta.get("method")
    stages = method.get("stages") if isinstance(method, dict) else None
    later = stages[len(begun) :] if isinstance(stages, list) else []
    told = [str(stage.get("epochs")) for stage in later if isinstance(stage, dict)]
    here = cast("int", begun[-1]["epoch_offset"]) + cast("int", begun[-1]["epochs"])
    return here + sum(int(text) for text in told if text.isdecimal() and len(text) < 9)


def _aligned(
    curves: Sequence[np.ndarray], done: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Where any curve has a value, and `(curves, progress)` of all at it, as far as they come.

    Args:
        done: the progress of each.
    """
    progress = np.unique(np.concatenate([*done, np.empty(0)]))
    rows = np.full((len(curves), len(progress)), np.nan)
    for row, curve, own in zip(rows, curves, done, strict=True):
        if len(curve):
            row[:] = np.interp(progress, own, curve, left=np.nan, right=np.nan)
    return progress, rows
