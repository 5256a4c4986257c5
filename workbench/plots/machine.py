"""What the search asks of the machine: time per step and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots import theme

if TYPE_CHECKING:
    from workbench.trace.runs import Run

STRETCHES = 100
MIB = 2**20


def step_time_frame(run: Run, *, stretches: int = STRETCHES) -> pd.DataFrame:
    """One row per stretch of steps: what a step of it took.

    A step's time is from the end of the step before to its own end.  Left out is the first step of
    an epoch, which has the end of the last epoch in it.  Where all epochs have one step, as those
    that score operations, it is that of the epoch, with what came behind the step.

    Args:
        stretches: At most so many; every step is one of its own if there are no more.

    Returns:
        Columns `first`, `last` (steps of the stretch), `step` (the one in its middle), `epoch` (of
        that step), `seconds` (median time per step), `low`, `high` (its quartiles), in seconds.
    """
    trace = run.trace
    steps, epochs = np.asarray(trace["step"].values), np.asarray(trace["epoch"].values)
    if _single_steps(run):
        own = run.epochs.set_index("epoch")["seconds"].reindex(epochs)
        taken, first = own.to_numpy(dtype=np.float64), np.zeros(len(epochs), dtype=bool)
    else:
        taken = np.diff(np.asarray(trace["seconds"].values, dtype=np.float64), prepend=np.nan)
        first = np.diff(epochs, prepend=-1) != 0
    known = np.flatnonzero(np.isfinite(taken) & ~first)
    rows = []
    for part in np.array_split(known, min(stretches, len(known)) or 1):
        if len(part):
            low, median, high = np.quantile(taken[part], [0.25, 0.5, 0.75])
            middle = part[len(part) // 2]
            ends = steps[part[0]], steps[part[-1]]
            rows.append((*ends, steps[middle], epochs[middle], median, low, high))
    columns = ["first", "last", "step", "epoch", "seconds", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def step_time_title(run: Run) -> str:
    """What `step_time_frame` of a run is, with its unit, in milliseconds."""
    return "Time per epoch<br>of one step (ms)" if _single_steps(run) else "Time per step (ms)"


def _single_steps(run: Run) -> bool:
    """Have all epochs so far one step?"""
    return len(run.epochs) > 0 and len(run.trace.indexes["step"]) == len(
        np.unique(run.trace["epoch"].values)
    )


def memory_frame(run: Run, *, stretches: int = STRETCHES) -> pd.DataFrame:
    """One row per stretch of steps: how much memory they took.

    Args:
        stretches: At most so many; every step is one of its own if there are no more.

    Returns:
        Columns `first`, `last` (steps of the stretch), `step` (the one that took most), `epoch` (of
        that step), `memory` in MiB, the most of any step: of the whole process on a CPU, the peak
        of tensors so far on a GPU.  Of a run that noted it at epochs' ends only, those steps.
    """
    trace = run.trace
    steps, epochs = np.asarray(trace["step"].values), np.asarray(trace["epoch"].values)
    if "memory" in trace.coords:
        taken = np.asarray(trace["memory"].values, dtype=np.float64) / MIB
    else:
        noted = run.epochs.loc[:, ["epoch", "step", "memory"]].dropna().astype(float)
        steps, epochs = (noted[name].to_numpy(np.int64) for name in ("step", "epoch"))
        taken = noted["memory"].to_numpy() / MIB
    known = np.flatnonzero(np.isfinite(taken))
    rows = []
    for part in np.array_split(known, min(stretches, len(known)) or 1):
        if len(part):
            most = part[taken[part].argmax()]
            rows.append(
                (steps[part[0]], steps[part[-1]], steps[most], epochs[most], taken[part].max())
            )
    return pd.DataFrame(rows, columns=["first", "last", "step", "epoch", "memory"])


def time_and_memory(run: Run) -> go.Figure:
    """Along the search: left, the median time of a step; right, the memory it took."""
    times, memory = step_time_frame(run), memory_frame(run)
    fig = make_subplots(rows=1, cols=2, horizontal_spacing=0.11)
    for trace in step_time_lines(times):
        fig.add_trace(trace, row=1, col=1)
    fig.add_scatter(
        x=memory["step"].to_numpy(),
        y=memory["memory"].to_numpy(),
        customdata=memory[["epoch"]].to_numpy(),
        mode="lines",
        line={"color": theme.series(1), "width": 2},
        hovertemplate="%{y:,.0f} MiB in step %{x:,} (epoch %{customdata[0]})<extra></extra>",
        row=1,
        col=2,
    )
    titles = (step_time_title(run), "Memory (MiB)")
    for col, (frame, title) in enumerate(zip((times, memory), titles, strict=True), 1):
        fig.update_yaxes(title=title, rangemode="tozero", row=1, col=col)
        fig.update_xaxes(title="Step", row=1, col=col)
        if frame.empty:
            theme.note(fig, "Not recorded", row=1, col=col)
    theme.styled(
        fig,
        title="Time and memory",
        subtitle="time: median of a stretch and its quartiles; memory: the most in it",
        height=360,
    )
    return fig.update_layout(showlegend=False)


def step_time_lines(frame: pd.DataFrame) -> list[go.Scatter]:
    """The band and the median of `step_time_frame` in milliseconds."""
    steps = frame["step"].to_numpy()
    low, high, median = (
        1000 * frame[name].to_numpy(dtype=np.float64) for name in ("low", "high", "seconds")
    )
    edge = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    fill = theme.faded(theme.series(0), 0.16)
    return [
        go.Scatter(x=steps, y=low, **edge),
        go.Scatter(x=steps, y=high, fill="tonexty", fillcolor=fill, **edge),
        go.Scatter(
            x=steps,
            y=median,
            customdata=frame[["first", "last"]].to_numpy(),
            mode="lines",
            line={"color": theme.series(0), "width": 2},
            showlegend=False,
            hovertemplate="%{y:.3g} ms a step, median of steps %{customdata[0]:,} to "
            "%{customdata[1]:,}<extra></extra>",
        ),
    ]
