"""What the genotype would cost, and what a step of the search costs while operations go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots import theme
from workbench.trace.latest import candidates_so_far

if TYPE_CHECKING:
    from workbench.trace.runs import Run

PANELS = {
    "parameters": "Parameters",
    "alive_share": "Operations alive (%)",
    "macs": "Multiply-adds",
    "step_seconds": "Epoch's time per step (ms)",
}


def cost_frame(run: Run) -> pd.DataFrame:
    """One row per epoch.

    Returns:
        Columns `epoch`, `parameters` and `macs` of the network that would be derived, `alive`
        operations, `alive_share` of the candidates of all stages so far, and `step_seconds`, the
        epoch's time, with what comes behind its last step, per step (NaN where the epoch's steps
        were not recorded).
    """
    epochs = run.epochs
    steps = pd.Series(run.trace["epoch"].values).value_counts()
    epoch, alive = epochs["epoch"].to_numpy(), epochs["alive"].to_numpy(dtype=float)
    begun = candidates_so_far(run).sum(["edge", "op"])
    candidates = begun.sel(stage=epochs["stage"].to_numpy(dtype=np.int64)).to_numpy()
    return pd.DataFrame(
        {
            "epoch": epoch,
            "parameters": epochs["parameters"].to_numpy(dtype=float),
            "macs": epochs["macs"].to_numpy(dtype=float),
            "alive": alive,
            "alive_share": alive / np.maximum(candidates, 1),
            "step_seconds": epochs["seconds"].to_numpy(dtype=float)
            / steps.reindex(epoch).to_numpy(),
        }
    )


def cost(run: Run) -> go.Figure:
    """Left, parameters and multiply-adds of the genotype; right, what is alive and a step takes."""
    frame = cost_frame(run)
    frame["step_seconds"] *= 1000
    frame["alive_share"] *= 100
    fig = make_subplots(
        rows=2,
        cols=2,
        shared_xaxes=True,
        column_titles=["the network that would be derived", "the search itself"],
        horizontal_spacing=0.11,
        vertical_spacing=0.1,
    )
    for index, (column, title) in enumerate(PANELS.items()):
        row, col = index // 2 + 1, index % 2 + 1
        known = frame.dropna(subset=[column])
        if known.empty:
            theme.note(fig, "Not recorded", row=row, col=col)
            continue
        fig.add_trace(_line(known, column, title), row=row, col=col)
        fig.update_yaxes(title=title, rangemode="tozero", row=row, col=col)
    fig.update_xaxes(dtick=theme.epoch_tick(len(set(frame["epoch"]))))
    fig.update_xaxes(title="Epoch", row=2)
    fig.update_annotations(font={"size": 13})
    slow, top = _slow_start(frame["step_seconds"].to_numpy(), run.epochs["stage"].to_numpy())
    if slow:
        fig.update_yaxes(range=[0, top], row=2, col=2)
    theme.styled(fig, title="Cost per epoch", subtitle=slow, height=500)
    return fig.update_layout(showlegend=False, margin={"t": 104 if slow else 88})


def _slow_start(milliseconds: np.ndarray, stages: np.ndarray) -> tuple[str, float]:
    """What to say of a first epoch that would flatten the others, and where the axis ends then.

    On a fresh machine kernels are compiled in the first steps, which can take a minute; what took
    the time is not recorded.  An epoch that is a stage of its own is another kind of work, such as
    a warm-up, and stays on the axis.
    """
    known = np.isfinite(milliseconds)
    times, own = milliseconds[known].tolist(), stages[known].tolist()
    if len(times) < 2 or own[0] not in own[1:] or times[0] < 5 * max(times[1:]):
        return "", 0.0
    return f"the first epoch took {times[0]:,.0f} ms a step, above the axis", 1.25 * max(times[1:])


def _line(frame: pd.DataFrame, column: str, title: str) -> go.Scatter:
    of_search = column in ("alive_share", "step_seconds")
    value = {"step_seconds": "%{y:.3g} ms", "alive_share": "%{y:.0f} % of operations alive"}
    return go.Scatter(
        x=frame["epoch"].to_numpy(),
        y=frame[column].to_numpy(),
        name=title,
        mode="lines+markers",
        line={"color": theme.series(int(of_search)), "width": 2},
        marker={"size": 5},
        hovertemplate=value.get(column, "%{y:,}") + " in epoch %{x}<extra></extra>",
    )
