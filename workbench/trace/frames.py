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
    columns = dict.fromkeys(["epoch", "stage", "step", *names, "genotype", *COSTS])
    found = {name: [row.get(name) for row in rows] for name in columns}
    texts = {"genotype": np.array(found.pop("genotype"), dtype=object)}
    return pd.DataFrame({n: _numbers(v) for n, v in found.items()} | texts, columns=list(columns))


def _numbers(values: list[object]) -> np.ndarray:
    """Integers where all are, else floats, NaN for None."""
    return np.array([np.nan if value is None else value for value in values])


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
