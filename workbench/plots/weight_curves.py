"""The curves of one edge's operations: from their first step until they leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.plots import moments, theme

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Weights:
    """What is known of every edge and operation at the moments `along`.

    `alive` and `values` are `(moments, edges, ops)`; `now`, `(edges, ops)`, is what is alive behind
    the last moment; `first` has, by a stage's first moment, the values with which it began, NaN
    where there was no candidate.
    """

    along: NDArray[np.number]
    alive: NDArray[np.bool_]
    values: NDArray[np.float64]
    now: NDArray[np.bool_]
    first: Mapping[int, NDArray[np.float64]]


def first_values(
    trace: xr.Dataset, starts: xr.Dataset, value: str
) -> dict[int, NDArray[np.float64]]:
    """`Weights.first` of a trace; none for a `value` that is not known before a step."""
    if value not in starts:
        return {}
    begun, stages = starts.sel(edge=trace["edge"]), trace["stage"].to_numpy()
    known = begun[value].where(begun["alive"]).to_numpy().astype(np.float64)
    places = zip(starts["stage"].to_numpy(), known, strict=True)
    return {int((stages == stage).argmax()): rows for stage, rows in places if stage in stages}


def curves_of(
    edge: str, index: int, ops: list[str], seen: Weights, points: int | None
) -> list[pd.DataFrame]:
    """A frame per operation that was ever alive on the edge at `index` of `seen`.

    An operation that was gone at the first moment of its stage has the value there with which the
    stage began.
    """
    alive, shown = seen.alive[:, index], seen.values[:, index].copy()
    at_once = np.zeros_like(alive)
    for row, first in seen.first.items():
        at_once[row] = np.isfinite(first[index]) & ~alive[row] & ~(row > 0 and alive[row - 1])
        shown[row] = np.where(at_once[row], first[index], shown[row])
    there = alive | at_once
    away = np.vstack([~there, ~seen.now[None, index]]).cumsum(axis=0)  # moments so far
    curves = []
    for column, op in enumerate(ops):
        own = np.where(there[:, column], shown[:, column], np.nan)
        (steps,) = np.nonzero(np.isfinite(own))
        if not len(steps):
            continue
        left = np.diff(away[np.append(steps, len(own)), column]) > 0  # until it was there again
        left |= at_once[steps, column]
        kept = np.union1d(theme.thin(seen.along[steps], own[steps], points), np.flatnonzero(left))
        steps, left = steps[kept], left[kept]
        ranks = moments.ranks(np.where(alive, shown, np.nan)[steps])[:, column]
        for place in np.flatnonzero(at_once[steps, column]):
            ranks[place] = moments.ranks(seen.first[int(steps[place])][index])[column]
        frame = {"edge": edge, "op": op, "x": seen.along[steps], "value": own[steps]}
        curves.append(pd.DataFrame({**frame, "rank": ranks, "pruned": left}))
    return curves
