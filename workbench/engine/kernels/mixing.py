"""Batch norm and mixing weights: the sum of all operations into a node, and its gradient.

A node is the sum over its terms of `a y + b`, channel by channel: `a` is the mixing weight over the
standard deviation of `y`, so a normalised map is never written down.  Terms lie in four arrays:
`base` 0 is where operations write, 1 and 2 are a cell's inputs, 3 its nodes.  `at` is where a term
begins, `gap` how many numbers apart its pixels are.

The gradient of a batch norm of `pixels` values with mean m, 1/std s, weighed by w, is
`w s (g - S1 / pixels - s^2 (y - m) (S2 - m S1) / pixels)` with S1 = sum g, S2 = sum g y.
"""

from __future__ import annotations

import numpy as np

from workbench.engine.kernels.compiled import kernel, piece
from workbench.engine.kernels.simd import add_to, lanes, load, store, zero

CHUNK = 4_096  # numbers of a node that are worked on together


@kernel
def apart(tile, grad, out, nodes, pixels, c):
    """`out` `(nodes, pixels, c)` of `grad` `(pixels, nodes, c)`."""
    most = max(1, CHUNK // c)
    for first in range(0, pixels, most):
        for node in range(nodes):
            for block in range(0, c, lanes(tile)):
                for p in range(first, min(first + most, pixels)):
                    value = load(grad, (p * nodes + node) * c + block, tile)
                    store(out, (node * pixels + p) * c + block, value)


@kernel
def normalise(sums, pixels, eps, mean, inverse, first, running_mean, running_var, momentum):
    """Mean and 1/std of every channel from `sums` `(groups, 2, c)`; running statistics move along.

    Group g is norm `first + g` of `mean`, `inverse` and the running ones, all `(norms, c)`.  A
    `momentum` of 0 leaves the running ones as they are.
    """
    for g in range(sums.shape[0]):
        at = first + g
        for i in range(sums.shape[2]):
            m = sums[g, 0, i] / pixels
            variance = max(sums[g, 1, i] / pixels - m * m, 0.0)
            mean[at, i] = m
            inverse[at, i] = 1.0 / np.sqrt(variance + eps)
            if momentum > 0:
                unbiased = variance * pixels / (pixels - 1)
                running_mean[at, i] = (1 - momentum) * running_mean[at, i] + momentum * m
                running_var[at, i] = (1 - momentum) * running_var[at, i] + momentum * unbiased


@kernel
def norm_scales(mean, inverse, first, scale, shift):
    """Batch norm as `scale y + shift`, `(groups, c)`, of the norms from `first` on."""
    for g in range(scale.shape[0]):
        for i in range(scale.shape[1]):
            scale[g, i] = inverse[first + g, i]
            shift[g, i] = -mean[first + g, i] * inverse[first + g, i]


@kernel
def mix(
    tile,
    outputs,
    first,
    second,
    nodes,
    base,
    at,
    gap,
    scale,
    shift,
    out,
    to,
    stride,
    begin,
    end,
    c,
    more,
):
    """`out[p] (+)= sum over terms scale y[p] + shift`, for pixels `begin` to `end`; + if `more`.

    `scale` is `(terms, c)`, `shift` `(c,)`; `out` begins at `to`, its pixels `stride` apart.
    """
    most = max(1, CHUNK // c)
    for start in range(begin, end, most):
        count = min(most, end - start)
        for block in range(0, c, lanes(tile)):
            into = to + start * stride + block
            if not more:
                value = load(shift, block, tile)
                for p in range(count):
                    store(out, into + p * stride, value)
            t = 0
            while t < len(at):
                source, where = at[t] + start * gap[t] + block, t * c + block
                if t + 4 <= len(at) and base[t] == base[t + 1] == base[t + 2] == base[t + 3] == 0:
                    _add_four(
                        tile, outputs, at, t, start, block, gap, scale, out, into, stride, count, c
                    )
                    t += 4
                    continue
                if base[t] == 0:
                    _add(tile, outputs, source, gap[t], scale, where, out, into, stride, count)
                elif base[t] == 1:
                    _add(tile, first, source, gap[t], scale, where, out, into, stride, count)
                elif base[t] == 2:
                    _add(tile, second, source, gap[t], scale, where, out, into, stride, count)
                else:
                    _add(tile, nodes, source, gap[t], scale, where, out, into, stride, count)
                t += 1


@piece
def _add(tile, y, source, gap, scale, at, out, to, stride, count):
    factor = load(scale, at, tile)
    for p in range(count):
        into = to + p * stride
        store(out, into, load(out, into, tile) + load(y, source + p * gap, tile) * factor)


@piece
def _add_four(tile, y, at, t, start, block, gap, scale, out, to, stride, count, c):
    """Terms `t` to `t + 3` at once: what is there is read and written once for all of them."""
    f0, f1 = load(scale, t * c + block, tile), load(scale, (t + 1) * c + block, tile)
    f2, f3 = load(scale, (t + 2) * c + block, tile), load(scale, (t + 3) * c + block, tile)
    g0, g1, g2, g3 = gap[t], gap[t + 1], gap[t + 2], gap[t + 3]
    y0, y1 = at[t] + start * g0 + block, at[t + 1] + start * g1 + block
    y2, y3 = at[t + 2] + start * g2 + block, at[t + 3] + start * g3 + block
    for p in range(count):
        into = to + p * stride
        value = load(out, into, tile) + load(y, y0 + p * g0, tile) * f0
        value = value + load(y, y1 + p * g1, tile) * f1
        value = value + load(y, y2 + p * g2, tile) * f2
        store(out, into, value + load(y, y3 + p * g3, tile) * f3)


@kernel
def mix_sums(tile, g, go, outputs, first, second, nodes, base, at, gap, sums, begin, end, c):
    """`sums` `(terms + 1, c)` gets sum g y of every term and, last, sum g; it is added to.

    Over pixels `begin` to `end`.
    """
    most, terms = max(1, CHUNK // c), len(at)
    for start in range(begin, end, most):
        count = min(most, end - start)
        for block in range(0, c, lanes(tile)):
            here = go + start * c + block
            total = zero(g, tile)
            for p in range(count):
                total = total + load(g, here + p * c, tile)
            add_to(sums, terms * c + block, total)
            for t in range(terms):
                source, to = at[t] + start * gap[t] + block, t * c + block
                if base[t] == 0:
                    _product(tile, g, here, outputs, source, gap[t], sums, to, count, c)
                elif base[t] == 1:
                    _product(tile, g, here, first, source, gap[t], sums, to, count, c)
                elif base[t] == 2:
                    _product(tile, g, here, second, source, gap[t], sums, to, count, c)
                else:
                    _product(tile, g, here, nodes, source, gap[t], sums, to, count, c)


@piece
def _product(tile, g, here, y, source, gap, sums, to, count, c):
    total = zero(g, tile)
    more = total
    p = 0
    while p + 2 <= count:
        total = total + load(g, here + p * c, tile) * load(y, source + p * gap, tile)
        more = more + load(g, here + (p + 1) * c, tile) * load(y, source + (p + 1) * gap, tile)
        p += 2
    if p < count:
        total = total + load(g, here + p * c, tile) * load(y, source + p * gap, tile)
    add_to(sums, to, total + more)


@kernel
def scales(weight, normed, norm, mean, inverse, scale, shift):
    """What `mix` multiplies a term by `(terms, c)`, and the sum of what it adds `(c,)`."""
    for i in range(len(shift)):
        total = 0.0
        for t in range(len(weight)):
            factor = weight[t]
            if normed[t]:
                factor *= inverse[norm[t], i]
                total -= factor * mean[norm[t], i]
            scale[t, i] = factor
        shift[i] = total


@kernel
def norm_coefficients(weight, normed, norm, mean, inverse, products, total, pixels, unit, coef):
    """The gradient of a term's `y` is `coef[0] g + coef[1] y + coef[2]`, `coef` `(units, 3, c)`.

    `products` and `total` `(terms, c)` (or one total for all) hold S2 and S1; term t's coefficients
    go to `coef[unit[t]]`.  Returns the gradients of the mixing weights `(terms,)`.
    """
    gain = np.zeros(len(weight))
    for t in range(len(weight)):
        out = coef[unit[t]]
        for i in range(products.shape[1]):
            s1, s2 = total[min(t, len(total) - 1), i], products[t, i]
            if not normed[t]:
                out[0, i], out[1, i], out[2, i] = weight[t], 0.0, 0.0
                gain[t] += s2
                continue
            m, s = mean[norm[t], i], inverse[norm[t], i]
            spread = s * (s2 - m * s1)
            a, b = weight[t] * s, -weight[t] * s * s * spread / pixels
            out[0, i], out[1, i] = a, b
            out[2, i] = -a * s1 / pixels - b * m
            gain[t] += spread
    return gain
