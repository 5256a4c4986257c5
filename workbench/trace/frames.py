"""Tables of what a run folder holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
import pandas as pd
import xarray as xr

COSTS = ("parameters", "macs", "alive", "supernet_parameters", "seconds", "memory")


def epochs_frame(lines: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """A row per `EpochEnded` line: its scalars, the genotype as text, and its costs."""
    rows = []
    names: dict[str, None] = {}  # of scalars, which need not be there in every epoch
    for line in lines:
        scalars = cast("dict[str, float | None]", line["scalars"])
        genotype = cast("dict[str, str] | None", line["genotype"])
        names |= dict.fromkeys(scalars)
        rows.append({**scalars, **line, "genotype": genotype and genotype["text"]})
    columns = ["epoch", "stage", "step", *names, "genotype", *COSTS]
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))
    return frame.assign(**{n: pd.to_numeric(frame[n]) for n in frame.columns if n != "genotype"})


def tidy(trace: xr.Dataset) -> pd.DataFrame:
    """A row per step, edge and candidate: step, kind, edge, op, alpha, mix, alive."""
    alpha, alive = trace["alpha"].to_numpy(), trace["alive"].to_numpy()
    step, edge, op = np.nonzero(alive | ~np.isnan(alpha))
    kind, kinds = pd.factorize(trace["kind"].to_numpy())
    return pd.DataFrame(
        {
            "step": trace["step"].to_numpy()[step],
            "kind": pd.Categorical.from_codes(kind[edge], kinds),
            "edge": pd.Categorical.from_codes(edge, trace["edge"].to_numpy()),
            "op": pd.Categorical.from_codes(op, trace["op"].to_numpy()),
            "alpha": alpha[step, edge, op],
            "mix": trace["mix"].to_numpy()[step, edge, op],
            "alive": alive[step, edge, op],
        }
    )
