"""Do seeds agree?  How alike the genotypes of several runs are, beside what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench import comparison
from workbench.plots import names as words
from workbench.plots import shares, theme

if TYPE_CHECKING:
    from workbench.trace.runs import Run

_RULE = {"color": "rgba(128,128,128,0.9)", "width": 1.5}
_FEW = 12  # runs up to which every cell says its number


def agreement_matrix(
    runs: Sequence[Run], *, of: Literal["genes", "edges"] = "genes"
) -> pd.DataFrame:
    """Run by run, in percent: what two genotypes share, of what either has.

    Args:
        runs: The runs; those without a genotype are left out.
        of: "genes" counts operation and edge, "edges" the edge alone.

    Returns:
        A square table named by runs, those of a method beside each other; NaN where two runs'
        cells are not of the same kind, and on the diagonal.
    """
    return _square(comparison.pairs_frame(runs), of)


def _square(pairs: pd.DataFrame, of: str) -> pd.DataFrame:
    names = list(dict.fromkeys(pairs["a"]))
    values = 100 * pairs[f"same_{of}"].to_numpy(dtype=float).reshape(len(names), len(names))
    np.fill_diagonal(values, np.nan)
    return pd.DataFrame(values, index=names, columns=names)


def agreement(runs: Sequence[Run], *, of: Literal["genes", "edges"] = "genes") -> go.Figure:
    """A heat map, run by run, of what two genotypes share; lines part the methods.

    The subtitle says what chance gives to the method of most genotypes.
    """
    pairs = comparison.pairs_frame(runs)
    frame = _square(pairs, of)
    method = dict(zip(pairs["a"], pairs["method_a"], strict=True))
    names, fig = list(frame.columns), go.Figure()
    shown = [words.as_text(name) for name in names]
    fig.add_heatmap(
        z=frame.to_numpy(), x=list(range(len(names))), y=list(range(len(names))),
        zmin=0, zmax=100, colorscale=shares.SCALE, xgap=1, ygap=1,
        customdata=[[f"{a} and {b}" for b in shown] for a in shown],
        colorbar={"title": {"text": "shared (%)"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate="%{customdata}: %{z:.0f} %<extra></extra>",
    )  # fmt: skip
    if len(names) <= _FEW:
        every = range(len(names))
        fig.add_traces(shares.numbers(frame.to_numpy(), every, every))
    for at in range(1, len(names)):
        if method[names[at]] != method[names[at - 1]]:
            fig.add_hline(y=at - 0.5, line=_RULE)
            fig.add_vline(x=at - 0.5, line=_RULE)
    ticks = {"tickvals": list(range(len(names))), "ticktext": shown, "showgrid": False}
    fig.update_xaxes(**ticks, tickangle=-45)
    fig.update_yaxes(**ticks, autorange="reversed", scaleanchor="x", constrain="domain")
    fig.update_xaxes(constrain="domain")
    what = "operations and edges" if of == "genes" else "edges"
    theme.styled(
        fig, title=f"Do seeds agree on {what}?", subtitle=_chance(runs, of),
        height=max(240 + 34 * len(names), 360),
    )  # fmt: skip
    return fig if len(names) else theme.note(fig, "No run has a genotype yet")


def _chance(runs: Sequence[Run], of: str) -> str:
    frame = comparison.agreement_frame(runs).sort_values("genotypes", ascending=False)
    if frame.empty or np.isnan(frame[f"chance_{of}"].iloc[0]):
        return "shared, of what either of two has"
    row = frame.iloc[0]
    return (
        f"{words.as_text(row['method'])}: {100 * row[f'same_{of}']:.0f} % between seeds; "
        f"random genotypes {100 * row[f'chance_{of}']:.0f} %, one set in twenty above "
        f"{100 * row[f'chance_{of}_high']:.0f} %"
    )
