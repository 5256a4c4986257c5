"""Derivations: read a genotype off the mixing weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.protocols import Mixture, Mixtures, Rows
from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.spaces.space import CellShape, Space


@dataclass(frozen=True)
class TopEdges:
    """Per node the `edges` incoming edges whose best operation weighs most, `none` left out.

    `none` has its share in the mixing weights, so an edge it rules ranks low, but is never chosen.
    Ties go to the lower index; genes come in rank order.

    Liu et al., DARTS, arXiv:1806.09055, section 2.4.
    """

    edges: int = 2

    def __call__(self, space: Space, mix: Mixtures, alive: Rows) -> Genotype:
        """The genotype."""
        return Genotype(
            tuple(
                _top_edges(cell, mix[cell.kind], alive[cell.kind], self.edges)
                for cell in space.cells
            )
        )


@dataclass(frozen=True)
class EdgeArgmax:
    """On every edge the operation that weighs most, `none` too: where it wins there is no edge.

    Nodes have the in-degree that comes out.  NAS-Bench-201 derives so (arXiv:2001.00326), and with
    `connected` paper B: every surviving edge, no in-degree rule.

    Args:
        connected: a node that `none` rules on every input keeps its best other operation, where one
            is alive.  The paper is silent here.
    """

    connected: bool = False

    def __call__(self, space: Space, mix: Mixtures, alive: Rows) -> Genotype:
        """The genotype."""
        return Genotype(
            tuple(self._cell(cell, mix[cell.kind], alive[cell.kind]) for cell in space.cells)
        )

    def _cell(self, cell: CellShape, mixture: Mixture, alive: Tensor) -> CellGenes:
        rows = _weights(mixture, alive)
        useful = _useful_weights(cell, mixture, alive)
        genes: list[Gene] = []
        for node in range(cell.inputs, cell.inputs + cell.nodes):
            into = [index for index, (_, dst) in enumerate(cell.edges) if dst == node]
            won = [index for index in into if max(rows[index]) >= 0]
            found = [Gene(cell.columns[_argmax(rows[i])], *cell.edges[i]) for i in won]
            found = [gene for gene in found if gene.op != "none"]
            if self.connected and not found:
                best = max(into, key=lambda index: max(useful[index]))
                if max(useful[best]) >= 0:
                    found = [Gene(cell.columns[_argmax(useful[best])], *cell.edges[best])]
            genes += found
        return _genes(cell, genes)


@dataclass(frozen=True)
class Threshold:
    """Per node the `edges` best incoming edges, and of each what weighs `threshold` or more.

    In-degrees are as found.  A node that gets nothing is left out of the cell's output, and is no
    input of later nodes.  For weights that do not compete, as sigmoids.

    Args:
        edges: at most so many edges into a node; None: every one.
        ops: at most so many operations on an edge.  The published rules are (2, 1), called sparse,
            (2, 2), called edge, and (None, as many as there are), the threshold alone.

    Chu et al., Fair DARTS, ECCV 2020, arXiv:1911.12126.  Differs: where nothing at all reaches the
    threshold, as after a short search, the cell is `TopEdges`', which does not ask for one; a node
    without inputs is skipped when edges are ranked.
    """

    threshold: float = 0.85
    edges: int | None = 2
    ops: int = 1

    def __post_init__(self) -> None:
        for name in ("edges", "ops"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"`Threshold({name}={count})` needs 1 or more")

    def __call__(self, space: Space, mix: Mixtures, alive: Rows) -> Genotype:
        """The genotype."""
        return Genotype(
            tuple(self._cell(cell, mix[cell.kind], alive[cell.kind]) for cell in space.cells)
        )

    def _cell(self, cell: CellShape, mixture: Mixture, alive: Tensor) -> CellGenes:
        rows = _useful_weights(cell, mixture, alive)
        genes: list[Gene] = []
        fed = set(range(cell.inputs))
        for node in range(cell.inputs, cell.inputs + cell.nodes):
            into = [i for i, (src, dst) in enumerate(cell.edges) if dst == node and src in fed]
            for edge in sorted(into, key=lambda index: -max(rows[index]))[: self.edges]:
                best = sorted(range(len(rows[edge])), key=lambda op: -rows[edge][op])[: self.ops]
                found = [op for op in best if rows[edge][op] >= self.threshold]
                genes += [Gene(cell.columns[op], *cell.edges[edge]) for op in found]
                fed |= {node} if found else set()
        concat = tuple(node for node in cell.outputs if node in fed)
        if not concat:
            return _top_edges(cell, mixture, alive, self.edges or 2)
        return CellGenes(cell.kind, cell.inputs, cell.nodes, tuple(genes), concat)


def _top_edges(cell: CellShape, mixture: Mixture, alive: Tensor, edges: int) -> CellGenes:
    rows = _useful_weights(cell, mixture, alive)
    genes: list[Gene] = []
    for node in range(cell.inputs, cell.inputs + cell.nodes):
        into = [index for index, (_, dst) in enumerate(cell.edges) if dst == node]
        ranked = sorted(into, key=lambda index: -max(rows[index]))
        genes += [
            Gene(cell.columns[_argmax(rows[index])], *cell.edges[index])
            for index in ranked[:edges]
            if max(rows[index]) >= 0
        ]
    return _genes(cell, genes)


def as_published(space: Space, mix: Mixtures, alive: Rows) -> Genotype:
    """Each space's own rule: DARTS keeps two edges per node, NAS-Bench-201 the argmax per edge."""
    rule = EdgeArgmax() if space.family == "nasbench201" else TopEdges(2)
    return rule(space, mix, alive)


surviving_edges = EdgeArgmax(connected=True)


def _weights(mixture: Mixture, alive: Tensor) -> list[list[float]]:
    """`(edges, ops)`, -1 where not alive; times the edge's own weight where edges have one."""
    rows = mixture.ops if mixture.edges is None else mixture.ops * mixture.edges[:, None]
    return torch.where(alive, rows, -1.0).tolist()


def _useful_weights(cell: CellShape, mixture: Mixture, alive: Tensor) -> list[list[float]]:
    """`_weights` with `none` left out."""
    useful = torch.tensor([op != "none" for op in cell.columns], device=alive.device)
    return _weights(mixture, alive & useful)


def _argmax(row: list[float]) -> int:
    return row.index(max(row))  # ties: the lower index


def _genes(cell: CellShape, genes: list[Gene]) -> CellGenes:
    return CellGenes(cell.kind, cell.inputs, cell.nodes, tuple(genes), cell.outputs)
