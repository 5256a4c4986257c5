"""Heat maps of shares whose numbers can be read on every page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of 0 to 100 %: faint below a half and strong from it on.
SCALE = [
    [0, "rgba(0,114,178,0.04)"], [0.499, "rgba(0,114,178,0.3)"], [0.5, "rgba(0,114,178,0.85)"],
    [1, "rgba(0,114,178,1)"],
]  # fmt: skip


def numbers(
    percent: NDArray[np.floating],
    columns: Sequence[object],
    rows: Sequence[object],
    *,
    text: NDArray[np.integer] | None = None,
) -> list[go.Scatter]:
    """The number of every cell of `SCALE`'s that is no NaN: the page's ink, white on strong blue.

    Args:
        percent: `(rows, columns)`; what the cells are coloured by.
        columns: Where they are on the axis.
        rows: Likewise.
        text: What they say instead of the percentage.
    """
    said, traces = percent if text is None else text, []
    for cells, colour in ((percent < 50, None), (percent >= 50, "#FFFFFF")):
        places = np.argwhere(cells)
        traces.append(
            go.Scatter(
                x=[columns[column] for _, column in places],
                y=[rows[row] for row, _ in places],
                text=[f"{said[row, column]:.0f}" for row, column in places],
                mode="text",
                hoverinfo="skip",
                showlegend=False,
                textfont={"size": 11, "color": colour},
            )
        )
    return traces
