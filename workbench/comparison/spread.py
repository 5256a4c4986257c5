"""Two kinds of luck kept apart: that of a search, and that of training what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """What the results of several searches, each trained one or more times, say of both."""

    mean: float
    search_sd: float
    retraining_sd: float
    own_variance: float
    searches: int
    retrainings: int


def spread(results: Sequence[Sequence[float]]) -> Spread:
    """Mean and both deviations; NaN is what cannot be known.

    With x_ij the result of retraining j of search i, r_i retrainings, n searches:

    m_i = mean_j x_ij,   mean = mean_i m_i
    search_sd² = sum_i (m_i - mean)² / (n - 1)
    retraining_sd² = sum_ij (x_ij - m_i)² / sum_i (r_i - 1)
    own_variance = search_sd² - retraining_sd² · mean_i (1 / r_i)

    `search_sd` holds both kinds of luck, for a mean over few retrainings is itself uncertain: its
    square has the expectation own variance + mean_i (1 / r_i) retraining variance.  What is taken
    off in `own_variance` leaves an unbiased estimate of the searches' own variance, which can come
    out negative: the retrainings then explain all of it.

    Args:
        results: of every search its retrainings' results; a search without any is left out.

    Returns:
        `mean`, `search_sd` and `retraining_sd` in the unit of the results, `own_variance` in its
        square; how many searches were used, how many retrainings they have together.

    The one-way random-effects analysis of variance; exact for equal r_i, unbiased for any.
    """
    rows = [np.asarray(row, dtype=float) for row in results if len(row)]
    if not rows:
        return Spread(np.nan, np.nan, np.nan, np.nan, 0, 0)
    means = np.array([row.mean() for row in rows])
    free = sum(len(row) - 1 for row in rows)
    within = sum(float(((row - row.mean()) ** 2).sum()) for row in rows) / free if free else np.nan
    between = float(means.var(ddof=1)) if len(means) > 1 else np.nan
    own = between - within * float(np.mean([1 / len(row) for row in rows]))
    deviations = float(np.sqrt(between)), float(np.sqrt(within))
    return Spread(float(means.mean()), *deviations, own, len(rows), sum(map(len, rows)))
