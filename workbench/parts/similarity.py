"""A pruner that keeps the operations whose outputs are most like their node's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from workbench.protocols import View
from workbench.spaces.supernet import SearchCell, Supernet

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
        alive = {kind: torch.zeros_like(mask) for kind, mask in view.alive.items()}
        for (kind, _), (choices, grams) in grams_of(view).items():
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

    def seen(cell: SearchCell, outputs: Mapping[tuple[int, str | None], Tensor]) -> None:
        shape, edges = cell.shape, view.mix[cell.kind].edges
        for node in range(shape.inputs, shape.inputs + shape.nodes):
            into = [edge for edge, (_, dst) in enumerate(shape.edges) if dst == node]
            weights = {edge: 1.0 if edges is None else float(edges[edge]) for edge in into}
            whole = torch.stack([weights[edge] * outputs[edge, None] for edge in into]).sum(dim=0)
            names = [(e, op) for e, op in outputs if e in into and op not in (None, "none")]
            maps = torch.stack([whole, *[outputs[name] for name in names]], dim=1).flatten(2)
            gram = (maps @ maps.transpose(1, 2)).double()  # (batch, 1 + choices, 1 + choices)
            choices = [(edge, shape.columns.index(str(op))) for edge, op in names]
            found.setdefault((cell.kind, node), (choices, []))[1].append(gram)

    with torch.no_grad(), _watching(net, seen):
        net(batch.images, view.mix, view.clock.t)
    return found


@contextmanager
def _watching(
    net: Supernet, seen: Callable[[SearchCell, Mapping[tuple[int, str | None], Tensor]], None]
) -> Iterator[None]:
    """Within, `seen` is told of every cell that ran: outputs by edge and operation, None its sum.

    Of one cell at a time, so that the outputs of no two are held at once.
    """
    with ExitStack() as hooks:

        def keep(module: nn.Module, outputs: dict, key: tuple[int, str | None]) -> None:
            hook = module.register_forward_hook(lambda _m, _x, out: outputs.update({key: out}))
            hooks.callback(hook.remove)

        for cell in net.blocks:
            if not isinstance(cell, SearchCell):
                continue
            outputs: dict[tuple[int, str | None], Tensor] = {}
            for number, edge in enumerate(cell.edges):
                keep(edge, outputs, (number, None))
                for name, op in _ops(edge).items():
                    keep(op, outputs, (number, name))

            def tell(cell: SearchCell, _x: object, _y: object, outputs: dict = outputs) -> None:
                seen(cell, outputs)
                outputs.clear()

            hooks.callback(cell.register_forward_hook(tell).remove)
        yield


def _ops(edge: nn.Module) -> dict[str, nn.Module]:
    """The operations of an edge by name, however deep it keeps them."""
    tables = (module for module in edge.modules() if isinstance(module, nn.ModuleDict))
    return dict(next(tables).items())


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
