"""A pruner that keeps the operations whose outputs are most like their node's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from workbench.protocols import View
from workbench.spaces.watching import SeenEdge, watching

Choice = tuple[int, int]  # edge, column


@dataclass(frozen=True)
class Similarity:
    """At the last epoch, choose into every node the operations most similar to its output.

    score(o) = mean over pictures and cells of <y, r_o> / (|y| |r_o|)

    where y is the output of the node and r_o that of operation o without its components along the
    outputs already chosen into the node (Gram-Schmidt).  The best one is chosen, its edge is
    decided, and so on.  Neither mixing weights nor the scale of an output matter to a score, once y
    is given.  `none` is never chosen.

    A reading of a paper whose code is not public, on the last held-out batch.  That the order of
    choosing also says which edges stay is ours.

    Args:
        inputs: edges left into a node of the DARTS family; NAS-Bench-201 keeps all.
        every: always after an epoch.

    Wang et al., iDARTS: Node Normalization and Decorrelation Discretization, TNNLS 2023,
    arXiv:2108.11014.
    """

    inputs: int = 2
    every: Literal["epoch"] = field(default="epoch", init=False)

    def __post_init__(self) -> None:
        if self.inputs < 1:
            raise ValueError(f"`Similarity(inputs={self.inputs})` needs 1 or more")

    def __call__(self, view: View) -> dict[str, Tensor]:
        """The new `alive`, `{kind: bool (edges, ops)}`."""
        if view.clock.epoch < view.clock.epochs - 1:
            return dict(view.alive)
        most = self.inputs if view.space.family == "darts" else max(
            len(cell.edges) for cell in view.space.cells
        )  # fmt: skip
        found = grams_of(view)
        seen = {kind for kind, _ in found}  # a stack of few cells may lack a kind
        alive = {k: mask & (k not in seen) for k, mask in view.alive.items()}
        for (kind, _), (choices, grams) in found.items():
            for edge, column in chosen(choices, grams, most):
                alive[kind][edge, column] = True
        return alive


def grams_of(view: View) -> dict[tuple[str, int], tuple[list[Choice], list[Tensor]]]:
    """For every kind of cell and node, the choices into it and one Gram matrix for each cell.

    A matrix is `(batch, 1 + choices, 1 + choices)`: inner products of the node's output, first, and
    of the outputs of its choices, picture by picture.
    """
    batch = None if view.trial is None else view.trial.batch
    if view.trial is None or batch is None:
        raise ValueError("`Similarity` compares outputs on images of a running search; it has none")
    net = view.trial.net()
    found: dict[tuple[str, int], tuple[list[Choice], list[Tensor]]] = {}

    into: list[SeenEdge] = []  # the edges into a node, which run one after the other

    def see(seen: SeenEdge) -> None:
        shape, edges = view.space.cell(seen.kind), view.mix[seen.kind].edges
        node = shape.edges[seen.edge][1]
        into.append(seen)
        if len(into) < node:  # it has one from every node before it
            return
        weights = [1.0 if edges is None else float(edges[e.edge]) for e in into]
        whole = torch.stack([w * e.output for w, e in zip(weights, into, strict=True)]).sum(dim=0)
        names = [(e, op) for e in into for op in e.ops if op != "none"]
        maps = torch.stack([whole, *[e.ops[op] for e, op in names]], dim=1).flatten(2)
        gram = (maps @ maps.transpose(1, 2)).double()  # (batch, 1 + choices, 1 + choices)
        choices = [(e.edge, shape.columns.index(op)) for e, op in names]
        found.setdefault((seen.kind, node), (choices, []))[1].append(gram)
        into.clear()

    with torch.no_grad(), watching(net, see):
        net(batch.images, view.mix, view.clock.t)
    return found


def chosen(choices: Sequence[Choice], grams: Sequence[Tensor], most: int) -> list[Choice]:
    """The choices into a node, most similar first, on `most` edges; ties to the lower index."""
    rest, sizes = list(grams), [gram.diagonal(dim1=1, dim2=2) for gram in grams]
    picked: list[Choice] = []
    while len(picked) < most:
        scores = torch.cat([similarities(g, s) for g, s in zip(rest, sizes, strict=True)]).mean(0)
        open_ = [i for i, (edge, _) in enumerate(choices) if edge not in {e for e, _ in picked}]
        if not open_:
            break
        best = max(open_, key=lambda i: float(scores[i]))
        picked.append(choices[best])
        rest = [without(gram, best + 1) for gram in rest]
    return picked


def similarities(gram: Tensor, sizes: Tensor) -> Tensor:
    """Cosines `(batch, choices)` of the first vector, whole, with what is left of the others.

    What is left of nothing, or of next to nothing, is like nothing: 0.

    Args:
        gram: inner products of what is left, the first vector's too.
        sizes: squared norms `(batch, 1 + choices)` of the vectors, whole.
    """
    left = gram.diagonal(dim1=1, dim2=2)[:, 1:]
    some = left > 1e-6 * sizes[:, 1:]
    scale = torch.where(some, left, 1.0) * sizes[:, :1].clamp_min(torch.finfo(gram.dtype).tiny)
    return torch.where(some, gram[:, 0, 1:] / scale.sqrt(), 0.0)


def without(gram: Tensor, index: int) -> Tensor:
    """The Gram matrix of the vectors without their components along vector `index`."""
    size = gram[:, index, index, None, None]
    along = gram[:, :, index, None] * gram[:, None, index, :]
    return gram - torch.where(size > 0, along / torch.where(size > 0, size, 1.0), 0.0)
