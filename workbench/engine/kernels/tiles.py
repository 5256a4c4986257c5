"""Winograd's transforms of tiles: see `winograd`, whose maps these go into and come out of.

What belongs to tiles begins `jump` numbers apart for each of their 16 places.
"""

from __future__ import annotations

from workbench.engine.kernels.compiled import piece
from workbench.engine.kernels.simd import lanes, load, store, zero


@piece
def inputs_of(tile, strip, v, at, jump, across, c):
    """`B' x B` of a row of tiles, the first of them the `at`th; `strip` is four rows of `x`."""
    row = (2 * across + 2) * c
    for block in range(0, c, lanes(tile)):
        a = _falling(tile, strip, block, row)
        b = _falling(tile, strip, c + block, row)
        for t in range(across):
            o, to = (2 * t + 2) * c + block, (at + t) * c + block
            d = _falling(tile, strip, o, row)
            e = _falling(tile, strip, o + c, row)
            _across(v, to, jump, a[0], b[0], d[0], e[0])
            _across(v, to + 4 * jump, jump, a[1], b[1], d[1], e[1])
            _across(v, to + 8 * jump, jump, a[2], b[2], d[2], e[2])
            _across(v, to + 12 * jump, jump, a[3], b[3], d[3], e[3])
            a, b = d, e


@piece
def _falling(tile, x, o, row):
    """`B' x` of a column."""
    x0, x1 = load(x, o, tile), load(x, o + row, tile)
    x2, x3 = load(x, o + 2 * row, tile), load(x, o + 3 * row, tile)
    return x0 - x2, x1 + x2, x2 - x1, x1 - x3


@piece
def _across(v, to, jump, a, b, d, e):
    """`x B` of a row."""
    store(v, to, a - d)
    store(v, to + jump, b + d)
    store(v, to + 2 * jump, d - b)
    store(v, to + 3 * jump, b - e)


@piece
def outputs_of(tile, m, at, jump, wide, first, y, to, rows, width, c):
    """`A' m A` of a row of tiles: two rows of `y` (or one), of channels `first` on of `wide`."""
    for block in range(0, c, lanes(tile)):
        for t in range((width + 1) // 2):
            o, into = (at + t) * wide + first + block, to + 2 * t * c + block
            a0, a1 = _two_rows(tile, m, o, 4 * jump)
            b0, b1 = _two_rows(tile, m, o + jump, 4 * jump)
            d0, d1 = _two_rows(tile, m, o + 2 * jump, 4 * jump)
            e0, e1 = _two_rows(tile, m, o + 3 * jump, 4 * jump)
            more = 2 * t + 1 < width
            store(y, into, a0 + b0 + d0)
            if more:
                store(y, into + c, b0 - d0 - e0)
            if rows == 2:
                store(y, into + width * c, a1 + b1 + d1)
                if more:
                    store(y, into + width * c + c, b1 - d1 - e1)


@piece
def _two_rows(tile, m, o, jump):
    """`A' m` of a column."""
    m0, m1 = load(m, o, tile), load(m, o + jump, tile)
    m2, m3 = load(m, o + 2 * jump, tile), load(m, o + 3 * jump, tile)
    return m0 + m1 + m2, m1 - m2 - m3


@piece
def grown_outputs(tile, dy, dm, at, jump, wide, first, rows, width, c):
    """The transpose of `outputs_of`: `A dy A'` of a row of tiles."""
    none = zero(dy, tile)
    for block in range(0, c, lanes(tile)):
        for t in range((width + 1) // 2):
            o, to = 2 * t * c + block, (at + t) * wide + first + block
            more = 2 * t + 1 < width
            a, b = load(dy, o, tile), load(dy, o + c, tile) if more else none
            d, e = none, none
            if rows == 2:
                d = load(dy, o + width * c, tile)
                e = load(dy, o + width * c + c, tile) if more else none
            _grown_row(dm, to, jump, a, b)
            _grown_row(dm, to + 4 * jump, jump, a + d, b + e)
            _grown_row(dm, to + 8 * jump, jump, a - d, b - e)
            _grown_row(dm, to + 12 * jump, jump, none - d, none - e)


@piece
def _grown_row(dm, to, jump, a, b):
    """`y A'` of a row."""
    store(dm, to, a)
    store(dm, to + jump, a + b)
    store(dm, to + 2 * jump, a - b)
    store(dm, to + 3 * jump, b - (b + b))


@piece
def unfolded_inputs(tile, dv, at, jump, strip, across, c):
    """The transpose of `inputs_of`: `B dv B'` of a row of tiles, added up where they overlap."""
    row = (2 * across + 2) * c
    for block in range(0, c, lanes(tile)):
        none = zero(dv, tile)
        a = none, none, none, none
        b = a
        for t in range(across):
            o, to = (at + t) * c + block, 2 * t * c + block
            v0, v1 = _rising(tile, dv, o, 4 * jump), _rising(tile, dv, o + jump, 4 * jump)
            v2, v3 = (
                _rising(tile, dv, o + 2 * jump, 4 * jump),
                _rising(tile, dv, o + 3 * jump, 4 * jump),
            )
            _column(strip, to, row, _sum(a, v0))
            _column(strip, to + c, row, _sum(b, _sum(_difference(v1, v2), v3)))
            a = _difference(_sum(v1, v2), v0)
            b = _difference((none, none, none, none), v3)
        _column(strip, 2 * across * c + block, row, a)
        _column(strip, (2 * across + 1) * c + block, row, b)


@piece
def _rising(tile, dv, o, jump):
    """`B v` of a column."""
    v0, v1 = load(dv, o, tile), load(dv, o + jump, tile)
    v2, v3 = load(dv, o + 2 * jump, tile), load(dv, o + 3 * jump, tile)
    return v0, v1 - v2 + v3, v1 + v2 - v0, zero(dv, tile) - v3


@piece
def _sum(a, b):
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


@piece
def _difference(a, b):
    return a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]


@piece
def _column(strip, to, row, values):
    store(strip, to, values[0])
    store(strip, to + row, values[1])
    store(strip, to + 2 * row, values[2])
    store(strip, to + 3 * row, values[3])


@piece
def folded_weights(w, wo, u, jump, groups, c, turned):
    """`G w G'` of every pair of channels: `u` `(places, c in, groups, c out)`.

    Or, `turned`, `(places, groups, c out, c in)`.
    """
    wide = groups * c
    for g in range(groups):
        for outer in range(c):
            for inner in range(c):
                k, o = (inner, outer) if turned else (outer, inner)
                at = wo + ((g * c + o) * c + k) * 9
                to = (g * c + o) * c + k if turned else k * wide + g * c + o
                for j in range(3):
                    _four_of_three(w[at + j], w[at + 3 + j], w[at + 6 + j], u, to, j, jump)
                for i in range(4):
                    p = to + 4 * i * jump
                    left, middle, right = u[p], u[p + jump], u[p + 2 * jump]
                    half = (left + right) / 2
                    u[p + jump] = half + middle / 2
                    u[p + 2 * jump] = half - middle / 2
                    u[p + 3 * jump] = right


@piece
def _four_of_three(above, middle, below, u, to, j, jump):
    """`G w` of column j of a kernel, to column j of its places."""
    half = (above + below) / 2
    u[to + j * jump] = above
    u[to + (4 + j) * jump] = half + middle / 2
    u[to + (8 + j) * jump] = half - middle / 2
    u[to + (12 + j) * jump] = below


@piece
def unfolded_gradients(du, jump, dw, wo, groups, c):
    """The transpose of `folded_weights`, added to `dw`: `G' du G`."""
    wide = groups * c
    for g in range(groups):
        for o in range(c):
            for k in range(c):
                at, to = k * wide + g * c + o, wo + ((g * c + o) * c + k) * 9
                for j in range(4):  # of each column of places, to its first three
                    p = at + j * jump
                    u1, u2 = du[p + 4 * jump], du[p + 8 * jump]
                    du[p] += (u1 + u2) / 2
                    du[p + 4 * jump] = (u1 - u2) / 2
                    du[p + 8 * jump] = (u1 + u2) / 2 + du[p + 12 * jump]
                for i in range(3):
                    p = at + 4 * i * jump
                    u1, u2 = du[p + jump], du[p + 2 * jump]
                    dw[to + 3 * i] += du[p] + (u1 + u2) / 2
                    dw[to + 3 * i + 1] += (u1 - u2) / 2
                    dw[to + 3 * i + 2] += (u1 + u2) / 2 + du[p + 3 * jump]
