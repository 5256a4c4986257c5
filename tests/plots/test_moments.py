from __future__ import annotations

import numpy as np
import pytest

from workbench import analysis
from workbench.plots import moments
from workbench.trace import Run


def test_even_moments_keep_both_ends() -> None:
    assert moments.evenly(9, 3).tolist() == [0, 4, 8]
    assert moments.evenly(4, 9).tolist() == [0, 1, 2, 3]
    assert moments.evenly(4, None).tolist() == [0, 1, 2, 3]
    assert moments.evenly(0, 3).tolist() == []
    assert moments.evenly(20_000, 40)[[0, -1]].tolist() == [0, 19_999]


def test_ranks_count_from_the_largest_and_the_first_column_wins_a_tie() -> None:
    values = np.array([[0.1, 0.5, np.nan, 0.5], [3.0, 2.0, 1.0, 0.0]])
    assert moments.ranks(values).tolist() == [[3, 1, 4, 2], [1, 2, 3, 4]]


def test_over_edges_agrees_with_a_group_by(run: Run) -> None:
    entropy = analysis.entropy(run)
    frame = moments.over_edges(entropy).set_index(["step", "kind"]).sort_index()
    slow = entropy.to_dataframe().groupby(["step", "kind"])["entropy"].agg(["mean", "min", "max"])
    assert frame.to_numpy() == pytest.approx(slow.to_numpy())


def test_edges_without_a_value_are_left_out(run: Run) -> None:
    entropy = analysis.entropy(run).copy()
    entropy[3, 0] = np.nan
    entropy[4, entropy["kind"].values == "normal"] = np.nan
    frame = moments.over_edges(entropy).set_index(["kind", "step"])
    normal = entropy[3, entropy["kind"].values == "normal"]
    assert frame.loc[("normal", 3), "mean"] == pytest.approx(float(normal[1:].mean()))
    assert frame.loc[("normal", 4)].isna().all()
    assert frame.loc[("reduce", 4)].notna().all()
