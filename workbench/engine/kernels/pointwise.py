"""ReLU and 1×1 convolution of many edges at once, forward and backward.

As in `separable`: groups are the edges that leave one source, weights `(groups, c out, c in)` lie
in a flat array from `wo` on, a few pixels at a time go through everything that lies between two
batch norms.  `shape` is (groups, pixels, c in, c out); `x` has its pixels `pixel` numbers apart;
`part` are the first of the pixels that a call is for, and the one after the last.
"""

from __future__ import annotations

from workbench.engine.kernels.compiled import kernel, piece, room
from workbench.engine.kernels.depthwise import moments, outer_gradients, pointwise
from workbench.engine.kernels.separable import norm_gradient
from workbench.engine.kernels.simd import lanes, load, plain, store, where_positive

CHUNK = 16_384  # numbers of a map that are worked on together


@kernel
def forward(tile, shape, part, x, pixel, w, wo, y, yo, sums):
    """`y[g] = relu(x) w[g]^T`, from `yo` on; `sums` gets its moments.

    `y` is `(groups, pixels, c out)`, `sums` float64 `(groups, 2, c out)` and added to.
    """
    groups, pixels, c, out = shape
    most, start = max(1, CHUNK // c), plain(0)
    d, turned = room(most * c, x), room(groups * c * out, w)
    for g in range(groups):
        for i in range(out):
            for k in range(c):
                turned[(g * c + k) * out + i] = w[wo + (g * out + i) * c + k]
    for first in range(part[0], part[1], most):
        count = min(most, part[1] - first)
        _positive(tile, x, first * pixel, pixel, d, count, c)
        for g in range(groups):
            to = yo + (g * pixels + first) * out
            pointwise(tile, d, start, c, turned, g * c * out, y, to, out, count, c, out)
            moments(tile, y, to, sums, g * 2 * out, count, out)


@kernel
def backward(tile, shape, part, x, pixel, w, wo, y, yo, grad, go, coef, dx, dw, more):
    """The gradients of `forward` for the gradient `coef[0] grad + coef[1] y + coef[2]` of `y`.

    `dx` `(pixels, c in)` is written, or added to if `more`.  `dw` is like `w` and added to, and of
    no length where weights' gradients are not asked for.

    Args:
        grad: of the batch norms' outputs; group g's begins at `go[g]`.
        coef: `(groups, 3, c out)`.
    """
    groups, pixels, c, out = shape
    most, start = max(1, CHUNK // max(c, out)), plain(0)
    d, dd, back, dy = room(most * c, x), room(most * c, x), room(most * c, x), room(most * out, x)
    for first in range(part[0], part[1], most):
        count = min(most, part[1] - first)
        here = first * out
        if len(dw):
            _positive(tile, x, first * pixel, pixel, d, count, c)
        for g in range(groups):
            from_y = yo + g * pixels * out + here
            norm_gradient(tile, grad, go[g] + here, y, from_y, coef, g * 3 * out, dy, count, out)
            into = dd if g else back
            pointwise(tile, dy, start, out, w, wo + g * out * c, into, start, c, count, out, c)
            if g:
                add(tile, dd, back, start, count * c)
            if len(dw):
                outer_gradients(tile, dy, start, d, start, c, dw, wo + g * out * c, count, out, c)
        _through(tile, x, first * pixel, pixel, back, dx, first * c, more, count, c)


@piece
def _positive(tile, x, start, pixel, d, count, c):
    """A ReLU of `x`, its pixels side by side."""
    for p in range(count):
        for block in range(0, c, lanes(tile)):
            value = load(x, start + p * pixel + block, tile)
            store(d, p * c + block, where_positive(value, value))


@piece
def add(tile, x, total, to, count):
    """`total += x`, from `to` on."""
    for i in range(0, count, lanes(tile)):
        store(total, to + i, load(total, to + i, tile) + load(x, i, tile))


@piece
def _through(tile, x, start, pixel, back, dx, to, more, count, c):
    """To `dx` what a ReLU of `x` lets through of `back`; added to what is there if `more`."""
    for p in range(count):
        for block in range(0, c, lanes(tile)):
            value, into = load(x, start + p * pixel + block, tile), to + p * c + block
            through = where_positive(value, load(back, p * c + block, tile))
            store(dx, into, load(dx, into, tile) + through if more else through)
