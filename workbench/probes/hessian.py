"""The sharpness of the held-out loss in the architecture parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.protocols import Bilevel, View


@dataclass(frozen=True)
class HessianEigenvalue:
    """Largest eigenvalue of the Hessian of the held-out loss in the architecture parameters.

    lambda_max(d2 L_val(w, alpha) / d alpha2)

    On the last held-out batch, at the weights of the moment.  Lanczos with every vector kept
    orthogonal to those before it: exact after as many products with the Hessian as there are
    parameters, to several digits after a few.  One costs about as much as two backward passes; all
    of them share one forward pass, whose graph is kept meanwhile.

    Args:
        products: with the Hessian, at most.

    Zela et al., Understanding and Robustifying DARTS, ICLR 2020, arXiv:1909.09656.  Differs: the
    released code writes down the whole Hessian, and adds the alphas' weight decay (1e-3) to it.
    """

    products: int = 20

    def __post_init__(self) -> None:
        if self.products < 1:
            raise ValueError(f"`HessianEigenvalue(products={self.products})` needs 1 or more")

    def __call__(self, view: View, bilevel: Bilevel) -> dict[str, Tensor]:
        """`hessian_eigenvalue`, a scalar."""
        batch = None if view.trial is None else view.trial.batch
        loss = bilevel.loss(bilevel.weights, batch)
        grads = torch.autograd.grad(loss, bilevel.alphas, create_graph=True, materialize_grads=True)
        slope = torch.cat([grad.flatten() for grad in grads])

        def product(vector: Tensor) -> Tensor:
            along = slope @ vector.to(slope)
            if not along.requires_grad:  # the loss is linear in the alphas
                return torch.zeros_like(vector)
            rows = torch.autograd.grad(
                along, bilevel.alphas, retain_graph=True, materialize_grads=True
            )
            return torch.cat([row.flatten() for row in rows]).to(vector)

        generator = torch.Generator().manual_seed(view.seed)
        first = torch.randn(len(slope), generator=generator, dtype=torch.float64)
        return {"hessian_eigenvalue": largest_eigenvalue(product, first, self.products)}


def largest_eigenvalue(product: Callable[[Tensor], Tensor], first: Tensor, products: int) -> Tensor:
    """Largest eigenvalue of a symmetric matrix known by its products, by Lanczos from `first`.

    Args:
        product: the matrix times a vector of the size of `first`, whose component along the
            wanted eigenvector must not be 0.
        products: how many to take at most.
    """
    basis = (first / first.norm())[None]  # (so far, size)
    images = []
    for _ in range(min(products, len(first))):
        images.append(product(basis[-1]))
        rest = images[-1]
        for _ in range(2):  # once leaves rounding behind
            rest = rest - basis.t() @ (basis @ rest)
        size = rest.norm()
        if size <= 1e-10 * images[-1].norm():
            break  # what is left of the space holds nothing more
        basis = torch.cat([basis, (rest / size)[None]])
    inner = basis[: len(images)] @ torch.stack(images).t()
    return torch.linalg.eigvalsh((inner + inner.t()) / 2)[-1]
