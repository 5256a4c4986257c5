"""The luck of a search and the luck of a training, told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.comparison import spread


def test_both_deviations_are_those_of_the_formula():
    found = spread([[1.0, 3.0], [5.0, 6.0, 7.0], []])
    assert found.mean == (2 + 6) / 2
    assert found.search_sd == pytest.approx(math.sqrt(8))  # of the means 2 and 6
    assert found.retraining_sd == pytest.approx(math.sqrt((2 + 2) / (1 + 2)))
    assert found.own_variance == pytest.approx(8 - 4 / 3 * (1 / 2 + 1 / 3) / 2)
    assert (found.searches, found.retrainings) == (2, 5)


def test_what_cannot_be_known_is_nan():
    once = spread([[0.9], [0.8]])
    assert once.search_sd == pytest.approx(math.sqrt(0.005))
    assert math.isnan(once.retraining_sd)
    assert math.isnan(once.own_variance)
    one = spread([[0.9, 0.8]])
    assert math.isnan(one.search_sd)
    assert one.retraining_sd == pytest.approx(math.sqrt(0.005))
    assert math.isnan(one.own_variance)
    assert math.isnan(spread([[], []]).mean)
    assert spread([]).searches == 0


@pytest.mark.parametrize(("own", "within"), [(1.0, 0.3), (0.3, 1.0), (0.0, 1.0)])
def test_simulated_searches_give_back_both_variances(own, within):
    random = np.random.default_rng(0)
    counts = [1, 2, 3, 4]
    found = []
    for _ in range(1000):
        searches = own * random.normal(size=len(counts))
        pairs = zip(searches, counts, strict=True)
        found.append(spread([mean + within * random.normal(size=n) for mean, n in pairs]))
    error = 4 * np.std([one.own_variance for one in found]) / math.sqrt(len(found))
    assert np.mean([one.own_variance for one in found]) == pytest.approx(own**2, abs=error)
    assert np.mean([one.retraining_sd**2 for one in found]) == pytest.approx(within**2, rel=0.1)
