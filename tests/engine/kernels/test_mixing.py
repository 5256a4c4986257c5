"""Sums over the pixels of a map."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from workbench.engine.kernels.depthwise import moments
from workbench.engine.kernels.simd import Tile


@njit
def moments_of(tile, y, sums, pixels):
    moments(tile, y, 0, sums, 0, pixels, 3)


@pytest.mark.parametrize("pixels", [1, 128, 129, 50_000])
def test_sums_of_many_float32_numbers_keep_their_digits(pixels):
    y = (10 + 0.1 * np.random.default_rng(0).standard_normal((pixels, 3))).astype(np.float32)
    sums = np.zeros((2, 3))
    moments_of(Tile(1), y.ravel(), sums.ravel(), pixels)
    exact = y.astype(np.float64)
    want = np.stack([exact.sum(0), np.square(exact).sum(0)])
    np.testing.assert_allclose(sums, want, rtol=1e-6)
