"""Do training-free scores order genotypes as training does?  Scores against accuracy."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from workbench.errors import WorkbenchError
from workbench.plots import theme
from workbench.plots.names import as_text

DRAWS = 1000  # of the bootstrap
ACROSS = 3
DOTS = 2000  # per panel; the figures are of all


class ScoresError(WorkbenchError):
    """A table of scores that cannot be drawn."""


def scores_frame(
    frame: pd.DataFrame, *, x: str | Sequence[str], y: str, seed: int = 0
) -> pd.DataFrame:
    """Rank correlation of every score with `y`, over the genotypes that have both.

    rho is Spearman's (Pearson's correlation of the ranks, equal values share their mean rank), tau
    Kendall's tau-b.  `low` and `high` are the 2.5 and 97.5 percentiles of rho over 1000 bootstrap
    samples of the genotypes.

    Args:
        frame: One row per genotype, one column per score and for `y`; as `workbench score --json`
            or a table of accuracies gives them.
        x: The column or columns of scores.
        y: The column to order by, such as a test accuracy.
        seed: Of the bootstrap.

    Returns:
        Columns `score`, `count` (genotypes with both), `rho`, `low`, `high`, `tau`, the last four
        NaN below three genotypes or where either is constant.

    Raises:
        ScoresError: if a column is missing or is no number.
    """
    rows = []
    for name in _names(frame, x, y):
        a, b = _pairs(frame, name, y)
        known = len(a) > 2 and len(np.unique(a)) > 1 and len(np.unique(b)) > 1
        rho = low = high = tau = float("nan")
        if known:
            rho = float(_weighted_rho(a, b, np.ones((1, len(a))))[0])
            low, high = _interval(a, b, np.random.default_rng(seed))
            tau = _tau(a, b)
        rows.append((name, len(a), rho, low, high, tau))
    return pd.DataFrame(rows, columns=["score", "count", "rho", "low", "high", "tau"])


def _names(frame: pd.DataFrame, x: str | Sequence[str], y: str) -> list[str]:
    names = [x] if isinstance(x, str) else list(x)
    for name in (*names, y):
        if name not in frame:
            have = ", ".join(map(str, frame.columns))
            raise ScoresError(f"scores: the table has no column {name!r}; it has {have}")
        if not pd.api.types.is_numeric_dtype(frame[name]):
            raise ScoresError(
                f"scores: column {name!r} is no number; convert it with pd.to_numeric"
            )
    if not names:
        raise ScoresError("scores(x=[]): name one or more columns of scores")
    return names


def _pairs(frame: pd.DataFrame, x: str, y: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    both = frame[[x, y]].to_numpy(dtype=np.float64)
    both = both[np.isfinite(both).all(axis=1)]
    return both[:, 0], both[:, 1]


def _interval(
    a: NDArray[np.float64], b: NDArray[np.float64], generator: np.random.Generator
) -> tuple[float, float]:
    """Percentiles of rho over samples with replacement, drawn in parts that fit the memory."""
    count, found = len(a), []
    each = max(1, min(DRAWS, 2_000_000 // count))
    for start in range(0, DRAWS, each):
        drawn = generator.integers(count, size=(min(each, DRAWS - start), count))
        times = np.stack([np.bincount(row, minlength=count) for row in drawn])
        found.append(_weighted_rho(a, b, times.astype(np.float64)))
    low, high = np.nanquantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def _weighted_rho(
    a: NDArray[np.float64], b: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Spearman's rho where pair i occurs `times[:, i]` times, one value per row of `times`."""
    total = times.sum(1, keepdims=True)
    ranks = [_mean_ranks(values, times) for values in (a, b)]
    one, two = (rank - (total + 1) / 2 for rank in ranks)  # the mean of all ranks
    weighed = times * one
    product, first = (np.einsum("ij,ij->i", weighed, other) for other in (two, one))
    spread = np.sqrt(first * np.einsum("ij,ij,ij->i", times, two, two))
    return np.divide(product, spread, out=np.full(len(times), np.nan), where=spread > 0)


def _mean_ranks(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of every value among all that were drawn; equal values share their mean rank."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.add.reduceat(times[:, order], starts, axis=1)  # (draws, distinct values)
    return (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, group]


def _tau(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Kendall's tau-b: (concordant - discordant) / sqrt(pairs untied in a * pairs untied in b)."""
    one, two = (np.unique(values, return_inverse=True)[1].astype(np.int64) for values in (a, b))
    both = one * (two.max() + 1) + two
    ties_a, ties_b, ties_both = (
        _pairs_in(np.bincount(c).astype(np.int64))
        for c in (one, two, np.unique(both, return_inverse=True)[1])
    )
    pairs = _pairs_in(np.array([len(a)]))
    untied = pairs - ties_a - ties_b + ties_both  # concordant and discordant ones
    discordant = _inversions(two[np.argsort(both)])
    spread = float(pairs - ties_a) * float(pairs - ties_b)
    return (untied - 2 * discordant) / float(np.sqrt(spread))


def _pairs_in(sizes: NDArray[np.integer]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _inversions(codes: NDArray[np.int64]) -> int:
    """How many pairs stand in falling order: sorted blocks of two, four, … are merged.

    Knight, A computer method for calculating Kendall's tau, 1966.
    """
    top, found = int(codes.max()) + 1, 0
    padding = 2 ** int(np.ceil(np.log2(len(codes)))) - len(codes)
    blocks = np.append(codes, np.full(padding, top)).reshape(-1, 1)
    while len(blocks) > 1:
        left, right = blocks[0::2], blocks[1::2]
        lift = (top + 1) * np.arange(len(left))[:, None]  # so that one search serves all blocks
        not_above = np.searchsorted((left + lift).ravel(), (right + lift).ravel(), side="right")
        before = left.shape[1] * np.arange(1, len(left) + 1)[:, None]
        found += int((before - not_above.reshape(right.shape)).sum())
        blocks = np.sort(np.concatenate([left, right], axis=1), axis=1)
    return found


def scores(
    frame: pd.DataFrame, *, x: str | Sequence[str], y: str, seed: int = 0, label: str | None = None
) -> go.Figure:
    """A dot per genotype, its score against `y`; a panel per score, with its rank correlation.

    Args:
        frame: One row per genotype; a column `genotype` is shown under the pointer.
        x: The column or columns of scores.
        y: The column to order by.
        seed: Of the bootstrap, and of the draw where there are more than 2000 genotypes.
        label: The title of the vertical axis, with its unit; the column's name if None.

    Raises:
        ScoresError: if a column is missing or is no number.
    """
    found = scores_frame(frame, x=x, y=y, seed=seed)
    names, words = found["score"].tolist(), [_words(row) for row in found.to_dict("records")]
    rows, across = -(-len(names) // ACROSS), min(len(names), ACROSS)
    fig = make_subplots(
        rows=rows,
        cols=across,
        shared_yaxes=True,
        subplot_titles=words if len(names) > 1 else None,
        horizontal_spacing=0.04,
        vertical_spacing=0.34 / rows,
    )
    for index, name in enumerate(names):
        row, col = index // across + 1, index % across + 1
        fig.add_trace(_dots(frame, name, y, seed), row=row, col=col)
        fig.update_xaxes(title=as_text(name), row=row, col=col)
        if not found["count"].iloc[index]:
            theme.note(fig, "No genotype has both", row=row, col=col)
    fig.update_yaxes(title=label or as_text(y), col=1)
    fig.update_annotations(font={"size": 12})
    single = words[0] if len(names) == 1 else ""
    about = "[…]: 95 % bootstrap interval of ρ over genotypes"
    theme.styled(
        fig,
        title="Do training-free scores order genotypes as training does?",
        subtitle=f"{single}; {about}" if single else f"ρ Spearman, τ Kendall; {about}",
        height=130 + 320 * rows,
    )
    return fig.update_layout(showlegend=False, margin={"t": 104})


def _words(row: Mapping[Hashable, float]) -> str:
    count = f"{row['count']:,} genotypes"
    if row["count"] > DOTS:
        count += f", {DOTS:,} drawn"
    if not np.isfinite(row["rho"]):
        return f"no rank correlation, {count}"
    interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
    return f"ρ {row['rho']:.2f} {interval}, τ {row['tau']:.2f}, {count}"


def _dots(frame: pd.DataFrame, x: str, y: str, seed: int) -> go.Scatter:
    shown = frame.loc[np.isfinite(frame[[x, y]].to_numpy(dtype=np.float64)).all(axis=1)]
    if len(shown) > DOTS:
        shown = shown.sample(DOTS, random_state=seed)
    named = shown["genotype"].map(as_text).tolist() if "genotype" in shown else None
    return go.Scatter(
        x=shown[x].to_numpy(dtype=np.float64),
        y=shown[y].to_numpy(dtype=np.float64),
        customdata=named,
        mode="markers",
        marker={"color": theme.faded(theme.SERIES[0], 0.8), "size": 6},
        hovertemplate=("%{customdata}<br>" if named else "")
        + f"{as_text(x)} %{{x:.5g}}<br>{as_text(y)} %{{y:.4g}}<extra></extra>",
    )
