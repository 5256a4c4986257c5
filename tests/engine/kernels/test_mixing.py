"""Sums over the pixels of a map."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.engine.kernels.mixing import add_moments
from workbench.engine.kernels.simd import Tile


@pytest.mark.parametrize("pixels", [1, 128, 129, 50_000])
def test_sums_of_many_float32_numbers_keep_their_digits(pixels):
    y = (10 + 0.1 * np.random.default_rng(0).standard_normal((2, pixels, 3))).astype(np.float32)
    sums = np.zeros((2, 2, 3))
    add_moments(Tile(1), y.ravel(), 0, sums.ravel(), 2, pixels, 3)
    exact = y.astype(np.float64)
    want = np.stack([exact.sum(1), np.square(exact).sum(1)], 1)
    np.testing.assert_allclose(sums, want, rtol=1e-6)
