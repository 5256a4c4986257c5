"""What a live view shows of a run at one moment, read without touching a widget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, cast

import numpy as np
import plotly.graph_objects as go

from workbench import plots
from workbench.plots.cells import CellGraph
from workbench.plots.genotypes import GenotypeHistory
from workbench.plots.summary import duration
from workbench.trace import Run
from workbench.trace.control import silence

if TYPE_CHECKING:
    import xarray as xr

_SILENT = 60  # seconds; a search gives one every 2, unless a step takes longer
_LAST = 200  # steps over which the speed is measured
_FIGURES = ("loss_train", "loss_val", "accuracy_train", "accuracy_val", "score")
_WORDS = {
    "loss_train": "training loss",
    "loss_val": "validation loss",
    "accuracy_train": "training accuracy",
    "accuracy_val": "validation accuracy",
}

# What can be looked at, by its name in the list; None of the settings below matters to most.
VIEWS: Mapping[str, str] = {
    **{name.replace("_", " "): name for name in plots.FIGURES},
    "cells": "cells",
    "genotype history": "genotype_history",
}
PROBE = "probe: "  # in front of the name of what a probe measured
FREE = {"weight_evolution": ("value", "x"), "heat_map": ("value",)}  # settings that a view takes


@dataclass(frozen=True)
class Wanted:
    """What to draw: a view of `VIEWS`, and its settings."""

    view: str = "weight_evolution"
    value: str = "mix"
    x: str = "step"


@dataclass(frozen=True)
class Picture:
    """A figure as the page draws it, or HTML."""

    figure: go.Figure | None = None
    html: str = ""


def picture(run: Run, wanted: Wanted) -> Picture:
    """What is wanted, of a run; a line of text where there is nothing to draw yet."""
    if not run.space:
        return Picture(html="<p>nothing is recorded yet</p>")
    if wanted.view == "cells":
        return Picture(html=_graph(plots.cells(run)))
    if wanted.view == "genotype_history":
        return Picture(html=_graph(plots.genotype_history(run)))
    if wanted.view.startswith(PROBE):
        return Picture(plots.probe(run, wanted.view.removeprefix(PROBE)))
    settings = {name: getattr(wanted, name) for name in FREE.get(wanted.view, ())}
    return Picture(plots.FIGURES[wanted.view](run, **settings))


def probed(run: Run) -> tuple[str, ...]:
    """Views of what probes measured in this run."""
    return tuple(
        f"{PROBE}{name}" for name, values in run.trace.items() if values.attrs.get("probed")
    )


def _graph(graph: CellGraph | GenotypeHistory) -> str:
    bundle = graph._repr_mimebundle_()
    shown = bundle.get("text/html") or bundle.get("image/svg+xml")
    return shown or f"<pre>{escape(bundle['text/plain'])}</pre>"


@dataclass(frozen=True)
class Progress:
    """Where a run is; `share` of its stage's steps, in [0, 1]."""

    share: float
    text: str


def progress(run: Run) -> Progress:
    """Stage, epoch, step, speed, time left, and the latest figures, in one line."""
    stages = [event for event in run.events if event["event"] == "StageStarted"]
    if not stages:
        return Progress(0.0, "no step yet")
    stage, trace = stages[-1], run.trace
    offset, planned = cast("int", stage["step_offset"]), cast("int", stage["steps"])
    done = trace.sizes["step"] - offset
    parts = [f"stage {len(stages)} of {_stages(run)}"] if _stages(run) > 1 else []
    if done:
        epoch = int(trace["epoch"][-1]) - cast("int", stage["epoch_offset"]) + 1
        parts.append(f"epoch {epoch}/{stage['epochs']}")
    parts.append(f"step {done:,}/{planned:,}")
    speed = _speed(trace)
    if speed and run.status == "running":
        parts += [f"{speed:.3g} steps/s", f"{duration((planned - done) / speed)} left"]
    if not run.ended and silence(run.header) > _SILENT:
        parts.append(f"no sign of life for {duration(silence(run.header))}")
    parts += _latest(run)
    return Progress(done / max(planned, 1), " · ".join(parts))


def _stages(run: Run) -> int:
    method = run.meta.get("method")
    stages = method.get("stages") if isinstance(method, dict) else None
    return len(stages) if isinstance(stages, list) else 1


def _speed(trace: xr.Dataset) -> float | None:
    """Steps per second lately; None where there are too few."""
    seconds = trace["seconds"].to_numpy()[-_LAST:]
    steps = np.diff(seconds)
    return 1 / float(np.median(steps)) if len(steps) > 1 and np.median(steps) > 0 else None


def _latest(run: Run) -> list[str]:
    """The last value of what a reader looks at first, and what is alive."""
    found, trace = [], run.trace
    for name in (name for name in _FIGURES if name in trace):
        values = trace[name].to_numpy()
        known = values[np.isfinite(values)]
        if len(known):
            accuracy = name.startswith("accuracy")
            number = f"{100 * known[-1]:.1f} %" if accuracy else f"{known[-1]:.3f}"
            found.append(f"{_WORDS.get(name, name)} {number}")
    batch = "batch" if "loss_train" in trace else "step"  # its own, not the epoch's
    told = [f"latest {batch}: {', '.join(found)}"] if found else []
    if trace.sizes["step"]:
        alive = run.latest["alive"]
        told.append(f"{int(alive.sum())} operations alive on {alive.sizes['edge']} edges")
    return told
