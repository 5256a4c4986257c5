"""A strided `skip_connect` of many edges at once, forward and backward.

As in `pointwise`, but of every second pixel: the first half of the channels that go out are a 1×1
convolution of the pixels in even rows and columns, the others of those one further, which are 0
beyond the map.  `shape` is (groups, pictures, height, width, c in, c out) of the input; `part` the
first of the pictures that a call is for, and the one after the last.  Weights are `(groups, c in,
half of c out)`, those of even pixels from `wo[0]` on, the others from `wo[1]` on.
"""

from __future__ import annotations

from workbench.engine.kernels.compiled import kernel, piece, room
from workbench.engine.kernels.depthwise import moments, outer_gradients, pointwise
from workbench.engine.kernels.pointwise import CHUNK, add
from workbench.engine.kernels.separable import norm_gradient
from workbench.engine.kernels.simd import lanes, load, plain, store, where_positive, zero


@kernel
def forward(tile, shape, part, x, pixel, w, wo, y, yo, sums):
    """`y[g] = relu(x) w[g]`, from `yo` on; `sums` gets its moments.

    `y` is `(groups, pictures, h', w', c out)`, `sums` float64 `(groups, 2, c out)` and added to.
    """
    groups, images, height, width, c, out = shape
    pixels = ((height + 1) // 2) * ((width + 1) // 2)
    most = max(1, CHUNK // (pixels * c))
    d = room(most * pixels * c, x)
    for first in range(part[0], part[1], most):
        count = min(most, part[1] - first)
        for odd in range(2):
            half, start = (out + odd) // 2, plain(0)
            _every_second(tile, x, first, pixel, d, start, count, height, width, c, odd)
            for g in range(groups):
                to = yo + (g * images + first) * pixels * out + odd * (out // 2)
                pointwise(
                    tile, d, start, c, w, wo[odd] + g * c * half, y, to, out, count * pixels, c,
                    half,
                )  # fmt: skip
        for g in range(groups):
            to = yo + (g * images + first) * pixels * out
            moments(tile, y, to, sums, g * 2 * out, count * pixels, out)


@kernel
def backward(tile, shape, part, x, pixel, w, wo, y, yo, grad, go, coef, dx, dw):
    """The gradients of `forward` for the gradient `coef[0] grad + coef[1] y + coef[2]` of `y`.

    `dx` `(pictures, height, width, c in)` is added to, and so is `dw`, which is like `w` and of no
    length where weights' gradients are not asked for.

    Args:
        grad: of the batch norms' outputs; group g's begins at `go[g]`.
        coef: `(groups, 3, c out)`.
    """
    groups, images, height, width, c, out = shape
    pixels = ((height + 1) // 2) * ((width + 1) // 2)
    most, start = max(1, CHUNK // (pixels * max(c, out))), plain(0)
    inner = most * pixels * c
    d, back, dd, dy = (
        room(2 * inner, x),
        room(2 * inner, x),
        room(inner, x),
        room(most * pixels * out, x),
    )
    turned = _turned(w, wo, groups, c, out)
    for first in range(part[0], part[1], most):
        count = min(most, part[1] - first)
        many, here = count * pixels, first * pixels * out
        for odd in range(2):
            _every_second(tile, x, first, pixel, d, odd * inner, count, height, width, c, odd)
        for g in range(groups):
            from_y = yo + g * images * pixels * out + here
            norm_gradient(tile, grad, go[g] + here, y, from_y, coef, g * 3 * out, dy, many, out)
            for odd in range(2):
                half, side, at = (out + odd) // 2, odd * (out // 2), odd * inner
                into, to = (dd, start) if g else (back, at)
                back_to = (g * out + side) * c
                pointwise(tile, dy, side, out, turned, back_to, into, to, c, many, half, c)
                if g:
                    add(tile, dd, back, at, many * c)
                if len(dw):
                    to = wo[odd] + g * c * half
                    outer_gradients(tile, d, at, dy, side, out, dw, to, many, c, half)
        for odd in range(2):
            _through(tile, d, back, odd * inner, dx, first, count, height, width, c, odd)


@piece
def _every_second(tile, x, first, pixel, d, to, count, height, width, c, odd):
    """A ReLU of every second pixel, side by side; 0 for those beyond the map."""
    for n in range(count):
        for j in range(odd, height + odd, 2):
            for i in range(odd, width + odd, 2):
                source, inside = (
                    (((first + n) * height + j) * width + i) * pixel,
                    j < height and i < width,
                )
                for block in range(0, c, lanes(tile)):
                    value = load(x, source + block, tile) if inside else zero(x, tile)
                    store(d, to + block, where_positive(value, value))
                to += c


@piece
def _through(tile, d, back, at, dx, first, count, height, width, c, odd):
    """Add to every second pixel what a ReLU, whose output is `d`, lets through of `back`."""
    for n in range(count):
        for j in range(odd, height + odd, 2):
            for i in range(odd, width + odd, 2):
                if j < height and i < width:
                    into = (((first + n) * height + j) * width + i) * c
                    for block in range(0, c, lanes(tile)):
                        gradient = where_positive(
                            load(d, at + block, tile), load(back, at + block, tile)
                        )
                        store(dx, into + block, load(dx, into + block, tile) + gradient)
                at += c


@piece
def _turned(w, wo, groups, c, out):
    """The weights as `(groups, c out, c in)`."""
    turned = room(groups * out * c, w)
    for g in range(groups):
        for odd in range(2):
            half, side = (out + odd) // 2, odd * (out // 2)
            for k in range(c):
                for i in range(half):
                    turned[(g * out + side + i) * c + k] = w[wo[odd] + (g * c + k) * half + i]
    return turned
