from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.plots import scores, scores_frame
from workbench.plots.scores import ScoresError, _inversions, _mean_ranks, _weighted_rho


def table(count: int = 60, *, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    zen = draw.integers(0, 12, count).astype(float)  # with ties
    noisy = -zen + draw.normal(0, 4, count).round()
    return pd.DataFrame({"zen": zen, "ntk": noisy, "accuracy": 70 + zen + draw.normal(0, 3, count)})


def test_correlations_are_those_of_pandas() -> None:
    frame = table()
    found = scores_frame(frame, x=["zen", "ntk"], y="accuracy").set_index("score")
    for name in ("zen", "ntk"):
        for column, method in (("rho", "spearman"), ("tau", "kendall")):
            expected = frame[name].corr(frame["accuracy"], method=method)
            assert found.loc[name, column] == pytest.approx(expected)


def test_the_interval_is_that_of_resampled_tables() -> None:
    frame = table(40)
    found = scores_frame(frame, x="zen", y="accuracy").iloc[0]
    draw = np.random.default_rng(7)
    resampled = [
        frame.iloc[draw.integers(0, 40, 40)][["zen", "accuracy"]].corr("spearman").iloc[0, 1]
        for _ in range(600)
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert found["low"] == pytest.approx(low, abs=0.05)
    assert found["high"] == pytest.approx(high, abs=0.03)
    assert found["low"] < found["rho"] < found["high"]


def test_a_pair_drawn_twice_counts_as_two_pairs() -> None:
    a, b = table(9)[["zen", "accuracy"]].to_numpy().T
    times = np.array([[0, 2, 1, 1, 3, 0, 1, 1, 0]])
    twice = pd.DataFrame({"a": a.repeat(times[0]), "b": b.repeat(times[0])})
    expected = twice["a"].corr(twice["b"], method="spearman")
    assert _weighted_rho(a, b, times.astype(float))[0] == pytest.approx(expected)


def test_mean_ranks_are_those_of_pandas() -> None:
    values = np.array([3.0, 1.0, 3.0, 2.0, 1.0])
    assert _mean_ranks(values, np.ones((1, 5)))[0].tolist() == pd.Series(values).rank().tolist()


@pytest.mark.parametrize("count", [2, 3, 8, 37])
def test_inversions_are_counted_as_by_hand(count: int) -> None:
    codes = np.random.default_rng(count).integers(0, 9, count)
    slow = sum(int(a > b) for i, a in enumerate(codes) for b in codes[i + 1 :])
    assert _inversions(codes) == slow


def test_the_same_seed_gives_the_same_interval() -> None:
    first, again = (scores_frame(table(), x="zen", y="accuracy", seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    other = scores_frame(table(), x="zen", y="accuracy", seed=4)
    assert other["low"][0] != first["low"][0]


def test_genotypes_without_a_figure_are_left_out() -> None:
    frame = table(10)
    frame.loc[[1, 4], "zen"] = [np.nan, np.inf]
    frame.loc[5, "accuracy"] = np.nan
    assert scores_frame(frame, x="zen", y="accuracy")["count"].tolist() == [7]
    assert len(scores(frame, x="zen", y="accuracy").data[0].x) == 7


def test_where_nothing_varies_there_is_no_correlation() -> None:
    frame = table(10).assign(zen=1.0)
    assert scores_frame(frame, x="zen", y="accuracy")[["rho", "tau", "low"]].isna().all(axis=None)
    fig = scores(frame, x="zen", y="accuracy")
    assert "no rank correlation, 10 genotypes" in fig.layout.title.subtitle.text


def test_one_score_says_its_correlation_in_the_subtitle_and_several_above_their_panels() -> None:
    frame = table()
    one = scores(frame, x="zen", y="accuracy", label="Test accuracy (%)")
    assert one.layout.title.subtitle.text.startswith("ρ 0.")
    assert one.layout.yaxis.title.text == "Test accuracy (%)"
    several = scores(frame, x=["zen", "ntk"], y="accuracy")
    assert [note.text.split()[0] for note in several.layout.annotations] == ["ρ", "ρ"]
    assert [several.layout.xaxis.title.text, several.layout.xaxis2.title.text] == ["zen", "ntk"]


def test_of_many_genotypes_some_are_drawn_and_it_is_said() -> None:
    fig = scores(table(2500), x="zen", y="accuracy")
    assert len(fig.data[0].x) == 2000
    assert "2,500 genotypes, 2,000 drawn" in fig.layout.title.subtitle.text


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(ScoresError, match="no column 'zico'; it has zen, ntk, accuracy"):
        scores(table(), x="zico", y="accuracy")
    with pytest.raises(ScoresError, match=r"'zen' is no number; convert it with pd\.to_numeric"):
        scores(table().assign(zen="high"), x="zen", y="accuracy")
    with pytest.raises(ScoresError, match="name one or more"):
        scores(table(), x=[], y="accuracy")
