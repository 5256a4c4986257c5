"""ReLU, depthwise and pointwise convolution of many edges at once, forward and backward.

Groups are the edges that leave one source with one operation.  They share the input (`own` is 0),
or each has its own, `own` numbers after the one before.  `x` is channels-last, its pixels `pixel`
numbers apart, so that a node can be read where the cell's output lies.  Weights lie in one flat
array: `(groups, taps, channels)` from `wo[0]` on, `(groups, channels in, channels out)` from
`wo[1]` on.  `shape` is (groups, pictures, height, width, channels) of the input, `conv` is (stride,
dilation), `part` the first of the pictures that this call is for, and the one after the last.

Pictures are worked on a few at a time, so that all that lies between two batch norms stays in the
cache: padded input, depthwise output and their gradients are never written to memory.
"""

from __future__ import annotations

from workbench.engine.kernels.compiled import cleared, kernel, piece, room
from workbench.engine.kernels.depthwise import (
    depthwise,
    fill_padded,
    moments,
    outer_gradients,
    place_padded,
    pointwise,
    scatter,
)
from workbench.engine.kernels.simd import (
    add_to,
    lanes,
    load,
    plain,
    size,
    store,
    vectors,
    where_positive,
    zero,
)
from workbench.engine.kernels.taps import tap_gradients

CHUNK = 32_768  # numbers of padded maps that are worked on together


@kernel
def forward(tile, conv, shape, part, x, own, pixel, scale, shift, w, wo, y, yo, sums):
    """`y[g] = pointwise(depthwise(relu(scale x + shift)))`, from `yo` on; `sums` gets its moments.

    `y` is `(groups, pictures, h', w', c)`, `sums` float64 `(groups, 2, c)` and added to; `scale`
    and `shift` are `(1 or groups, c)`.
    """
    (step, far), (groups, images, height, width, c) = conv, shape
    border, taps = far * (size(tile) // 2), size(tile) * size(tile) * c
    h, wide = (height - 1) // step + 1, (width - 1) // step + 1
    row = (width + 2 * border) * c
    whole = row * (height + 2 * border)
    most = min(part[1] - part[0], max(1, CHUNK // whole))
    pad, d = cleared(most * whole, x), room(most * h * wide * c, x)
    lane, start, fresh = vectors(tile), plain(0), plain(False)
    for first in range(part[0], part[1], most):
        count = min(most, part[1] - first)
        for g in range(groups):
            for n in range(count):
                if g == 0 or own:
                    source = g * own + (first + n) * height * width * pixel
                    fill_padded(
                        lane, x, source, pixel, scale, shift, g * c if own else 0,
                        pad, n * whole, height, width, c, border,
                    )  # fmt: skip
                depthwise(
                    tile, pad, n * whole, w, wo[0] + g * taps, d, n * h * wide * c,
                    h, wide, c, row, step, far, fresh,
                )  # fmt: skip
            to, pixels = yo + (g * images + first) * h * wide * c, count * h * wide
            pointwise(lane, d, start, c, w, wo[1] + g * c * c, y, to, c, pixels, c, c)
            moments(lane, y, to, sums, g * 2 * c, pixels, c)


@kernel
def backward(
    tile,
    conv,
    shape,
    part,
    x,
    own,
    pixel,
    scale,
    shift,
    w,
    wo,
    y,
    yo,
    grad,
    go,
    coef,
    dx,
    more,
    sums,
    dw,
):
    """The gradients of `forward` for the gradient `coef[0] grad + coef[1] y + coef[2]` of `y`.

    `dx`, which is like `x`, is written, or added to if `more`.  With `own` inputs, `sums` gets
    `(groups, 2, c)`: the sums of the input's gradient, and of that times `x`.

    Args:
        grad: of the batch norms' outputs; group g's begins at `go[g]`.
        coef: `(groups, 3, c)`.
        dw: like `w`, added to; of no length where weights' gradients are not asked for.
    """
    (step, far), (groups, images, height, width, c) = conv, shape
    border, taps = far * (size(tile) // 2), size(tile) * size(tile) * c
    h, wide = (height - 1) // step + 1, (width - 1) // step + 1
    whole = (width + 2 * border) * (height + 2 * border) * c
    most = min(part[1] - part[0], max(1, CHUNK // whole))
    lane, start = vectors(tile), plain(0)
    turned, flipped = _turned(size(tile) * size(tile), w, wo, groups, c)
    pad = cleared(most * whole + 3 * far * c, x)  # see `tap_gradients`
    ddp = cleared((h + 2 * border) * (wide + 2 * border) * c, x)
    inner = most * h * wide * c
    dy, dd, d = room(inner, x), room(inner, x), room(inner, x)
    back = room(most * whole, x)  # the gradient of the (padded, if it strides) input
    for first in range(part[0], part[1], most):
        count = min(most, part[1] - first)
        for g in range(groups):
            here, pixels, fresh = first * h * wide * c, count * h * wide, g == 0 or own > 0
            source, at = g * own + first * height * width * pixel, (g if own else 0) * c
            norm_gradient(lane, grad, go[g] + here, y, yo + g * images * h * wide * c + here,
                          coef, g * 3 * c, dy, pixels, c)  # fmt: skip
            pointwise(lane, dy, start, c, turned, g * c * c, dd, start, c, pixels, c, c)
            flips = flipped if step == 1 else w[wo[0] :]
            _input_gradient(tile, conv, dd, flips, g, ddp, back, fresh, count, height, width, c)
            if len(dw):
                if fresh:
                    for n in range(count):
                        fill_padded(
                            lane, x, source + n * height * width * pixel, pixel, scale, shift, at,
                            pad, n * whole, height, width, c, border,
                        )  # fmt: skip
                _weight_gradients(
                    tile, conv, pad, w, wo[0] + g * taps, d, dd, dw, count, height, width, c
                )
                outer_gradients(lane, d, start, dy, start, c, dw, wo[1] + g * c * c, pixels, c, c)
            if own > 0 or g == groups - 1:
                _finish(
                    lane, (count, height, width, c), x, source, pixel, scale, shift, at, back,
                    border if step > 1 else 0, dx, g * own + first * height * width * c,
                    sums, g * 2 * c, own > 0, more,
                )  # fmt: skip


@piece
def _input_gradient(tile, conv, dd, w, g, ddp, back, fresh, count, height, width, c):
    """`back` (+)= the transposed depthwise convolution of `dd`; + unless it is `fresh`.

    With stride 1 it is a convolution with the taps in reverse, `w`; else it is scattered into maps
    padded as the input was.
    """
    step, far = conv
    border = far * (size(tile) // 2)
    h, wide = (height - 1) // step + 1, (width - 1) // step + 1
    row = (width + 2 * border) * c
    whole, at, start = row * (height + 2 * border), g * size(tile) * size(tile) * c, plain(0)
    if step > 1 and fresh:
        back[:] = 0
    for n in range(count):
        if step > 1:
            scatter(tile, dd, n * h * wide * c, w, at, back, n * whole, h, wide, c, row, step, far)
            continue
        place_padded(vectors(tile), dd, n * h * wide * c, ddp, start, h, wide, c, border)
        depthwise(
            tile, ddp, start, w, at, back, n * height * width * c,
            height, width, c, row, step, far, not fresh,
        )  # fmt: skip


@piece
def _weight_gradients(tile, conv, pad, w, at, d, dd, dw, count, height, width, c):
    """Add the taps' gradients to `dw`; make `d`, the depthwise output, anew."""
    step, far = conv
    border = far * (size(tile) // 2)
    h, wide = (height - 1) // step + 1, (width - 1) // step + 1
    row = (width + 2 * border) * c
    whole = row * (height + 2 * border)
    for n in range(count):
        middle = n * h * wide * c
        depthwise(tile, pad, n * whole, w, at, d, middle, h, wide, c, row, step, far, plain(False))
        tap_gradients(tile, pad, n * whole, dd, middle, dw, at, h, wide, c, row, step, far)


@piece
def _turned(taps, w, wo, groups, c):
    """Pointwise weights transposed, and depthwise ones with their taps in reverse."""
    turned, flipped = room(groups * c * c, w), room(groups * taps * c, w)
    for g in range(groups):
        for i in range(c):
            for j in range(c):
                turned[(g * c + j) * c + i] = w[wo[1] + (g * c + i) * c + j]
        for tap in range(taps):
            for i in range(c):
                flipped[(g * taps + taps - 1 - tap) * c + i] = w[wo[0] + (g * taps + tap) * c + i]
    return turned, flipped


@piece
def norm_gradient(tile, grad, start, y, ys, coef, at, dy, pixels, channels):
    """`dy = coef[0] grad + coef[1] y + coef[2]`: what a batch norm hands back."""
    for block in range(0, channels, lanes(tile)):
        a, b = load(coef, at + block, tile), load(coef, at + channels + block, tile)
        shift = load(coef, at + 2 * channels + block, tile)
        for p in range(pixels):
            here = p * channels + block
            value = load(grad, start + here, tile) * a + load(y, ys + here, tile) * b + shift
            store(dy, here, value)


@piece
def _finish(
    tile, shape, x, start, pixel, scale, shift, at, back, inset, dx, to, sums, moment, own, more
):
    """Cut off the padding and what the ReLU stopped; add to `dx`, with `more`, or write it."""
    count, height, width, c = shape
    row = (width + 2 * inset) * c
    whole = row * (height + 2 * inset)
    for block in range(0, c, lanes(tile)):
        a, b = load(scale, at + block, tile), load(shift, at + block, tile)
        total = zero(x, tile)
        product = total
        for line in range(count * height):
            n, j = line // height, line % height
            source = n * whole + (j + inset) * row + inset * c + block
            for i in range(width):
                value = load(x, start + (line * width + i) * pixel + block, tile)
                gradient = where_positive(value * a + b, load(back, source + i * c, tile))
                into = to + (line * width + i) * c + block
                if own:
                    total = total + gradient
                    product = product + gradient * value
                store(dx, into, load(dx, into, tile) + gradient if more else gradient)
        if own:
            add_to(sums, moment + block, total)
            add_to(sums, moment + c + block, product)
