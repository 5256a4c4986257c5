"""How strongly the held-out loss pulls at every edge, and how large the weights are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from workbench.protocols import Bilevel, Rows, View
from workbench.spaces.supernet import SearchCell, Supernet
from workbench.spaces.watching import operations


@dataclass(frozen=True)
class AlphaGradients:
    """Norm, per edge, of the held-out loss's gradient in its alphas.

    || d L_val(w, alpha) / d alpha_e ||_2

    On the last held-out batch, at the weights of the moment: the first-order gradient, whatever
    gradient the method itself steps along, without regularizers.  Costs a forward and a backward
    pass.
    """

    def __call__(self, view: View, bilevel: Bilevel) -> dict[str, Rows]:
        """`alpha_gradient`, `{kind: (edges,)}`."""
        batch = None if view.trial is None else view.trial.batch
        loss = bilevel.loss(bilevel.weights, batch)
        alphas = bilevel.alphas[: len(view.space.kinds)]  # betas follow
        grads = torch.autograd.grad(loss, alphas, materialize_grads=True)
        norms = (grad.norm(dim=1) for grad in grads)
        return {"alpha_gradient": dict(zip(view.space.kinds, norms, strict=True))}


@dataclass(frozen=True)
class WeightNorms:
    """Norm of the supernet's weights, all of them and per operation.

    || w ||_2;   per operation o of edge e over all cells of a kind: || (w_o,e,c)_c ||_2

    Operations without weights have 0, those that were pruned NaN.  Costs a copy of the supernet.
    """

    def __call__(self, view: View, bilevel: Bilevel) -> dict[str, Tensor | Rows]:
        """`weight_norm`, a scalar, and `op_weight_norm`, `{kind: (edges, ops)}`."""
        found: dict[str, Tensor | Rows] = {"weight_norm": _norm(bilevel.weights)}
        if view.trial is not None:
            found["op_weight_norm"] = _per_op(view, view.trial.net())
        return found


def _per_op(view: View, net: Supernet) -> dict[str, Tensor]:
    weights: dict[tuple[str, int, str], list[Tensor]] = defaultdict(list)
    for cell in net.blocks:
        if isinstance(cell, SearchCell):
            for edge, module in enumerate(cell.edges):
                for op, layer in operations(module).items():
                    weights[cell.kind, edge, op] += layer.parameters()
    like = cast("nn.Parameter", next(net.parameters())).detach()
    rows = {}
    for cell in view.space.cells:
        row = like.new_full((len(cell.edges), len(cell.columns)), torch.nan)
        for (kind, edge, op), own in weights.items():
            if kind == cell.kind:
                row[edge, cell.columns.index(op)] = _norm(own)
        rows[cell.kind] = row
    return rows


def _norm(weights: Sequence[Tensor]) -> Tensor:
    """The norm of all of them as one vector; 0 of none."""
    if not weights:
        return torch.zeros(())
    return torch.stack([weight.detach().square().sum() for weight in weights]).sum().sqrt()
