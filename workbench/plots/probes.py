"""Whatever a probe measured, over the steps."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.plots import names, theme
from workbench.plots.weights import weight_evolution

if TYPE_CHECKING:
    from workbench.trace.runs import Run

# From nothing to a colour that reads on light and dark pages, so that gaps look like gaps.
SCALE = [[0, "rgba(122,104,216,0.06)"], [0.5, "rgba(122,104,216,0.5)"], [1, "rgba(122,104,216,1)"]]
MOST = 300  # columns of a heat map


def probe_frame(run: Run, name: str) -> pd.DataFrame:
    """One row per step that measured `name`, and per edge and operation where it has such.

    A scalar that was only told at the ends of epochs, as in runs of an older workbench, is found
    there.

    Returns:
        Columns `step`, `epoch`, perhaps `kind`, `edge`, perhaps `op`, and `value`: an accuracy in
        percent, everything else as it was recorded, infinities too.  No row if it was not measured.
    """
    trace, scale = run.trace, 100 if names.in_percent(name) else 1
    if name in trace and trace[name].dims[0] == "step":
        values = trace[name]
        kept = ~np.isnan(values.to_numpy().reshape(len(values), -1)).all(axis=1)
        table = values[kept].rename("value").to_dataframe(dim_order=values.dims).reset_index()
        columns = ["step", "epoch", *(c for c in ("kind", "edge", "op") if c in table), "value"]
        table = table.loc[table["value"].notna(), columns]
        return table.assign(value=table["value"].astype("float64") * scale).reset_index(drop=True)
    columns = ["step", "epoch", "value"]
    if name in run.epochs and pd.api.types.is_numeric_dtype(run.epochs[name]):
        table = run.epochs.rename(columns={name: "value"}).loc[:, columns].dropna()
        return table.assign(value=table["value"] * scale).reset_index(drop=True)
    return pd.DataFrame(columns=columns)


def probe(run: Run, name: str) -> go.Figure:
    """What the probe measured as `name`, over the steps.

    A scalar is a curve; a value per edge is a heat map, edges by steps; one per edge and operation
    is drawn as `weight_evolution(run, value=name)` does.
    """
    if name in ("alpha", "mix", *names.probed(run, 2)):
        return weight_evolution(run, value=name)
    frame = probe_frame(run, name)
    fig = go.Figure()
    if "edge" in frame:
        fig.add_trace(_heat_map(frame, name))
        ticks = {"type": "category", "dtick": 1, "showgrid": False}
        fig.update_yaxes(title="Edge", autorange="reversed", **ticks)
        height = 180 + 16 * len(frame["edge"].unique())
    else:
        if len(frame):
            fig.add_trace(_curve(frame))
        fig.update_yaxes(title=names.label(name))
        height = 380
    fig.update_xaxes(title="Step")
    theme.styled(fig, title=names.label(name), subtitle=_said(run, name, frame), height=height)
    if frame.empty:
        have = textwrap.wrap(", ".join(names.probed(run)) or "nothing", 70)
        lines = [f"{name!r} was not measured; this run has", *have, "To measure more, search with"]
        return theme.note(fig, "<br>".join([*lines, "probes=[…], see workbench.probes"]))
    return fig


def _said(run: Run, name: str, frame: pd.DataFrame) -> str:
    count = len(frame["step"].unique())
    infinite = int(np.isinf(frame["value"].to_numpy(np.float64)).sum())
    told = [] if not count else [f"measured in {count:,} step{'s' if count > 1 else ''}"]
    if count and name in names.IN_GAP:
        told.append(names.images_of_gap(run))
    if infinite:
        told.append(f"{infinite:,} infinite value{'s are' if infinite > 1 else ' is'} not drawn")
    return "; ".join(filter(None, told))


def _curve(frame: pd.DataFrame) -> go.Scatter:
    steps, values = frame["step"].to_numpy(np.int64), frame["value"].to_numpy(np.float64)
    steps, values = steps[np.isfinite(values)], values[np.isfinite(values)]
    kept = theme.thin(steps, values, 2 * theme.POINTS)
    return go.Scatter(
        x=steps[kept],
        y=values[kept],
        mode="lines+markers" if len(kept) <= 60 else "lines",
        line={"color": theme.series(0), "width": 2},
        showlegend=False,
        hovertemplate="%{y:.5g} at step %{x:,}<extra></extra>",
    )


def _heat_map(frame: pd.DataFrame, name: str) -> go.Heatmap:
    table = frame.pivot(index="edge", columns="step", values="value")
    table = table.loc[list(dict.fromkeys(frame["edge"]))]  # in the order of the space
    table = table.iloc[:, :: -(-table.shape[1] // MOST)].replace([np.inf, -np.inf], np.nan)
    return go.Heatmap(
        z=table.to_numpy(np.float32),
        x=table.columns.to_numpy(),
        y=list(table.index),
        colorscale=SCALE,
        colorbar={"title": {"text": names.label(name), "side": "right"}, "thickness": 12},
        hoverongaps=False,
        hovertemplate="%{y} at step %{x:,}<br>%{z:.5g}<extra></extra>",
    )
