"""ReLU and 1×1 convolution of many edges at once, forward and backward.

As in `separable`: groups are the edges that leave one source, weights `(groups, c out, c in)` lie
in a flat array from `wo` on, a few pixels at a time go through everything that lies between two
batch norms.  `x` has its pixels `pixel` numbers apart; `part` are the first and the last but one of
the pixels that a call is for.
"""

from __future__ import annotations

from workbench.engine.kernels.compiled import cleared, kernel, piece, room
from workbench.engine.kernels.depthwise import moments, outer_gradients, pointwise
from workbench.engine.kernels.separable import norm_gradient
from workbench.engine.kernels.simd import lanes, load, plain, store, where_positive

CHUNK = 16_384  # numbers of a map that are worked on together


@kernel
def forward(tile, shape, part, x, pixel, w, wo, y, yo, sums):
    """`y[g] = relu(x) w[g]^T`, from `yo` on; `sums` gets its moments.

    `shape` is (groups, pixels, c), `y` of it, `sums` float64 `(groups, 2, c)` and added to.
    """
    groups, pixels, c = shape
    most, start = max(1, CHUNK // c), plain(0)
    d, turned = room(most * c, x), room(groups * c * c, w)
    for g in range(groups):
        for i in range(c):
            for k in range(c):
                turned[(g * c + k) * c + i] = w[wo + (g * c + i) * c + k]
    for first in range(part[0], part[1], most):
        count = min(most, part[1] - first)
        _positive(tile, x, first * pixel, pixel, d, count, c)
        for g in range(groups):
            to = yo + (g * pixels + first) * c
            pointwise(tile, d, start, turned, g * c * c, y, to, count, c, c)
            moments(tile, y, to, sums, g * 2 * c, count, c)


@kernel
def backward(tile, shape, part, x, pixel, w, wo, y, yo, grad, go, coef, dx, dw):
    """The gradients of `forward` for the gradient `coef[0] grad + coef[1] y + coef[2]` of `y`.

    `dx` `(pixels, c)` is added to, and so is `dw`, which is like `w` and of no length where
    weights' gradients are not asked for.

    Args:
        grad: of the batch norms' outputs; group g's begins at `go[g]`.
        coef: `(groups, 3, c)`.
    """
    groups, pixels, c = shape
    most, start = max(1, CHUNK // c), plain(0)
    d, dy, dd, back = room(most * c, x), room(most * c, x), room(most * c, x), cleared(most * c, x)
    for first in range(part[0], part[1], most):
        count = min(most, part[1] - first)
        here = first * c
        if len(dw):
            _positive(tile, x, first * pixel, pixel, d, count, c)
        for g in range(groups):
            norm_gradient(
                tile, grad, go[g] + here, y, yo + g * pixels * c + here, coef, g * 3 * c,
                dy, count, c,
            )  # fmt: skip
            pointwise(tile, dy, start, w, wo + g * c * c, dd, start, count, c, c)
            _added(tile, dd, back, count * c, g == 0)
            if len(dw):
                outer_gradients(tile, dy, start, d, start, dw, wo + g * c * c, count, c, c)
        _through(tile, x, first * pixel, pixel, back, dx, here, count, c)


@piece
def _positive(tile, x, start, pixel, d, count, c):
    """A ReLU of `x`, its pixels side by side."""
    for block in range(0, c, lanes(tile)):
        for p in range(count):
            value = load(x, start + p * pixel + block, tile)
            store(d, p * c + block, where_positive(value, value))


@piece
def _added(tile, x, total, count, fresh):
    """`total (+)= x`; + unless it is `fresh`."""
    for i in range(0, count, lanes(tile)):
        value = load(x, i, tile)
        store(total, i, value if fresh else load(total, i, tile) + value)


@piece
def _through(tile, x, start, pixel, back, dx, to, count, c):
    """Add to `dx` what a ReLU of `x` lets through."""
    for block in range(0, c, lanes(tile)):
        for p in range(count):
            value, into = load(x, start + p * pixel + block, tile), to + p * c + block
            through = where_positive(value, load(back, p * c + block, tile))
            store(dx, into, load(dx, into, tile) + through)
