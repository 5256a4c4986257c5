"""3×3 pooling with a border of one pixel, channels-last, forward and backward."""

from __future__ import annotations

import numpy as np

from workbench.engine.kernels.compiled import kernel
from workbench.engine.kernels.simd import broadcast, lanes, larger, load, store, where_reached, zero


@kernel
def pool(tile, largest, step, shape, x, start, pixel, y, yo):
    """`y` `(pictures, h', w', c)`: the largest value, or the mean, of what lies in the picture.

    `shape` is (pictures, height, width, channels); `x` begins at `start`, its pixels `pixel` apart.
    """
    images, height, width, c = shape
    h, w = (height - 1) // step + 1, (width - 1) // step + 1
    parts = (1.0 / np.arange(1, 10)).astype(x.dtype)
    for n in range(images):
        for i in range(h):
            top, bottom = max(i * step - 1, 0), min(i * step + 2, height)
            for j in range(w):
                left, right = max(j * step - 1, 0), min(j * step + 2, width)
                part = (bottom - top) * (right - left) - 1
                for block in range(0, c, lanes(tile)):
                    here = start + n * height * width * pixel + block
                    into = yo + ((n * h + i) * w + j) * c + block
                    if largest:
                        value = load(x, here + (top * width + left) * pixel, tile)
                        for a in range(top, bottom):
                            for b in range(left, right):
                                value = larger(value, load(x, here + (a * width + b) * pixel, tile))
                        store(y, into, value)
                    else:
                        value = zero(x, tile)
                        for a in range(top, bottom):
                            for b in range(left, right):
                                value = value + load(x, here + (a * width + b) * pixel, tile)
                        store(y, into, value * broadcast(parts, part, tile))


@kernel
def pool_back(tile, largest, step, shape, x, start, pixel, y, yo, dy, dx):
    """Add the gradient of `x` to `dx` `(pictures, height, width, c)`, for `dy` of `y`.

    Where values tie for the largest, the first of them takes all, as in torch.
    """
    images, height, width, c = shape
    h, w = (height - 1) // step + 1, (width - 1) // step + 1
    parts = (1.0 / np.arange(1, 10)).astype(x.dtype)
    for n in range(images):
        for i in range(h):
            top, bottom = max(i * step - 1, 0), min(i * step + 2, height)
            for j in range(w):
                left, right = max(j * step - 1, 0), min(j * step + 2, width)
                part = (bottom - top) * (right - left) - 1
                for block in range(0, c, lanes(tile)):
                    here = start + n * height * width * pixel + block
                    into = n * height * width * c + block
                    out = ((n * h + i) * w + j) * c + block
                    rest = load(dy, out, tile)
                    if largest:
                        best = load(y, yo + out, tile)
                        for a in range(top, bottom):
                            for b in range(left, right):
                                at = a * width + b
                                value = load(x, here + at * pixel, tile)
                                share = where_reached(value, best, rest)
                                rest = rest - share
                                store(dx, into + at * c, load(dx, into + at * c, tile) + share)
                    else:
                        share = rest * broadcast(parts, part, tile)
                        for a in range(top, bottom):
                            for b in range(left, right):
                                at = into + (a * width + b) * c
                                store(dx, at, load(dx, at, tile) + share)
