"""Do `none` and `skip_connect` take over?  Which operations lead the edges, and how heavily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench import analysis
from workbench.plots import moments, theme

if TYPE_CHECKING:
    from workbench.trace.runs import Run

IDLE = ("none", "skip_connect")  # operations that learn nothing
HATCH = "rgba(255,255,255,0.6)"  # of patterns: lighter than every colour
ACROSS = 4  # kinds of cells beside each other


def dominance_frame(run: Run) -> pd.DataFrame:
    """One row per step, kind of cell and operation, `none` and `skip_connect` first.

    Returns:
        Columns `step`, `epoch`, `kind`, `op`, `share` (percent of the edges it leads) and
        `mean_weight` (its mean mixing weight over the edges of which it is a candidate).
    """
    frame = analysis.dominance(run)
    ops = [str(op) for op in run.trace["op"].values]
    order = [op for op in IDLE if op in ops] + [op for op in ops if op not in IDLE]
    frame = frame.assign(share=100 * frame["share"], op=pd.Categorical(frame["op"], order))
    return frame.sort_values(["kind", "op", "step"], kind="stable", ignore_index=True)


def dominance(run: Run) -> go.Figure:
    """Share of edges each operation leads, stacked; below, its mean mixing weight.

    The mean is over the edges of which it is a candidate, or was in a stage before.

    Kinds of cells stand side by side, four in a row.
    """
    frame = dominance_frame(run)
    kinds = list(dict.fromkeys(str(kind) for kind in run.trace["kind"].values))
    fig = _panels(kinds)
    for (kind, op), part in theme.groups(frame, "kind", "op"):
        down, right = divmod(kinds.index(kind), ACROSS)
        for half, line in enumerate(_lines(op, part, first=kind == kinds[0]), start=1):
            fig.add_trace(line, row=2 * down + half, col=right + 1)
    weights = frame["mean_weight"].to_numpy(dtype=float)
    known = weights[np.isfinite(weights)].tolist()
    low, top = moments.bottom(weights), max(known, default=1.0)
    room = 0.06 * (top - low)
    blocks = _blocks(kinds)
    for row in range(1, 2 * blocks, 2):
        fig.update_yaxes(title="Edges led (%)", row=row, col=1)
        fig.update_yaxes(range=[0, 100], row=row)
        fig.update_yaxes(title="Mean mixing weight<br>where a candidate", row=row + 1, col=1)
        # plotly finds no range beside stacked panels
        fig.update_yaxes(range=[low - room if low else 0, top + room], row=row + 1)
    fig.update_xaxes(title="Step", row=2 * blocks)
    fig.update_annotations(font={"size": 13})
    height = 110 + 410 * blocks
    verdict = _verdict(run)
    theme.styled(fig, title="Which operations lead", subtitle=verdict, height=height)
    fig.update_layout(hovermode="closest", margin={"t": 120 if "<br>" in verdict else 104})
    return fig if len(frame) else theme.note(fig, "Nothing recorded yet")


def _blocks(kinds: list[str]) -> int:
    return max(-(-len(kinds) // ACROSS), 1)


def _panels(kinds: list[str]) -> go.Figure:
    """Two panels below each other for every kind of cell."""
    blocks, across = _blocks(kinds), min(max(len(kinds), 1), ACROSS)
    titles = [theme.cell_name(kind) for kind in kinds]
    rows = [titles[ACROSS * block : ACROSS * (block + 1)] for block in range(blocks)]
    last = [{}] * (len(rows[-1]) or 1) + [None] * (across - (len(rows[-1]) or 1))
    return make_subplots(
        rows=2 * blocks,
        cols=across,
        shared_xaxes="all",  # pyright: ignore[reportArgumentType]
        shared_yaxes="rows",  # pyright: ignore[reportArgumentType]
        specs=[[{}] * across] * (2 * blocks - 2) + [last] * 2,
        subplot_titles=[title for row in rows for title in (*row, *[""] * len(row))],
        horizontal_spacing=0.04,
        vertical_spacing=0.08 / blocks,
    )


def _verdict(run: Run) -> str:
    """In words; of all cells together where there are more kinds than a line has room for."""
    ends = analysis.none_and_skip(run).set_index("kind")
    kinds = [str(kind) for kind in ends.index if kind != "all"]
    parts = [
        f"{'all cells' if kind == 'all' else theme.cell_name(str(kind))}: none leads "
        f"{100 * row['none_share']:.0f} %, skip_connect {100 * row['skip_share']:.0f} % of edges"
        for kind, row in ends.iterrows()
        if (kind == "all") == (len(kinds) > 2)
    ]
    kinds_told = len(parts)
    if tied := 100 * float(ends.loc["all", "tied_share"]):
        parts.append(f"all weights are equal on {tied:.0f} % of edges: nobody leads them")
    method = run.meta.get("method")
    if isinstance(method, Mapping) and "proposal" in method:  # a walk
        parts.append("an edge that the best genotype leaves out counts as none's")
    late = run.trace.sizes["step"] - 1 in run.prunings["step"].to_numpy()
    end = f"at the end{', its prunings included' if late else ''}, " + "; ".join(parts[:kinds_told])
    return "<br>".join([end, "; ".join(parts[kinds_told:])]).removesuffix("<br>")


def _lines(op: str, part: pd.DataFrame, *, first: bool) -> list[go.Scatter]:
    """The area of the upper panel and the line of the lower one; a hatched area is the legend's."""
    steps, shares = part["step"].to_numpy(), part["share"].to_numpy(np.float32)
    weights = part["mean_weight"].to_numpy(np.float32)
    # areas stack only over common steps, so they are thinned alike and not each for itself
    even = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 2 * theme.POINTS)).astype(int))
    kept = theme.thin(steps, weights, 2 * theme.POINTS)
    line = {"color": theme.colour(op), "dash": theme.dash(op)}
    fill, hatched = theme.faded(theme.colour(op), 0.75), bool(theme.pattern(op))
    hatch = {"shape": theme.pattern(op), "bgcolor": fill, "fgcolor": HATCH, "size": 7}
    edge = {"width": 1.4} if hatched else {"width": 0.6, "dash": "solid"}
    shared = {"name": op, "legendgroup": op, "mode": "lines"}
    area = go.Scatter(
        x=np.append(steps[even], steps[-1:] + 1),  # until the next step would come
        y=np.append(shares[even], shares[-1:]),
        customdata=np.append(steps[even], steps[-1:]),
        stackgroup="share",
        line={**line, **edge, "shape": "hv"},
        fillcolor=fill,
        fillpattern={**hatch, "solidity": 0.2} if hatched else None,
        showlegend=first and hatched,
        hovertemplate="%{y:.0f} % of edges at step %{customdata:,}<extra>%{fullData.name}</extra>",
        **shared,
    )
    mean = go.Scatter(
        x=steps[kept],
        y=weights[kept],
        line={**line, "width": 3 if op in IDLE else 1.5},
        showlegend=first and not hatched,
        hovertemplate="mean weight %{y:.3f} at step %{x:,}<extra>%{fullData.name}</extra>",
        **shared,
    )
    return [area, mean]
