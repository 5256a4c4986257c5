"""ReLU and 3×3 convolution of many edges at once: 16 products for four pixels instead of 36.

Winograd's F(2×2, 3×3): with `B` of four by four, `G` of four by three and `A` of four by two
numbers 0, ±1 and ±1/2, a tile of 2×2 outputs is `A' [(G w G') * (B' x B)] A` of 4×4 inputs, and
the sum over channels is a matrix product for each of the 16 places of a tile.  Gradients are those
of this formula, place by place.  Lavin and Gray, CVPR 2016, arXiv:1509.09308.

Groups are the edges that leave one source, as in `separable`; their weights `(groups, c out, c in,
3, 3)` lie in a flat array from `wo` on.  A few rows of tiles at a time go through everything that
lies between two batch norms; `part` are the first of the pictures that a call is for, and the one
after the last.  What belongs to tiles lies in memory as `(places, tiles, channels)`, each place
`GAP` numbers farther on than it need be: at powers of 2 all would share a few lines of the cache.
"""

from __future__ import annotations

from workbench.engine.kernels.compiled import cleared, kernel, piece, room
from workbench.engine.kernels.depthwise import moments, outer_gradients, pointwise
from workbench.engine.kernels.separable import norm_gradient
from workbench.engine.kernels.simd import add_to, lanes, load, plain, store, where_positive, zero
from workbench.engine.kernels.tiles import (
    folded_weights,
    grown_outputs,
    inputs_of,
    outputs_of,
    unfolded_gradients,
    unfolded_inputs,
)

CHUNK = 16_384  # numbers of a chunk's inputs, each place counted
GAP = 16


@kernel
def forward(tile, shape, part, x, pixel, w, wo, y, yo, sums):
    """`y[g]`, the convolution of `relu(x)` with `w[g]`, from `yo` on; `sums` gets its moments.

    `shape` is (groups, pictures, height, width, c), `y` of it, `sums` float64 `(groups, 2, c)` and
    added to; `x` has its pixels `pixel` numbers apart.
    """
    groups, images, height, width, c = shape
    across = (width + 1) // 2
    down, wide = (height + 1) // 2, groups * c
    most = max(1, CHUNK // (16 * across * c))
    strip = cleared(4 * (2 * across + 2) * c, x)
    v = room(16 * (most * across * c + GAP), x)
    m = room(16 * (most * across * wide + GAP), x)
    jump = c * wide + GAP
    u = room(16 * jump, w)
    folded_weights(w, wo, u, jump, groups, c, plain(False))
    for first in range(part[0] * down, part[1] * down, most):
        count = min(most, part[1] * down - first)
        tiles = count * across
        narrow, broad = tiles * c + GAP, tiles * wide + GAP
        for r in range(count):
            n, ty = (first + r) // down, (first + r) % down
            begin = n * height * width * pixel
            _strip(tile, x, begin, pixel, ty, strip, height, width, c)
            inputs_of(tile, strip, v, r * across, narrow, across, c)
        for place in range(16):
            at, to = place * narrow, place * broad
            pointwise(tile, v, at, c, u, place * jump, m, to, wide, tiles, c, wide)
        for g in range(groups):
            for r in range(count):
                n, ty = (first + r) // down, (first + r) % down
                rows = min(2, height - 2 * ty)
                to = yo + (((g * images + n) * height + 2 * ty) * width) * c
                outputs_of(tile, m, r * across, broad, wide, g * c, y, to, rows, width, c)
                moments(tile, y, to, sums, g * 2 * c, rows * width, c)


@kernel
def backward(tile, shape, part, x, pixel, w, wo, y, yo, grad, go, coef, dx, dw):
    """The gradients of `forward` for the gradient `coef[0] grad + coef[1] y + coef[2]` of `y`.

    `dx` `(pictures, height, width, c)` is added to, and so is `dw`, which is like `w` and of no
    length where weights' gradients are not asked for.

    Args:
        grad: of the batch norms' outputs; group g's begins at `go[g]`.
        coef: `(groups, 3, c)`.
    """
    groups, _, height, width, c = shape
    across, down, wide = (width + 1) // 2, (height + 1) // 2, groups * c
    most = max(1, CHUNK // (16 * across * c))
    strip, back = cleared(4 * (2 * across + 2) * c, x), room(4 * (2 * across + 2) * c, x)
    dy = room(2 * width * c, x)
    dm = room(16 * (most * across * wide + GAP), x)
    dv = room(16 * (most * across * c + GAP), x)
    jump = c * wide + GAP
    u = room(16 * jump, w)
    folded_weights(w, wo, u, jump, groups, c, plain(True))
    asked = len(dw) > 0
    v = room(16 * (most * across * c + GAP) if asked else 0, x)
    du = cleared(16 * jump if asked else 0, x)
    for first in range(part[0] * down, part[1] * down, most):
        count = min(most, part[1] * down - first)
        tiles = count * across
        narrow, broad = tiles * c + GAP, tiles * wide + GAP
        _gradients_of_tiles(tile, shape, first, count, y, yo, grad, go, coef, dy, dm, broad)
        for place in range(16):
            at, to = place * broad, place * narrow
            pointwise(tile, dm, at, wide, u, place * jump, dv, to, c, tiles, wide, c)
        for r in range(count):
            n, ty = (first + r) // down, (first + r) % down
            begin, into = n * height * width * pixel, n * height * width * c
            if asked:
                _strip(tile, x, begin, pixel, ty, strip, height, width, c)
                inputs_of(tile, strip, v, r * across, narrow, across, c)
            unfolded_inputs(tile, dv, r * across, narrow, back, across, c)
            _through(tile, x, begin, pixel, ty, back, dx, into, height, width, c)
        if asked:
            for place in range(16):
                at, to = place * narrow, place * broad
                outer_gradients(tile, v, at, dm, to, wide, du, place * jump, tiles, c, wide)
    if asked:
        unfolded_gradients(du, jump, dw, wo, groups, c)


@piece
def _gradients_of_tiles(tile, shape, first, count, y, yo, grad, go, coef, dy, dm, jump):
    """The gradients of `count` rows of tiles of every group, `A dy A'`, to `dm`."""
    groups, images, height, width, c = shape
    across, down = (width + 1) // 2, (height + 1) // 2
    for g in range(groups):
        for r in range(count):
            n, ty = (first + r) // down, (first + r) % down
            rows, here = min(2, height - 2 * ty), (n * height + 2 * ty) * width * c
            from_y = yo + g * images * height * width * c + here
            norm_gradient(tile, grad, go[g] + here, y, from_y, coef, g * 3 * c, dy, rows * width, c)
            grown_outputs(tile, dy, dm, r * across, jump, groups * c, g * c, rows, width, c)


@piece
def _strip(tile, x, start, pixel, ty, strip, height, width, c):
    """The four rows that a row of tiles sees, after a ReLU; what is no pixel stays 0."""
    row = (2 * ((width + 1) // 2) + 2) * c
    for k in range(4):
        i = 2 * ty - 1 + k
        for block in range(0, c, lanes(tile)):
            into = k * row + c + block
            if i < 0 or i >= height:
                for j in range(width):
                    store(strip, into + j * c, zero(strip, tile))
                continue
            source = start + i * width * pixel + block
            for j in range(width):
                value = load(x, source + j * pixel, tile)
                store(strip, into + j * c, where_positive(value, value))


@piece
def _through(tile, x, start, pixel, ty, back, dx, to, height, width, c):
    """Add to `dx` what a ReLU of `x` lets through of a strip's gradient, `back`."""
    row = (2 * ((width + 1) // 2) + 2) * c
    for k in range(4):
        i = 2 * ty - 1 + k
        if i < 0 or i >= height:
            continue
        for block in range(0, c, lanes(tile)):
            for j in range(width):
                value = load(x, start + (i * width + j) * pixel + block, tile)
                gradient = load(back, k * row + (j + 1) * c + block, tile)
                add_to(dx, to + (i * width + j) * c + block, where_positive(value, gradient))
