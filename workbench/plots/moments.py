"""What tables and figures over many steps share: thinning, ranks, and means over edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray


def evenly(count: int, most: int | None) -> NDArray[np.intp]:
    """At most `most` of the indices 0 to `count` - 1, evenly spaced, both ends among them."""
    if most is None or count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, max(most, 2)).round().astype(np.intp))


def bottom(values: NDArray[np.floating]) -> float:
    """Where a scale of values of 0 and more begins: at 0, or at the least, if that is near the top.

    At the beginning of a search all mixing weights are nearly the same, and from 0 up all of one
    colour.
    """
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    return low if high / 2 < low < high else 0.0


def ranks(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The place of each value `(…, ops)` in its row, 1 the largest; NaN comes last.

    Of equal values the first column comes first.
    """
    shown = np.where(np.isnan(values), np.inf, -values)
    order = shown.argsort(axis=-1, kind="stable")
    places = np.empty(values.shape, dtype=np.uint8)
    counted = np.broadcast_to(np.arange(1, values.shape[-1] + 1, dtype=np.uint8), values.shape)
    np.put_along_axis(places, order, counted, axis=-1)
    return places


def over_edges(values: xr.DataArray) -> pd.DataFrame:
    """Mean, least and largest value `(step, edge)` over the edges of each kind of cell.

    Returns:
        Columns `step`, `kind`, `mean`, `low`, `high`; NaN where no edge of the kind has a value.
    """
    numbers, kinds = np.asarray(values.values, dtype=np.float64), values["kind"].values
    steps, parts = np.asarray(values["step"].values), []
    for kind in dict.fromkeys(kinds.tolist()):
        own = numbers[:, kinds == kind]
        known = np.isfinite(own)
        count = known.sum(1)
        mean = np.where(known, own, 0.0).sum(1) / np.where(count, count, np.nan)
        low = np.where(known, own, np.inf).min(1)
        high = np.where(known, own, -np.inf).max(1)
        some = count > 0
        parts.append(
            pd.DataFrame(
                {
                    "step": steps,
                    "kind": str(kind),
                    "mean": mean,
                    "low": np.where(some, low, np.nan),
                    "high": np.where(some, high, np.nan),
                }
            )
        )
    columns = ["step", "kind", "mean", "low", "high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
