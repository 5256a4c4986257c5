"""Architecture gradients: how the loss on held-out images tells the alphas where to go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.protocols import Batch, Bilevel

Gradient = tuple[Tensor, ...]


def first_order(bilevel: Bilevel, train: Batch | None, val: Batch | None) -> Gradient:
    """The validation loss's gradient at the current weights: DARTS with xi = 0.

    d L_val(w, alpha) / d alpha

    Liu et al., DARTS, arXiv:1806.09055, section 2.3.
    """
    return _gradient(bilevel.loss(bilevel.weights, val), bilevel.alphas)


def single_level(bilevel: Bilevel, train: Batch | None, val: Batch | None) -> Gradient:
    """The training loss's gradient: alphas as ordinary parameters.

    d L_train(w, alpha) / d alpha

    With the `Joint` schedule it comes out of the weights' own backward pass, at no extra cost.
    """
    return _gradient(bilevel.loss(bilevel.weights, train), bilevel.alphas)


@dataclass(frozen=True)
class Unrolled:
    """Second order: the validation loss after one virtual weight step.

    d L_val(w', alpha) / d alpha  -  xi (d2 L_train / d alpha d w) d L_val(w', alpha) / d w'
    w' = w - xi (velocity + d L_train / d w + weight_decay w)

    The mixed product is a central difference around w (not w') with radius `radius` over the norm
    of v = d L_val / d w', as in the paper's eq. 8; `exact` differentiates through the virtual step
    instead.  The two agree for smooth networks; with ReLU and max-pooling the published radius
    crosses kinks and the difference can be far from the derivative.

    xi is the weight optimizer's learning rate; the virtual step is not clipped.

    Args:
        exact: differentiate exactly; costs a double backward in time and memory.
        radius: of the finite difference, times 1/|v|.

    Liu et al., DARTS, arXiv:1806.09055.  Differs from the released code: passes at other weights
    than the search's own do not touch batch-norm running statistics, and weights are never moved
    and moved back, so they stay the same bit for bit.
    """

    exact: bool = False
    radius: float = 0.01

    def __post_init__(self) -> None:
        if self.radius <= 0:
            raise ValueError(f"`Unrolled(radius={self.radius})` needs a positive radius")

    def __call__(self, bilevel: Bilevel, train: Batch | None, val: Batch | None) -> Gradient:
        """One tensor per architecture parameter, shaped like it."""
        loss = bilevel.loss(bilevel.weights, train)
        grads = _gradient(loss, bilevel.weights, create_graph=self.exact)
        virtual = _virtual_step(bilevel, grads)
        if self.exact:
            return _gradient(bilevel.loss(virtual, val), bilevel.alphas)
        virtual = tuple(w.detach().requires_grad_() for w in virtual)
        both = _gradient(bilevel.loss(virtual, val), (*bilevel.alphas, *virtual))
        direct, v = both[: len(bilevel.alphas)], both[len(bilevel.alphas) :]
        mixed = self._mixed_product(bilevel, train, v)
        return tuple(d - bilevel.lr * m for d, m in zip(direct, mixed, strict=True))

    def _mixed_product(self, bilevel: Bilevel, train: Batch | None, v: Gradient) -> Gradient:
        """(d2 L_train / d alpha d w) v by a central difference around the current weights."""
        # The norm stays on the device; a v of zeros gives a zero product, not NaN.
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(x) for x in v]))
        step = self.radius / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        sides = []
        for sign in (1, -1):
            shifted = [
                w.detach() + sign * step * x for w, x in zip(bilevel.weights, v, strict=True)
            ]
            sides.append(_gradient(bilevel.loss(shifted, train), bilevel.alphas))
        return tuple((plus - minus) / (2 * step) for plus, minus in zip(*sides, strict=True))


def _virtual_step(bilevel: Bilevel, grads: Gradient) -> tuple[Tensor, ...]:
    return tuple(
        w - bilevel.lr * (velocity + grad + bilevel.weight_decay * w)
        for w, grad, velocity in zip(bilevel.weights, grads, bilevel.velocity, strict=True)
    )


def _gradient(loss: Tensor, inputs: Sequence[Tensor], *, create_graph: bool = False) -> Gradient:
    """Zeros where the loss does not depend on an input."""
    return torch.autograd.grad(loss, inputs, create_graph=create_graph, materialize_grads=True)
