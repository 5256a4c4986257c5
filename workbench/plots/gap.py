"""The discretisation gap: what a search loses when its supernet becomes a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.plots import names, theme
from workbench.plots.retrained import which_training

if TYPE_CHECKING:
    from workbench.trace.runs import Run

SUPERNET, MASKED = "supernet as it is mixed", "masked to its genotype"
DERIVED = "derived network, trained anew"
TITLE = "Supernet, masked supernet and derived network"
NETWORKS = {"accuracy_supernet": SUPERNET, "accuracy_masked": MASKED}
COLUMNS = ["step", "epoch", "network", "accuracy"]


def gap_frame(run: Run) -> pd.DataFrame:
    """One row per measured step and network, as the probe `DiscretisationGap` found them.

    Returns:
        Columns `step`, `epoch`, `network`, `accuracy` (percent): of the supernet as it is mixed
        and masked to the genotype of the moment, on held-out images (training images where a
        method holds none out); once the run is evaluated, of the derived network on the test
        images, at the last step: of several trainings the first one.
    """
    trace = run.trace
    steps, epochs = trace["step"].to_numpy(), trace["epoch"].to_numpy()
    parts = []
    for name, network in NETWORKS.items():
        if name in trace:
            value = 100 * trace[name].to_numpy().astype(np.float64)
            kept = np.isfinite(value)
            shown = {"step": steps[kept], "epoch": epochs[kept], "network": network}
            parts.append(pd.DataFrame({**shown, "accuracy": value[kept]}))
    if run.evaluation is not None and len(steps):
        accuracy = 100 * cast("float", run.evaluation["test_accuracy"])
        row = [steps[-1], epochs[-1], DERIVED, accuracy]
        parts.append(pd.DataFrame([row], columns=COLUMNS))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def gap(run: Run) -> go.Figure:
    """Accuracy of the supernet and of its masked form over the search, the gap between shaded.

    A dashed line is the derived network's test accuracy, once the run is evaluated.
    """
    frame = gap_frame(run)
    curves = {network: part for (network,), part in theme.groups(frame, "network")}
    if MASKED not in curves:
        fig = theme.styled(go.Figure(), title=TITLE, height=260)
        how = f"The gap was not measured:<br>{names.how_to('DiscretisationGap')}"
        return theme.note(fig, how + "<br>or with --probes discretisation_gap")
    fig = go.Figure()
    for index, network in enumerate((SUPERNET, MASKED)):
        fig.add_trace(_curve(network, curves[network], index))
    if DERIVED in curves:
        _add_derived(fig, curves)
    fig.update_xaxes(title="Step")
    fig.update_yaxes(title="Accuracy (%)")
    training = which_training(run)
    theme.styled(fig, title=TITLE, subtitle=_said(curves, training, names.images_of_gap(run)))
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "traceorder": "normal"}
    return fig.update_layout(legend=legend, margin={"t": 122 if training else 104})


def _said(curves: dict[str, pd.DataFrame], training: str, images: str) -> str:
    whole, masked = (float(curves[name]["accuracy"].iloc[-1]) for name in (SUPERNET, MASKED))
    said = f"last gap {whole - masked:.2f} points: supernet {whole:.2f} %, masked {masked:.2f} %"
    said += f" {images}" if images else ""
    if DERIVED in curves:
        said += (
            f"; derived network {float(curves[DERIVED]['accuracy'].iloc[0]):.2f} % on test images"
        )
        said += f"<br>{training}" if training else ""
    return said


def _curve(network: str, curve: pd.DataFrame, index: int) -> go.Scatter:
    steps, values = curve["step"].to_numpy(), curve["accuracy"].to_numpy()
    kept = theme.thin(steps, values, 2 * theme.POINTS)
    colour = theme.series(index)
    return go.Scatter(
        x=steps[kept],
        y=values[kept],
        name=network,
        mode="lines+markers" if len(kept) <= 60 else "lines",
        line={"color": colour, "width": 2, "dash": theme.series_dash(index)},
        fill="tonexty" if index else None,
        fillcolor=theme.faded(colour, 0.12),
        hovertemplate="%{y:.2f} % at step %{x:,}<extra>%{fullData.name}</extra>",
    )


def _add_derived(fig: go.Figure, curves: dict[str, pd.DataFrame]) -> None:
    """A line over the whole width, with a star at the end of the search."""
    last = curves[DERIVED].iloc[0]
    first = min(int(curve["step"].iloc[0]) for curve in curves.values())
    fig.add_trace(
        go.Scatter(
            x=[first, last["step"]],
            y=[last["accuracy"]] * 2,
            name=DERIVED,
            mode="lines+markers",
            marker={"symbol": "star", "size": [0, 12]},
            line={"color": theme.series(2), "width": 1.5, "dash": theme.series_dash(2)},
            hovertemplate="%{y:.2f} % of the test images<extra>%{fullData.name}</extra>",
        )
    )
