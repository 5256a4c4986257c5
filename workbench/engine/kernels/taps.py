"""Gradients of depthwise kernels: `dw[tap] += sum over pixels dd[y, x] pad[at the tap]`.

A load is as dear as a multiply-add, so the sums of nine taps of a 3×3 kernel, or of five in a row
of a larger one, are made at once; they and the pixels they share stay in registers.
"""

from __future__ import annotations

from numba.extending import overload

from workbench.engine.kernels.compiled import piece
from workbench.engine.kernels.simd import add_to, lanes, load, size, zero


def tap_gradients(tile, pad, start, dd, at, dw, to, height, width, channels, row, step, far):
    """`dw[tap] += sum over pixels dd[y, x] pad[step y + far ky, step x + far kx]`.

    Of a 7×7 kernel, 3 far pixels beyond the end of `pad` are looked at.  `_by_size` is what kernels
    compile for this name; Python itself has no vectors to run it on.
    """
    raise NotImplementedError("compiled kernels alone call this")


@overload(tap_gradients, jit_options={"error_model": "numpy"}, strict=False)
def _by_size(tile, pad, start, dd, at, dw, to, height, width, channels, row, step, far):
    """What a size needs is all that is compiled for it."""
    found = _nine if tile.size == 3 else _rows_of_five

    def run(tile, pad, start, dd, at, dw, to, height, width, channels, row, step, far):
        found(tile, pad, start, dd, at, dw, to, height, width, channels, row, step, far)

    return run


@piece
def _nine(tile, pad, start, dd, at, dw, to, height, width, channels, row, step, far):
    """All taps of a 3×3 kernel at once, at two pixels `far` apart or at one."""
    jump, line = far * channels, far * row
    for block in range(0, channels, lanes(tile)):
        a = zero(pad, tile), zero(pad, tile), zero(pad, tile)
        b, c = a, a
        for y in range(height):
            h, s, i = start + y * step * row + block, at + y * width * channels + block, 0
            while step == 1 and i + 2 * far <= width:
                for _ in range(far):
                    o = h + i * channels
                    v, u = (
                        load(dd, s + i * channels, tile),
                        load(dd, s + (i + far) * channels, tile),
                    )
                    a = _two_by_three(tile, pad, o, jump, v, u, a)
                    b = _two_by_three(tile, pad, o + line, jump, v, u, b)
                    c = _two_by_three(tile, pad, o + 2 * line, jump, v, u, c)
                    i += 1
                i += far
            while i < width:
                o, v = h + i * step * channels, load(dd, s + i * channels, tile)
                a = _one_by_three(tile, pad, o, jump, v, a)
                b = _one_by_three(tile, pad, o + line, jump, v, b)
                c = _one_by_three(tile, pad, o + 2 * line, jump, v, c)
                i += 1
        into = to + block
        for left, middle, right in (a, b, c):
            add_to(dw, into, left)
            add_to(dw, into + channels, middle)
            add_to(dw, into + 2 * channels, right)
            into += 3 * channels


@piece
def _two_by_three(tile, pad, o, jump, v, u, sums):
    """Three taps at two pixels."""
    left, middle, right = sums
    x1, x2 = load(pad, o + jump, tile), load(pad, o + 2 * jump, tile)
    left = left + load(pad, o, tile) * v
    middle = middle + x1 * v
    right = right + x2 * v
    return left + x1 * u, middle + x2 * u, right + load(pad, o + 3 * jump, tile) * u


@piece
def _one_by_three(tile, pad, o, jump, v, sums):
    """Three taps at one pixel."""
    left, middle, right = sums
    left = left + load(pad, o, tile) * v
    middle = middle + load(pad, o + jump, tile) * v
    return left, middle, right + load(pad, o + 2 * jump, tile) * v


@piece
def _rows_of_five(tile, pad, start, dd, at, dw, to, height, width, channels, row, step, far):
    """Five taps in a row at once, at four pixels `far` apart or at one."""
    jump = far * channels
    for block in range(0, channels, lanes(tile)):
        for ky in range(size(tile)):
            for kx in range(0, size(tile), 5):
                a = (
                    zero(pad, tile),
                    zero(pad, tile),
                    zero(pad, tile),
                    zero(pad, tile),
                    zero(pad, tile),
                )
                b = a
                for y in range(height):
                    h, i = start + (y * step + ky * far) * row + kx * jump + block, 0
                    s = at + y * width * channels + block
                    while step == 1 and i + 4 * far <= width:
                        for _ in range(far):
                            o, p = h + i * channels, s + i * channels
                            a, b = _two_by_five(tile, pad, o, dd, p, jump, a, b)
                            a, b = _two_by_five(
                                tile, pad, o + 2 * jump, dd, p + 2 * jump, jump, a, b
                            )
                            i += 1
                        i += 3 * far
                    while i < width:
                        v = load(dd, s + i * channels, tile)
                        a = _one_by_five(tile, pad, h + i * step * channels, jump, v, a)
                        i += 1
                into = to + (ky * size(tile) + kx) * channels + block
                for tap in range(min(5, size(tile) - kx)):
                    add_to(dw, into + tap * channels, a[tap] + b[tap])


@piece
def _two_by_five(tile, pad, o, dd, p, jump, a, b):
    """Five taps at two pixels, each with sums of its own: a sum takes four cycles."""
    v, u = load(dd, p, tile), load(dd, p + jump, tile)
    x1, x2 = load(pad, o + jump, tile), load(pad, o + 2 * jump, tile)
    x3, x4 = load(pad, o + 3 * jump, tile), load(pad, o + 4 * jump, tile)
    a0 = a[0] + load(pad, o, tile) * v
    a1 = a[1] + x1 * v
    a2 = a[2] + x2 * v
    a3 = a[3] + x3 * v
    a4 = a[4] + x4 * v
    b0 = b[0] + x1 * u
    b1 = b[1] + x2 * u
    b2 = b[2] + x3 * u
    b3 = b[3] + x4 * u
    b4 = b[4] + load(pad, o + 5 * jump, tile) * u
    return (a0, a1, a2, a3, a4), (b0, b1, b2, b3, b4)


@piece
def _one_by_five(tile, pad, o, jump, v, a):
    """Five taps at one pixel."""
    a0 = a[0] + load(pad, o, tile) * v
    a1 = a[1] + load(pad, o + jump, tile) * v
    a2 = a[2] + load(pad, o + 2 * jump, tile) * v
    a3 = a[3] + load(pad, o + 3 * jump, tile) * v
    return a0, a1, a2, a3, a[4] + load(pad, o + 4 * jump, tile) * v
