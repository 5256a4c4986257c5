"""When every operation was pruned, how many were left, and what a step took then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots import theme
from workbench.plots.machine import step_time_frame, step_time_lines, step_time_title
from workbench.plots.names import as_text
from workbench.trace.latest import LEFT_OUT, left_out, settled

if TYPE_CHECKING:
    from workbench.trace.runs import Run

ENTRY = 20  # pixels of an operation in the legend, which ends above that of the cells
HOVER = (
    "<b>%{fullData.name}</b> pruned from %{customdata[0]}<br>step %{x:,}, epoch %{customdata[1]}"
    "<br>weight before: %{customdata[2]}<br>%{customdata[3]}<extra></extra>"
)


def pruning_timeline_frame(run: Run) -> pd.DataFrame:
    """One row per operation that was pruned or that a new stage left out, in the order they went.

    Returns:
        Columns `step` (of what is left out: the new stage's first), `epoch`, `stage`, `edge`, `op`,
        `weight` (the last mixing weight), `reason`, and `left`, how many operations of that edge
        were left after it, those among them that the stage brought along.
    """
    parts = [part for part in (left_out(run), run.prunings) if len(part)] or [run.prunings]
    frame = pd.concat(parts).sort_values("step", kind="stable", ignore_index=True)
    places = ["stage", "edge"]
    gone = frame.groupby(places, sort=False).cumcount() + 1
    had = run.starts["alive"].sum("op").to_series()  # by stage and edge
    had = had.add(frame[frame["reason"] == LEFT_OUT].groupby(places).size(), fill_value=0)
    before = had.reindex(pd.MultiIndex.from_arrays([frame[name] for name in places])).to_numpy()
    return frame.assign(left=(before - gone.to_numpy()).astype(int))


def alive_frame(run: Run) -> pd.DataFrame:
    """How many operations are alive after each step, per kind of cell and in all.

    Returns:
        Columns `step`, `kind` ("all" included), `alive`, without what was pruned behind the step.
        Where a stage has just begun, a row more says what is alive then.
    """
    trace = settled(run)
    kinds = [str(kind) for kind in trace["kind"].values]
    counts = np.asarray(trace["alive"].sum("op").values)  # (steps, edges)
    steps = np.asarray(trace["step"].values)
    now = run.latest["alive"].sum("op").to_numpy()
    if len(steps) and (counts[-1] != now).any():
        steps = np.append(steps, int(run.starts["step"][-1]))
        counts = np.vstack([counts, now])
    per_kind = {k: counts[:, [k == other for other in kinds]] for k in dict.fromkeys(kinds)}
    parts = {**per_kind, "all": counts} if len(per_kind) > 1 else per_kind
    return pd.concat(
        [
            pd.DataFrame({"step": steps, "kind": kind, "alive": part.sum(axis=1).astype(int)})
            for kind, part in parts.items()
        ],
        ignore_index=True,
    )


def pruning_timeline(run: Run) -> go.Figure:
    """A mark where an operation went; below, what is alive and what a step takes.

    An operation goes when it is pruned, or when a new stage leaves it out.  The time per step is
    the median of a stretch of steps, in a band of its quartiles; see `step_time_frame`.
    """
    edges = [str(edge) for edge in run.trace["edge"].values]
    frame = pruning_timeline_frame(run)
    marks = dict(theme.groups(frame, "op"))
    upper = max(_row_height(frame) * len(edges), ENTRY * len(marks)) if len(frame) else 60
    fig = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=30 / (upper + 380),
        row_heights=[upper, 140, 140],
    )
    ops = [str(op) for op in run.trace["op"].values]
    for op in [op for op in ops if (op,) in marks]:
        fig.add_trace(_marks(marks[op,], edges, ops), row=1, col=1)
    for index, ((kind,), part) in enumerate(theme.groups(alive_frame(run), "kind")):
        fig.add_trace(_alive_line(kind, part, index), row=2, col=1)
    fig.update_yaxes(
        tickvals=list(range(len(edges))),
        ticktext=edges,
        range=[len(edges) - 0.4, -0.6],
        row=1,
        col=1,
    )
    fig.update_yaxes(title="Operations alive", rangemode="tozero", row=2, col=1)
    for trace in step_time_lines(step_time_frame(run)):
        fig.add_trace(trace, row=3, col=1)
    fig.update_yaxes(title=step_time_title(run), rangemode="tozero", row=3, col=1)
    fig.update_xaxes(title="Step", row=3, col=1)
    theme.styled(fig, title="Pruning timeline", subtitle=_total(frame), height=upper + 480)
    below = cast("Any", fig.get_subplot(2, 1)).yaxis.domain[1]
    fig.update_layout(legend2={"y": below, "yanchor": "top", "x": 1.02})
    return fig if len(frame) else theme.note(fig, "Nothing was pruned in this run", row=1, col=1)


def _row_height(frame: pd.DataFrame) -> int:
    """Pixels of an edge: more where many of its operations went at once, and marks would hide."""
    at_once = int(frame.groupby(["edge", "step"]).size().to_numpy().max())
    return 17 + 3 * (min(at_once, 8) - 1)


def _total(frame: pd.DataFrame) -> str:
    """How many went, and by whom."""
    left = int((frame["reason"] == LEFT_OUT).to_numpy().sum())
    words = {"pruned": len(frame) - left, "left out by a new stage": left}
    said = [f"{count} {word}" for word, count in words.items() if count]
    return f"operations gone: {', '.join(said)}" if said else "nothing was pruned"


def _marks(frame: pd.DataFrame, edges: list[str], ops: list[str]) -> go.Scatter:
    """The marks of one operation, each a little off its edge's line so that none hides another."""
    op = str(frame["op"].iloc[0])
    shift = 0.7 * ((ops.index(op) + 0.5) / len(ops) - 0.5)
    reasons = frame["reason"].map(as_text)
    weights = ["not recorded" if pd.isna(weight) else f"{weight:.4g}" for weight in frame["weight"]]
    return go.Scatter(
        x=frame["step"].to_numpy(),
        y=np.array([edges.index(edge) + shift for edge in frame["edge"]]),
        customdata=np.array([frame["edge"], frame["epoch"], weights, reasons]).T,
        mode="markers",
        name=op,
        legendgroup=op,
        marker={"color": theme.colour(op), "size": 8, "symbol": theme.symbol(op)},
        hovertemplate=HOVER,
    )


def _alive_line(kind: str, frame: pd.DataFrame, index: int) -> go.Scatter:
    steps, alive = frame["step"].to_numpy(), frame["alive"].to_numpy()
    kept = np.flatnonzero(np.append(True, np.diff(alive) != 0))  # a staircase needs its steps only
    kept = np.union1d(kept, len(alive) - 1) if len(alive) else kept[:0]
    look = {"color": theme.series(index), "dash": theme.series_dash(index)}
    if kind == "all":
        look = {"color": theme.INK["both"], "dash": "solid"}
    return go.Scatter(
        x=steps[kept],
        y=alive[kept],
        name="all cells" if kind == "all" else theme.cell_name(kind),
        legend="legend2",
        mode="lines",
        line={"shape": "hv", **look},
        hovertemplate="%{y} operations alive after step %{x:,}<extra>%{fullData.name}</extra>",
    )
