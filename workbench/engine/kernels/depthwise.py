"""Pieces of a separable convolution on a few pictures: what both passes are made of.

Arrays are flat and channels-last; `start`, `at`, `to` are offsets into them.  `step` is the stride,
`far` the dilation; `tile` holds how many channels a vector has and the taps a side.
"""

from __future__ import annotations

from workbench.engine.kernels.compiled import piece
from workbench.engine.kernels.simd import (
    add_to,
    broadcast,
    lanes,
    load,
    size,
    spread,
    store,
    where_positive,
    widened,
    zero,
)

PART = 128  # pixels that are added up in the maps' own number format


@piece
def fill_padded(tile, x, start, pixel, scale, shift, at, pad, to, height, width, channels, border):
    """`relu(scale x + shift)` into the middle of a padded map, whose border stays 0."""
    row = (width + 2 * border) * channels
    for block in range(0, channels, lanes(tile)):
        a, b = load(scale, at + block, tile), load(shift, at + block, tile)
        for y in range(height):
            into = to + (y + border) * row + border * channels + block
            source = start + y * width * pixel + block
            for i in range(width):
                value = load(x, source + i * pixel, tile) * a + b
                store(pad, into + i * channels, where_positive(value, value))


@piece
def place_padded(tile, x, start, pad, to, height, width, channels, border):
    """A map into the middle of a padded one, whose border stays 0."""
    row = (width + 2 * border) * channels
    for y in range(height):
        into, source = to + (y + border) * row + border * channels, start + y * width * channels
        for i in range(0, width * channels, lanes(tile)):
            store(pad, into + i, load(x, source + i, tile))


@piece
def depthwise(tile, pad, start, w, at, out, to, height, width, channels, row, step, far, more):
    """`out[y, x] (+)= sum over taps w[tap] pad[step y + far ky, step x + far kx]`; + if `more`.

    Eight or four pixels, `far` apart, share every load of a tap, and of the input where their taps
    meet.  Eight sums keep two units busy that take four cycles for a multiply-add.
    """
    jump = far * channels
    for block in range(0, channels, lanes(tile)):
        for y in range(height):
            here, into, i = start + y * step * row + block, to + y * width * channels + block, 0
            taps = at + block
            while step == 1 and i + 8 * far <= width:
                for _ in range(far):
                    first, o = here + i * channels, into + i * channels
                    _eight(tile, pad, first, w, taps, out, o, channels, row, far, jump, more)
                    i += 1
                i += 7 * far
            while step == 1 and i + 4 * far <= width:
                for _ in range(far):
                    first, o = here + i * channels, into + i * channels
                    _four(tile, pad, first, w, taps, out, o, channels, row, far, jump, more)
                    i += 1
                i += 3 * far
            while i < width:
                a0 = load(out, into + i * channels, tile) if more else zero(pad, tile)
                for ky in range(size(tile)):
                    for kx in range(size(tile)):
                        tap = load(w, taps + (ky * size(tile) + kx) * channels, tile)
                        first = here + ky * far * row + kx * jump + i * step * channels
                        a0 = a0 + load(pad, first, tile) * tap
                store(out, into + i * channels, a0)
                i += 1


@piece
def _eight(tile, pad, first, w, taps, out, o, channels, row, far, jump, more):
    """Eight pixels of `depthwise`, `jump` numbers apart."""
    a0 = zero(pad, tile)
    a1, a2, a3, a4, a5, a6, a7 = a0, a0, a0, a0, a0, a0, a0
    for ky in range(size(tile)):
        for kx in range(size(tile)):
            tap = load(w, taps + (ky * size(tile) + kx) * channels, tile)
            here = first + ky * far * row + kx * jump
            a0 = a0 + load(pad, here, tile) * tap
            a1 = a1 + load(pad, here + jump, tile) * tap
            a2 = a2 + load(pad, here + 2 * jump, tile) * tap
            a3 = a3 + load(pad, here + 3 * jump, tile) * tap
            a4 = a4 + load(pad, here + 4 * jump, tile) * tap
            a5 = a5 + load(pad, here + 5 * jump, tile) * tap
            a6 = a6 + load(pad, here + 6 * jump, tile) * tap
            a7 = a7 + load(pad, here + 7 * jump, tile) * tap
    _put_four(tile, out, o, jump, a0, a1, a2, a3, more)
    _put_four(tile, out, o + 4 * jump, jump, a4, a5, a6, a7, more)


@piece
def _four(tile, pad, first, w, taps, out, o, channels, row, far, jump, more):
    """Four pixels of `depthwise`, `jump` numbers apart."""
    a0 = zero(pad, tile)
    a1, a2, a3 = a0, a0, a0
    for ky in range(size(tile)):
        for kx in range(size(tile)):
            tap = load(w, taps + (ky * size(tile) + kx) * channels, tile)
            here = first + ky * far * row + kx * jump
            a0 = a0 + load(pad, here, tile) * tap
            a1 = a1 + load(pad, here + jump, tile) * tap
            a2 = a2 + load(pad, here + 2 * jump, tile) * tap
            a3 = a3 + load(pad, here + 3 * jump, tile) * tap
    _put_four(tile, out, o, jump, a0, a1, a2, a3, more)


@piece
def _put_four(tile, out, o, jump, a0, a1, a2, a3, more):
    """Write four vectors `jump` numbers apart; add them to what is there if `more`."""
    if more:
        a0 = a0 + load(out, o, tile)
        a1 = a1 + load(out, o + jump, tile)
        a2 = a2 + load(out, o + 2 * jump, tile)
        a3 = a3 + load(out, o + 3 * jump, tile)
    store(out, o, a0)
    store(out, o + jump, a1)
    store(out, o + 2 * jump, a2)
    store(out, o + 3 * jump, a3)


@piece
def scatter(tile, dd, start, w, at, pad, to, height, width, channels, row, step, far):
    """The transpose of `depthwise`: `pad[step y + far ky, step x + far kx] += w[tap] dd[y, x]`."""
    for block in range(0, channels, lanes(tile)):
        for ky in range(size(tile)):
            for kx in range(size(tile)):
                tap = load(w, at + (ky * size(tile) + kx) * channels + block, tile)
                for y in range(height):
                    into = to + (y * step + ky * far) * row + kx * far * channels + block
                    source = start + y * width * channels + block
                    for i in range(width):
                        here = into + i * step * channels
                        value = load(dd, source + i * channels, tile) * tap
                        store(pad, here, load(pad, here, tile) + value)


@piece
def pointwise(tile, d, start, apart, w, at, out, to, gap, pixels, c_in, c_out):
    """`out[p] = d[p] w` for `w` `(c_in, c_out)`; eight pixels share every load of a weight.

    Pixels of `d` are `apart` numbers apart, those of `out` `gap`.
    """
    for block in range(0, c_out, lanes(tile)):
        p = 0
        while p + 8 <= pixels:
            here, into = start + p * apart, to + p * gap + block
            a0 = zero(d, tile)
            a1, a2, a3, a4, a5, a6, a7 = a0, a0, a0, a0, a0, a0, a0
            for k in range(c_in):
                v = load(w, at + k * c_out + block, tile)
                a0 = a0 + broadcast(d, here + k, tile) * v
                a1 = a1 + broadcast(d, here + apart + k, tile) * v
                a2 = a2 + broadcast(d, here + 2 * apart + k, tile) * v
                a3 = a3 + broadcast(d, here + 3 * apart + k, tile) * v
                a4 = a4 + broadcast(d, here + 4 * apart + k, tile) * v
                a5 = a5 + broadcast(d, here + 5 * apart + k, tile) * v
                a6 = a6 + broadcast(d, here + 6 * apart + k, tile) * v
                a7 = a7 + broadcast(d, here + 7 * apart + k, tile) * v
            store(out, into, a0)
            store(out, into + gap, a1)
            store(out, into + 2 * gap, a2)
            store(out, into + 3 * gap, a3)
            store(out, into + 4 * gap, a4)
            store(out, into + 5 * gap, a5)
            store(out, into + 6 * gap, a6)
            store(out, into + 7 * gap, a7)
            p += 8
        while p < pixels:
            a0 = zero(d, tile)
            for k in range(c_in):
                v = load(w, at + k * c_out + block, tile)
                a0 = a0 + broadcast(d, start + p * apart + k, tile) * v
            store(out, to + p * gap + block, a0)
            p += 1


@piece
def outer_gradients(tile, d, start, dy, at, gap, dw, to, pixels, c_in, c_out):
    """`dw[k] += sum over pixels d[p, k] dy[p]` for `dw` `(c_in, c_out)`.

    Pixels of `dy` are `gap` numbers apart.
    """
    for block in range(0, c_out, lanes(tile)):
        k = 0
        while k + 8 <= c_in:
            a0 = zero(d, tile)
            a1, a2, a3, a4, a5, a6, a7 = a0, a0, a0, a0, a0, a0, a0
            for p in range(pixels):
                v, here = load(dy, at + p * gap + block, tile), start + p * c_in + k
                a0 = a0 + broadcast(d, here, tile) * v
                a1 = a1 + broadcast(d, here + 1, tile) * v
                a2 = a2 + broadcast(d, here + 2, tile) * v
                a3 = a3 + broadcast(d, here + 3, tile) * v
                a4 = a4 + broadcast(d, here + 4, tile) * v
                a5 = a5 + broadcast(d, here + 5, tile) * v
                a6 = a6 + broadcast(d, here + 6, tile) * v
                a7 = a7 + broadcast(d, here + 7, tile) * v
            into = to + k * c_out + block
            add_to(dw, into, a0)
            add_to(dw, into + c_out, a1)
            add_to(dw, into + 2 * c_out, a2)
            add_to(dw, into + 3 * c_out, a3)
            add_to(dw, into + 4 * c_out, a4)
            add_to(dw, into + 5 * c_out, a5)
            add_to(dw, into + 6 * c_out, a6)
            add_to(dw, into + 7 * c_out, a7)
            k += 8
        while k < c_in:
            a0 = zero(d, tile)
            for p in range(pixels):
                v = load(dy, at + p * gap + block, tile)
                a0 = a0 + broadcast(d, start + p * c_in + k, tile) * v
            add_to(dw, to + k * c_out + block, a0)
            k += 1


@piece
def moments(tile, y, start, sums, at, pixels, channels):
    """Add the sum and the sum of squares over pixels, `(2, channels)`, to the float64 `sums`.

    In float32 a sum drifts as it grows, and squares of values far from 0 lose what a variance is
    made of: so `PART` pixels at a time are added up, as distances from the first of them.
    """
    for block in range(0, channels, lanes(tile)):
        for first in range(0, pixels, PART):
            last = min(first + PART, pixels)
            near = load(y, start + first * channels + block, tile)
            total = zero(y, tile)
            square = total
            for p in range(first, last):
                value = load(y, start + p * channels + block, tile) - near
                total = total + value
                square = square + value * value
            count = spread(sums, float(last - first), tile)
            middle, total = widened(sums, near), widened(sums, total)
            whole = total + count * middle
            squares = widened(sums, square) + middle * (total + whole)
            add_to(sums, at + block, whole)
            add_to(sums, at + channels + block, squares)
