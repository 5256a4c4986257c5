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
class MixedLevel:
    """Mixed level: training and held-out loss together, both at the current weights.

    train d L_train(w, alpha) / d alpha  +  val d L_val(w, alpha) / d alpha

    Two passes, one per batch; a level whose factor is 0 is not looked at.

    Args:
        train: factor of the training loss; 0 is first order.
        val: factor of the held-out loss; 0 is single level, in a pass of its own.

    He et al., MiLeNAS, CVPR 2020, arXiv:2003.12238.  Differs from the released code: its factor
    of the held-out loss is read but not used.
    """

    train: float = 1.0
    val: float = 1.0

    def __post_init__(self) -> None:
        if min(self.train, self.val) < 0 or self.train == self.val == 0:
            raise ValueError(
                f"`MixedLevel(train={self.train}, val={self.val})` needs factors of 0 or more, "
                "one of them positive"
            )

    def __call__(self, bilevel: Bilevel, train: Batch | None, val: Batch | None) -> Gradient:
        """One tensor per architecture parameter, shaped like it."""
        levels = [(self.train, train), (self.val, val)]
        grads = [
            [factor * g for g in _gradient(bilevel.loss(bilevel.weights, batch), bilevel.alphas)]
            for factor, batch in levels
            if factor > 0
        ]
        return tuple(torch.stack(each).sum(dim=0) for each in zip(*grads, strict=True))


@dataclass(frozen=True)
class Unrolled:
    """Second order: the validation loss after `steps` virtual weight steps.

    At 1, as published:

    d L_val(w', alpha) / d alpha  -  xi (d2 L_train / d alpha d w) d L_val(w', alpha) / d w'
    w' = w - xi (velocity + d L_train / d w + weight_decay w)

    Above 1 the derivative goes back through every step, all of them on the one training batch
    (truncated back-propagation; momentum is carried from step to step).  Each step back is made
    of one product with the second derivatives of L_train at that step's weights, so only their
    numbers are kept and no graph but one.

    A product is a central difference around the step's weights with radius `radius` over the norm
    of the vector, as in the paper's eq. 8, at any number of steps; `exact` differentiates twice
    instead.  The two agree for smooth networks; with ReLU and max-pooling the published radius
    crosses kinks and the difference can be far from the derivative.

    xi is the weight optimizer's learning rate; virtual steps are not clipped.

    Args:
        steps: virtual steps; n take about 3 n + 1 passes, and n copies of the weights.
        exact: differentiate exactly; costs a double backward in time and memory.
        radius: of the finite difference, times 1/|v|.

    Liu et al., DARTS, arXiv:1806.09055.  Differs from the released code: passes at other weights
    than the search's own do not touch batch-norm running statistics, and weights are never moved
    and moved back, so they stay the same bit for bit.
    """

    steps: int = 1
    exact: bool = False
    radius: float = 0.01

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(
                f"`Unrolled(steps={self.steps})` needs 1 or more; `first_order` takes no step"
            )
        _check_radius(self)

    def __call__(self, bilevel: Bilevel, train: Batch | None, val: Batch | None) -> Gradient:
        """One tensor per architecture parameter, shaped like it."""
        *path, virtual = self._path(bilevel, train)
        grad, v = _split(bilevel, bilevel.loss(virtual, val), virtual)
        later: Gradient | None = None
        for index in range(self.steps - 1, -1, -1):
            # Of the step's displacement: what later steps make of it, momentum included.
            along = v if later is None else _plus(v, bilevel.momentum, later)
            mixed, curved = _products(
                self, bilevel, train, path[index], along, mixed=True, hessian=index > 0
            )
            grad, later = _plus(grad, -bilevel.lr, mixed), along
            if index > 0:
                v = _plus(v, -bilevel.lr, _plus(curved, bilevel.weight_decay, along))
        return grad

    def _path(self, bilevel: Bilevel, train: Batch | None) -> list[tuple[Tensor, ...]]:
        """The current weights, and those after each virtual step."""
        path, velocity = [bilevel.weights], bilevel.velocity
        for step in range(self.steps):
            grads = _gradient(bilevel.loss(path[-1], train), path[-1])
            moves = tuple(
                moving + grad + bilevel.weight_decay * w.detach()
                for w, grad, moving in zip(path[-1], grads, velocity, strict=True)
            )
            path.append(_copies(_plus(path[-1], -bilevel.lr, moves)))
            if step + 1 < self.steps:
                velocity = tuple(bilevel.momentum * move for move in moves)
        return path


@dataclass(frozen=True)
class Amended:
    """The amended gradient: no virtual step, and eta H where the exact gradient has H^-1.

    d L_val(w, alpha) / d alpha  -  eta (d2 L_train / d alpha d w) H d L_val(w, alpha) / d w
    H = d2 L_train / d w2

    Both products are central differences around w on the training batch, each with radius
    `radius` over the norm of its own vector: four passes more than first order.  The amended term
    need not point the way of the exact one: that holds if H commutes with the mixed derivatives'
    Gram matrix, not in general.

    Args:
        eta: the amending coefficient; 0 is first order.  The default is from memory.
        exact: differentiate twice instead of taking differences.
        radius: of the finite differences, times 1/|v|.

    Bi et al., Stabilizing DARTS with Amended Gradient Estimation on Architectural Parameters,
    arXiv:1910.11831.
    """

    eta: float = 0.1
    exact: bool = False
    radius: float = 0.01

    def __post_init__(self) -> None:
        if self.eta < 0:
            raise ValueError(f"`Amended(eta={self.eta})` needs a coefficient of 0 or more")
        _check_radius(self)

    def __call__(self, bilevel: Bilevel, train: Batch | None, val: Batch | None) -> Gradient:
        """One tensor per architecture parameter, shaped like it."""
        w = bilevel.weights
        direct, v = _split(bilevel, bilevel.loss(w, val), w)
        _, curved = _products(self, bilevel, train, w, v, hessian=True)
        mixed, _ = _products(self, bilevel, train, w, curved, mixed=True)
        return _plus(direct, -self.eta, mixed)


@dataclass(frozen=True)
class Implicit:
    """The implicit gradient: H^-1 by the first terms of a Neumann series.

    d L_val(w, alpha) / d alpha
        -  xi (d2 L_train / d alpha d w) sum_k (I - xi H)^k d L_val(w, alpha) / d w,   k = 0..K
    H = d2 L_train / d w2

    xi is the weight optimizer's learning rate; the series ends in the exact gradient as K grows
    where xi H has its eigenvalues between 0 and 2.  Weight decay is no part of H, as published.
    The paper's T weight steps before each alpha step are a schedule:
    `Alternating(weight_steps=T, order="weights_first")`.

    Args:
        terms: K, the highest power; 2 K + 2 passes more than first order.
        exact: differentiate twice instead of taking central differences around w.
        radius: of the finite differences, times 1/|v|.

    Zhang et al., iDARTS, ICML 2021, arXiv:2106.10784.  Differs from the released code: each
    difference has the norm of its own vector, weights are never moved and moved back (the code's
    way back leaves a step along the held-out gradient), and the T steps move the supernet itself.
    """

    terms: int = 2
    exact: bool = False
    radius: float = 0.01

    def __post_init__(self) -> None:
        if self.terms < 0:
            raise ValueError(f"`Implicit(terms={self.terms})` needs a power of 0 or more")
        _check_radius(self)

    def __call__(self, bilevel: Bilevel, train: Batch | None, val: Batch | None) -> Gradient:
        """One tensor per architecture parameter, shaped like it."""
        w = bilevel.weights
        direct, term = _split(bilevel, bilevel.loss(w, val), w)
        total = term
        for _ in range(self.terms):
            _, curved = _products(self, bilevel, train, w, term, hessian=True)
            term = _plus(term, -bilevel.lr, curved)
            total = _plus(total, 1.0, term)
        mixed, _ = _products(self, bilevel, train, w, total, mixed=True)
        return _plus(direct, -bilevel.lr, mixed)


def _products(
    part: Unrolled | Amended | Implicit,
    bilevel: Bilevel,
    train: Batch | None,
    weights: Sequence[Tensor],
    v: Gradient,
    *,
    mixed: bool = False,
    hessian: bool = False,
) -> tuple[Gradient, Gradient]:
    """(d2 L_train / d alpha d w) v and (d2 L_train / d w2) v at `weights`; () if not asked for."""
    alphas = bilevel.alphas if mixed else ()
    if part.exact:
        here = _copies(weights)
        grads = _gradient(bilevel.loss(here, train), here, create_graph=True)
        slope = torch.stack([(g * x).sum() for g, x in zip(grads, v, strict=True)]).sum()
        both = _gradient(slope, (*alphas, *(here if hessian else ())))
        return both[: len(alphas)], both[len(alphas) :]
    # The norm stays on the device; a v of zeros gives a zero product, not NaN.
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(x) for x in v]))
    step = part.radius / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    sides = []
    for sign in (1, -1):
        shifted = tuple(w.detach() + sign * step * x for w, x in zip(weights, v, strict=True))
        shifted = _copies(shifted) if hessian else shifted
        inputs = (*alphas, *(shifted if hessian else ()))
        sides.append(_gradient(bilevel.loss(shifted, train), inputs))
    both = tuple((plus - minus) / (2 * step) for plus, minus in zip(*sides, strict=True))
    return both[: len(alphas)], both[len(alphas) :]


def _split(bilevel: Bilevel, loss: Tensor, weights: Sequence[Tensor]) -> tuple[Gradient, Gradient]:
    """Gradients of one loss in the alphas and in `weights`."""
    both = _gradient(loss, (*bilevel.alphas, *weights))
    return both[: len(bilevel.alphas)], both[len(bilevel.alphas) :]


def _plus(a: Sequence[Tensor], factor: float, b: Sequence[Tensor]) -> Gradient:
    """A + factor b."""
    return tuple(x.detach() + factor * y for x, y in zip(a, b, strict=True))


def _copies(weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The same numbers, differentiable on their own."""
    return tuple(w.detach().requires_grad_() for w in weights)


def _check_radius(part: Unrolled | Amended | Implicit) -> None:
    if part.radius <= 0:
        name = type(part).__name__
        raise ValueError(f"`{name}(radius={part.radius})` needs a positive radius")


def _gradient(loss: Tensor, inputs: Sequence[Tensor], *, create_graph: bool = False) -> Gradient:
    """Zeros where the loss does not depend on an input."""
    if not loss.requires_grad:
        return tuple(torch.zeros_like(x) for x in inputs)
    return torch.autograd.grad(loss, inputs, create_graph=create_graph, materialize_grads=True)
