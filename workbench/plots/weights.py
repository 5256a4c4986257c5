"""How the weights of every edge moved: small multiples laid out as the cell is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots import names, theme
from workbench.plots.weight_curves import Weights, curves_of, first_values

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from workbench.trace.runs import Run

X = Literal["step", "epoch"]
TITLES = {"mix": "Mixing weights", "alpha": "Architecture parameters α"}
FEW = 40  # points of a curve that are shown one by one, where not every step has one
HOVER = (
    "<b>%{fullData.name}</b> on %{meta}<br>%{y:.4f} at %{x:,}, rank %{customdata}<extra></extra>"
)


def weight_evolution_frame(
    run: Run,
    *,
    kind: str | None = None,
    value: str = "mix",
    x: X = "step",
    points: int | None = None,
) -> pd.DataFrame:
    """One row per edge, operation and step while the operation was alive.

    An operation that went in the first step has a row too, with the value it had before.  Values
    are those of the step, before what was pruned behind it.

    Args:
        kind: Cells to look at; every kind if None.
        value: Mixing weights `mix`, the raw architecture parameters `alpha`, or whatever a probe
            measured per edge and operation, in the steps that have it.
        x: Every step, or the last of every epoch.
        points: Thin every curve to about so many points.

    Returns:
        Columns `edge`, `op`, `x`, `value`, `rank` (1 is the edge's largest), and `pruned`, true at
        the last point of an operation before it was pruned or left out by a new stage.

    Raises:
        ValueError: if the run has no such value.
    """
    trace = _measured(run, value)
    trace = trace if kind is None else trace.sel(edge=trace["kind"] == kind)
    if x == "epoch":
        trace = trace.isel(step=_epoch_ends(trace["epoch"].values))
    seen = Weights(
        np.asarray(trace[x].values),
        np.asarray(trace["alive"].values, dtype=bool),
        np.asarray(trace[value].values, dtype=np.float64),
        run.latest["alive"].sel(edge=trace["edge"]).to_numpy(),
        first_values(trace, run.starts, value) if value in TITLES else {},
    )
    ops = [str(op) for op in trace["op"].values]
    curves = [
        curve
        for index, edge in enumerate(trace["edge"].values)
        for curve in curves_of(str(edge), index, ops, seen, points)
    ]
    columns = ["edge", "op", "x", "value", "rank", "pruned"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def _measured(run: Run, value: str) -> xr.Dataset:
    """The trace, without the steps in which a probe did not measure `value`."""
    trace, known = run.trace, ["mix", "alpha", *names.probed(run, 2)]
    if value not in known:
        raise ValueError(
            f"{value!r} was not recorded per edge and operation; this run has {', '.join(known)}. "
            "A probe can measure more: see workbench.probes.OpOutputs"
        )
    if value in TITLES:
        return trace
    return trace.isel(step=np.isfinite(trace[value].to_numpy()).any(axis=(1, 2)))


def edge_weight_frame(
    run: Run, *, kind: str | None = None, x: X = "step", points: int | None = None
) -> pd.DataFrame:
    """One row per edge and step of a method that weighs edges; else no row.

    Args:
        kind: Cells to look at; every kind if None.
        x: Every step, or the last step of every epoch.
        points: Thin every curve to about so many points.

    Returns:
        Columns `edge`, `x`, `value`.
    """
    trace = run.trace if kind is None else run.trace.sel(edge=run.trace["kind"] == kind)
    curves = []
    if "edge_weight" in trace:
        if x == "epoch":
            trace = trace.isel(step=_epoch_ends(trace["epoch"].values))
        along = np.asarray(trace[x].values)
        for edge, values in zip(trace["edge"].values, trace["edge_weight"].values.T, strict=True):
            (steps,) = np.nonzero(np.isfinite(values))
            steps = steps[theme.thin(along[steps], values[steps], points)]
            shown = {"edge": str(edge), "x": along[steps], "value": values[steps]}
            curves.append(pd.DataFrame(shown))
    columns = ["edge", "x", "value"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def _epoch_ends(epochs: NDArray[np.integer]) -> NDArray[np.intp]:
    return np.flatnonzero(np.append(np.diff(epochs) != 0, True)) if len(epochs) else np.arange(0)


class _Facet(NamedTuple):
    edge: str
    row: int
    col: int


def weight_evolution(
    run: Run,
    *,
    kind: str | None = None,
    value: str = "mix",
    x: X = "step",
    points: int = theme.POINTS,
) -> go.Figure:
    """Small multiples, one per edge: row is the node the edge ends in, column the one it leaves.

    A click in the legend toggles an operation in every facet.  Where an operation was pruned, its
    line ends with a cross.  Beside mixing weights, a thick line is the weight of the edge
    itself, of methods that weigh edges.

    Raises:
        ValueError: if the run has no such `value`.
    """
    frame = weight_evolution_frame(run, kind=kind, value=value, x=x, points=points)
    facets = _facets(run, kind)
    fig = _grid(facets, value, x)
    places = {facet.edge: facet for facet in facets}
    named: set[str] = set()
    drawn: list[tuple[Mapping[str, object], int, int]] = []
    for (edge, op), curve in theme.groups(frame, "edge", "op"):
        place = places[edge]
        few = value not in TITLES and len(curve) <= FEW
        lines = _lines(edge, op, curve, first=op not in named, few=few)
        drawn += [(line, place.row, place.col) for line in lines]
        named.add(op)
    if value == "mix":
        weighed = edge_weight_frame(run, kind=kind, x=x, points=points)
        for index, ((edge,), curve) in enumerate(theme.groups(weighed, "edge")):
            place = places[edge]
            drawn.append((_edge_line(edge, curve, first=not index), place.row, place.col))
    theme.add_all(fig, drawn)
    cells = "all cells" if kind is None else f"the {theme.cell_name(kind)}"
    rows = max((facet.row for facet in facets), default=1)
    theme.styled(
        fig,
        title=f"{TITLES[value]} of {cells}"
        if value in TITLES
        else f"{names.label(value)}, {cells}",
        subtitle="× marks where an operation left; click the legend to hide or show one",
        height=150 + 125 * rows,
    )
    fig.update_layout(legend=_legend(facets), hovermode="closest", margin={"t": 100})
    fig.update_xaxes(dtick=theme.epoch_tick(len(set(frame["x"])), room=8) if x == "epoch" else None)
    return fig if len(frame) else theme.note(fig, "Nothing recorded yet")


def _facets(run: Run, kind: str | None) -> list[_Facet]:
    """Where each edge is drawn; kinds of cells below each other."""
    trace = run.trace
    ends = list(
        zip(*(trace[name].values.tolist() for name in ("edge", "kind", "src", "dst")), strict=True)
    )
    rows: dict[tuple[str, int], int] = {}
    facets = []
    for edge, cell, src, dst in ends:
        if kind is None or cell == kind:
            row = rows.setdefault((cell, dst), len(rows) + 1)
            facets.append(_Facet(str(edge), row, int(src) + 1))
    return facets


def _grid(facets: list[_Facet], value: str, x: X) -> go.Figure:
    rows = max((facet.row for facet in facets), default=1)
    cols = max((facet.col for facet in facets), default=1)
    edges = {(facet.row, facet.col): facet.edge for facet in facets}
    cells = [(row, col) for row in range(1, rows + 1) for col in range(1, cols + 1)]
    fig = make_subplots(
        rows=rows,
        cols=cols,
        shared_xaxes="all",  # pyright: ignore[reportArgumentType]
        shared_yaxes="all",  # pyright: ignore[reportArgumentType]
        specs=[[{} if (r, c) in edges else None for c in range(1, cols + 1)]
               for r in range(1, rows + 1)],
        subplot_titles=[edges[cell] for cell in cells if cell in edges],
        x_title=x.capitalize(),
        horizontal_spacing=0.02,
        vertical_spacing=0.28 / max(rows, 2),
    )  # fmt: skip
    fig.update_annotations(font={"size": 11})
    left = [facet.row for facet in facets if facet.col == 1] or [1]
    title = {"text": names.label(value), "font": {"size": 11}}  # of an axis: beside all its ticks
    return fig.update_yaxes(title=title, row=left[len(left) // 2], col=1)


def _lines(
    edge: str, op: str, curve: pd.DataFrame, *, first: bool, few: bool
) -> list[Mapping[str, object]]:
    """The curve of one operation on one edge, and the cross where it was pruned."""
    shared = {"name": op, "legendgroup": op, "meta": edge, "hovertemplate": HOVER}
    again = np.flatnonzero(curve["pruned"].to_numpy()[:-1]) + 1  # a later stage has it once more
    lines: list[Mapping[str, object]] = [
        dict(
            type="scatter",
            x=np.insert(curve["x"].to_numpy(), again, curve["x"].to_numpy()[again]),
            y=np.insert(curve["value"].to_numpy(np.float32), again, np.nan),
            customdata=np.insert(curve["rank"].to_numpy(np.uint8), again, 0),
            mode="lines+markers" if few else "lines",
            marker={"size": 4},
            line={"color": theme.colour(op), "dash": theme.dash(op), "width": 1.6},
            showlegend=first,
            **shared,
        )
    ]
    gone = curve.loc[curve["pruned"]]
    if len(gone):
        lines.append(
            dict(
                type="scatter",
                x=gone["x"].to_numpy(),
                y=gone["value"].to_numpy(np.float32),
                customdata=gone["rank"].to_numpy(np.uint8),
                mode="markers",
                marker={"symbol": "x-thin", "size": 6, "line": {"width": 1.5}},
                marker_line_color=theme.colour(op),
                showlegend=False,
                **shared,
            )
        )
    return lines


def _edge_line(edge: str, curve: pd.DataFrame, *, first: bool) -> Mapping[str, object]:
    """The weight of the edge itself."""
    return dict(
        type="scatter",
        x=curve["x"].to_numpy(),
        y=curve["value"].to_numpy(np.float32),
        mode="lines",
        line={"color": theme.series(1), "dash": theme.series_dash(1), "width": 2.5},
        showlegend=first,
        name="the edge itself",
        legendgroup="the edge itself",
        meta=edge,
        hovertemplate="<b>weight of the edge</b> %{meta}<br>%{y:.4f} at %{x:,}<extra></extra>",
    )


def _legend(facets: list[_Facet]) -> dict[str, object]:
    """In the upper right corner where two of its rows are free, as eight names need; or beside."""
    last = max((facet.col for facet in facets), default=1)
    free = min((facet.row for facet in facets if facet.col == last), default=1) - 1
    inside = {"x": 1, "xanchor": "right", "y": 1.02, "yanchor": "top"}
    return inside if free >= 2 else {"x": 1.02, "xanchor": "left", "y": 1, "yanchor": "top"}
