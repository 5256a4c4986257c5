"""A node of a cell whose operations see the first 1/k of the channels, and its gradient.

`mixed` `(pixels, w)` is what operations made, `rest` `(pixels, (k - 1) w)` what went past them; the
node has channel i w + j of the two side by side at place j k + i.
"""

from __future__ import annotations

from workbench.engine.kernels.compiled import kernel


@kernel
def weave(mixed, rest, out, to, gap, w, k, begin, end):
    """The node, for pixels `begin` to `end`; it begins at `to` in `out`, its pixels `gap` apart."""
    for p in range(begin, end):
        into, first, more = to + p * gap, p * w, p * (k - 1) * w
        for j in range(w):
            out[into + j * k] = mixed[first + j]
            for i in range(1, k):
                out[into + j * k + i] = rest[more + (i - 1) * w + j]


@kernel
def unweave(grad, go, first, mixed, rest, to, w, k, begin, end):
    """Gradients of both parts; node `to` of `mixed` and of `rest`, which hold all nodes'.

    The node's own is what `grad` holds from `go` on, `w k` numbers a pixel, and, for its first `w`
    channels, `first` `(pixels, w)`.
    """
    for p in range(begin, end):
        source, own = go + p * w * k, (to + p) * w
        for j in range(w):
            for i in range(k):
                m = j * k + i
                value = grad[source + m]
                if m < w:
                    value += first[p * w + m]
                if i == 0:
                    mixed[own + j] = value
                else:
                    rest[own * (k - 1) + (i - 1) * w + j] = value
