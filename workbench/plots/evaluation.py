"""How the derived network did: curves of the evaluation phase and its confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots import shares, theme
from workbench.plots.names import as_text, of_split
from workbench.plots.retrained import which_training

if TYPE_CHECKING:
    from workbench.trace.runs import Run


def evaluation_frame(run: Run) -> pd.DataFrame:
    """One row per epoch of the evaluation phase and measured loss or accuracy.

    Returns:
        Columns `epoch`, `name`, `panel`, `value`; accuracies are in percent.
    """
    epochs = run.evaluation_epochs
    names = [str(n) for n in epochs.columns if str(n).startswith(("loss", "accuracy"))]
    parts = [
        pd.DataFrame(
            {
                "epoch": epochs["epoch"],
                "name": name,
                "panel": "Loss" if name.startswith("loss") else "Accuracy (%)",
                "value": epochs[name] * (1 if name.startswith("loss") else 100),
            }
        ).dropna()
        for name in names
    ]
    columns = ["epoch", "name", "panel", "value"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def confusion_frame(run: Run) -> pd.DataFrame:
    """Counts of the test split: true classes down, predicted ones across; empty if not evaluated.

    Classes are named if the run knows their names.
    """
    if run.evaluation is None:
        return pd.DataFrame()
    counts = np.asarray(run.evaluation["confusion"], dtype=int)
    data = run.meta.get("data")
    known = data.get("classes") if isinstance(data, Mapping) else None
    given = cast("Sequence[object]", run.evaluation.get("classes") or known or ())
    names = [str(name) for name in (given if len(given) == len(counts) else range(len(counts)))]
    return pd.DataFrame(
        counts,
        index=pd.Index(names, name="true class"),
        columns=pd.Index(names, name="predicted class"),
    )


def evaluation(run: Run) -> go.Figure:
    """Loss and accuracy of the derived network per epoch, and its confusion matrix."""
    frame, counts = evaluation_frame(run), confusion_frame(run)
    if frame.empty and counts.empty:
        fig = theme.styled(go.Figure(), title="Evaluation of the genotype", height=220)
        return theme.note(fig, "This run was not evaluated")
    fig = make_subplots(
        rows=2, cols=2, specs=[[{}, {"rowspan": 2}], [{}, None]],
        horizontal_spacing=0.14, vertical_spacing=0.14, column_widths=[0.46, 0.54],
    )  # fmt: skip
    for row, panel in enumerate(("Accuracy (%)", "Loss"), start=1):
        part = frame.loc[frame["panel"] == panel]
        for (name,), curve in theme.groups(part, "name"):
            fig.add_trace(_curve(name, curve, first=row == 1), row=row, col=1)
        fig.update_yaxes(title=theme.axis(panel), row=row, col=1)
        if part.empty:
            theme.note(fig, "Not measured", row=row, col=1)
    fig.update_xaxes(title="Epoch", row=2, col=1)
    fig.update_xaxes(dtick=theme.epoch_tick(len(run.evaluation_epochs)), col=1)
    if counts.empty:
        theme.note(fig, "No test result yet", row=1, col=2)
    else:
        _add_confusion(fig, counts)
    theme.styled(fig, title="Evaluation of the genotype", subtitle=_result(run), height=560)
    place = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"}
    return fig.update_layout(legend=place, margin={"t": 116})


def _result(run: Run) -> str:
    if run.evaluation is None:
        return "not finished"
    accuracy, precision = (
        cast("float", run.evaluation[key]) for key in ("test_accuracy", "test_map")
    )
    said = f"test accuracy {100 * accuracy:.2f} %, mean average precision {precision:.3f}"
    return f"{said}; {training}" if (training := which_training(run)) else said


def _curve(name: str, curve: pd.DataFrame, *, first: bool) -> go.Scatter:
    title, index = of_split(name)
    return go.Scatter(
        x=curve["epoch"].to_numpy(),
        y=curve["value"].to_numpy(),
        name=title,
        legendgroup=title,
        showlegend=first,
        mode="lines" if len(curve) > 1 else "markers",
        line={"color": theme.series(index), "width": 2, "dash": theme.series_dash(index)},
        hovertemplate="%{y:.4g} in epoch %{x}<extra>%{fullData.name}</extra>",
    )


def _add_confusion(fig: go.Figure, counts: pd.DataFrame) -> None:
    """The matrix, shaded by the share of its row."""
    matrix = counts.to_numpy()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names, few = [as_text(name) for name in counts.index], len(counts) <= 20
    fig.add_trace(
        go.Heatmap(
            z=100 * share,
            x=names,
            y=names,
            customdata=matrix,
            colorscale=shares.SCALE,
            zmin=0,
            zmax=100,
            xgap=1,
            ygap=1,
            colorbar={
                "title": {"text": "of true<br>class (%)"},
                "thickness": 10,
                "outlinewidth": 0,
            },
            hovertemplate="true %{y}, predicted %{x}<br>%{customdata:,} images, %{z:.1f} % of the "
            "true class<extra></extra>",
        ),
        row=1,
        col=2,
    )
    if few:
        met = np.where(matrix > 0, 100 * share, np.nan)
        for trace in shares.numbers(met, names, names, text=matrix):
            fig.add_trace(trace, row=1, col=2)
    ticks = {"type": "category", "showgrid": False, "dtick": 1 if few else None}
    fig.update_xaxes(title="Predicted class", row=1, col=2, **ticks)
    fig.update_yaxes(title="True class", autorange="reversed", row=1, col=2, **ticks)
