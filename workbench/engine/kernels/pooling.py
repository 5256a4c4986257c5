"""3×3 pooling with a border of one pixel, channels-last, forward and backward.

A window moves along a row: what it shares with the one before stays in registers.  Pictures are
copied into maps with a border first, so that every window has nine places.  `shape` is (pictures,
height, width, channels), `part` the first of the pictures that a call is for, and the one after the
last; `x` begins at `start`, its pixels `pixel` apart.
"""

from __future__ import annotations

import numpy as np

from workbench.engine.kernels.compiled import kernel, piece, room
from workbench.engine.kernels.depthwise import moments
from workbench.engine.kernels.simd import (
    add_to,
    broadcast,
    lanes,
    larger,
    load,
    store,
    where_reached,
    zero,
)


@kernel
def pool(tile, largest, step, shape, part, x, start, pixel, y, yo, sums):
    """`y` `(pictures, h', w', c)`: the largest value, or the mean, of what lies in the picture.

    Its moments are added to `sums`, float64 `(2, c)`, if that is of any length.
    """
    _, height, width, c = shape
    h, w = (height - 1) // step + 1, (width - 1) // step + 1
    rows, columns = _shares(height, step, x), _shares(width, step, x)
    row = (width + 2) * c
    pad = room((height + 2) * row, x)
    pad[:] = -np.inf if largest else 0.0
    for n in range(part[0], part[1]):
        _fill(tile, x, start + n * height * width * pixel, pixel, pad, height, width, c)
        for block in range(0, c, lanes(tile)):
            for i in range(h):
                here, into = i * step * row + block, yo + (n * h + i) * w * c + block
                if largest:
                    _largest(tile, pad, here, row, y, into, w, step, c)
                else:
                    _mean(tile, pad, here, row, y, into, rows, i, columns, w, step, c)
        if len(sums):
            moments(tile, y, yo + n * h * w * c, sums, 0, h * w, c)


@piece
def _shares(length, step, like):
    """One over how many of a window's three places lie within `length`, for every window."""
    count = (length - 1) // step + 1
    shares = np.empty(count, like.dtype)
    for i in range(count):
        shares[i] = 1.0 / (min(i * step + 2, length) - max(i * step - 1, 0))
    return shares


@piece
def _fill(tile, x, start, pixel, pad, height, width, c):
    """A picture into the middle of a map whose border stays as it is."""
    for block in range(0, c, lanes(tile)):
        for i in range(height):
            into, source = (
                ((i + 1) * (width + 2) + 1) * c + block,
                start + i * width * pixel + block,
            )
            for j in range(width):
                store(pad, into + j * c, load(x, source + j * pixel, tile))


@piece
def _column(tile, pad, here, row):
    """The largest of three values below each other."""
    value = larger(load(pad, here, tile), load(pad, here + row, tile))
    return larger(value, load(pad, here + 2 * row, tile))


@piece
def _largest(tile, pad, here, row, y, into, w, step, c):
    left = _column(tile, pad, here, row)
    middle = _column(tile, pad, here + c, row)
    for j in range(w):
        right = _column(tile, pad, here + (j * step + 2) * c, row)
        store(y, into + j * c, larger(larger(left, middle), right))
        if step == 1:
            left, middle = middle, right
        elif j + 1 < w:
            left, middle = right, _column(tile, pad, here + (j * step + 3) * c, row)


@piece
def _total(tile, pad, here, row):
    """The sum of three values below each other."""
    return load(pad, here, tile) + load(pad, here + row, tile) + load(pad, here + 2 * row, tile)


@piece
def _mean(tile, pad, here, row, y, into, rows, i, columns, w, step, c):
    share = broadcast(rows, i, tile)
    left = _total(tile, pad, here, row)
    middle = _total(tile, pad, here + c, row)
    for j in range(w):
        right = _total(tile, pad, here + (j * step + 2) * c, row)
        store(y, into + j * c, (left + middle + right) * (share * broadcast(columns, j, tile)))
        if step == 1:
            left, middle = middle, right
        elif j + 1 < w:
            left, middle = right, _total(tile, pad, here + (j * step + 3) * c, row)


@kernel
def pool_back(tile, largest, step, shape, part, x, start, pixel, y, yo, normed, grad, go, coef, dx):
    """Add the gradient of `x` to `dx` `(pictures, height, width, c)`.

    That of `y` is the sum over groups of `coef[0] grad + coef[1] y + coef[2]`; without a batch norm
    (`normed`) only the first summand is there.  Where values tie for the largest, the first of them
    takes all, as in torch.

    Args:
        grad: of what `y` goes into; group g's begins at `go[g]`.
        coef: `(groups, 3, c)`.
    """
    _, height, width, c = shape
    h, w = (height - 1) // step + 1, (width - 1) // step + 1
    rows, columns = _shares(height, step, x), _shares(width, step, x)
    row = (width + 2) * c
    pad, back, dy = room((height + 2) * row, x), room((height + 2) * row, x), room(h * w * c, x)
    pad[:] = -np.inf  # which reaches nothing but a window without any finite value
    for n in range(part[0], part[1]):
        first = n * h * w * c
        _gradients(tile, grad, go, first, y, yo + first, normed, coef, dy, h * w, c)
        if largest:
            _fill(tile, x, start + n * height * width * pixel, pixel, pad, height, width, c)
        back[:] = 0.0
        for block in range(0, c, lanes(tile)):
            for i in range(h):
                here, out = i * step * row + block, i * w * c + block
                if largest:
                    at = yo + first + out
                    _largest_back(tile, pad, here, row, y, at, dy, out, back, w, step, c)
                else:
                    _mean_back(tile, dy, out, rows, i, columns, back, here, row, w, step, c)
            for i in range(height):
                into, source = (n * height + i) * width * c + block, (i + 1) * row + c + block
                for j in range(width):
                    add_to(dx, into + j * c, load(back, source + j * c, tile))


@piece
def _gradients(tile, grad, go, first, y, yo, normed, coef, dy, pixels, c):
    """`dy` of a picture, whose numbers are the `first` and on of each group."""
    for g in range(len(go)):
        for block in range(0, c, lanes(tile)):
            at, source = g * 3 * c + block, go[g] + first + block
            a, b = load(coef, at, tile), load(coef, at + c, tile)
            shift = load(coef, at + 2 * c, tile)
            for p in range(pixels):
                value = load(grad, source + p * c, tile) * a
                if normed:
                    value = value + load(y, yo + p * c + block, tile) * b + shift
                if g > 0:
                    value = value + load(dy, p * c + block, tile)
                store(dy, p * c + block, value)


@piece
def _largest_back(tile, pad, here, row, y, yo, dy, out, back, w, step, c):
    """One row of windows; the gradients of their pixels wait until no window needs them."""
    none = zero(dy, tile)
    a0, a1, a2, b0, b1, b2, c0, c1, c2 = none, none, none, none, none, none, none, none, none
    for j in range(w):
        at = here + j * step * c
        best, rest = load(y, yo + j * c, tile), load(dy, out + j * c, tile)
        a0, rest = _taken(tile, pad, at, best, rest, a0)
        a1, rest = _taken(tile, pad, at + c, best, rest, a1)
        a2, rest = _taken(tile, pad, at + 2 * c, best, rest, a2)
        b0, rest = _taken(tile, pad, at + row, best, rest, b0)
        b1, rest = _taken(tile, pad, at + row + c, best, rest, b1)
        b2, rest = _taken(tile, pad, at + row + 2 * c, best, rest, b2)
        c0, rest = _taken(tile, pad, at + 2 * row, best, rest, c0)
        c1, rest = _taken(tile, pad, at + 2 * row + c, best, rest, c1)
        c2, rest = _taken(tile, pad, at + 2 * row + 2 * c, best, rest, c2)
        _into_column(back, at, row, a0, b0, c0)
        if step == 1:
            a0, a1, a2, b0, b1, b2, c0, c1, c2 = a1, a2, none, b1, b2, none, c1, c2, none
        else:
            _into_column(back, at + c, row, a1, b1, c1)
            a0, a1, a2, b0, b1, b2, c0, c1, c2 = a2, none, none, b2, none, none, c2, none, none
    _into_column(back, here + w * step * c, row, a0, b0, c0)  # further right is border only


@piece
def _taken(tile, pad, at, best, rest, share):
    """A pixel's share with what it takes of `rest`, and what is left of that."""
    takes = where_reached(load(pad, at, tile), best, rest)
    return share + takes, rest - takes


@piece
def _into_column(back, at, row, a, b, c):
    add_to(back, at, a)
    add_to(back, at + row, b)
    add_to(back, at + 2 * row, c)


@piece
def _mean_back(tile, dy, out, rows, i, columns, back, here, row, w, step, c):
    share, none = broadcast(rows, i, tile), zero(dy, tile)
    left, middle = none, none
    for j in range(w):
        mine = load(dy, out + j * c, tile) * (share * broadcast(columns, j, tile))
        left, middle = left + mine, middle + mine
        at = here + j * step * c
        _into_column(back, at, row, left, left, left)
        if step == 1:
            left, middle = middle, mine
        else:
            _into_column(back, at + c, row, middle, middle, middle)
            left, middle = mine, none
    _into_column(back, here + w * step * c, row, left, left, left)
