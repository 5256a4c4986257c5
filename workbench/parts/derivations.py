"""Derivations: read a genotype off the mixing weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.protocols import Derivation, Mixture, Mixtures, Rows
from workbench.spaces.genotype import CellGenes, Gene, Genotype, GenotypeError
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


def survivors(space: Space, mix: Mixtures, alive: Rows) -> Genotype:
    """Everything alive but `none`: any number of operations on an edge, of edges into a node.

    Operations of an edge come in the space's order; weights play no part, a pruner has spoken.

    Raises:
        GenotypeError: if an edge has two in a space whose text, NAS-Bench-201's, has room for one.

    Bi et al., GOLD-NAS, arXiv:2007.03331.
    """
    cells = []
    for cell in space.cells:
        rows = alive[cell.kind].tolist()
        genes = [
            Gene(op, *edge)
            for edge, row in zip(cell.edges, rows, strict=True)
            for op, keep in zip(cell.columns, row, strict=True)
            if keep and op != "none"
        ]
        cells.append(_genes(cell, genes))
    genotype = Genotype(tuple(cells))
    genes = genotype.cells[0].genes
    if genotype.is_nasbench201 and len({(gene.src, gene.dst) for gene in genes}) < len(genes):
        raise GenotypeError(
            "`survivors` found an edge with two operations, which |op~0|+… cannot say; "
            "use `surviving_edges`, or cells of their own (`IndividualCells`)"
        )
    return genotype


@dataclass(frozen=True)
class LimitedSkips:
    """At most so many `skip_connect` in a cell that does not halve the map; and no `none`.

    As long as there are more, the skip that weighs least is struck out and `rule` derives again, in
    which another operation takes its edge, or another edge its place.  An edge whose only operation
    is a skip keeps it.

    Args:
        most: skips in a cell; the paper keeps two in the normal cell.
        rule: what derives.

    Chen et al., P-DARTS, ICCV 2019, arXiv:1904.12760, section 3.3.
    """

    most: int = 2
    rule: Derivation = as_published

    def __post_init__(self) -> None:
        if self.most < 0:
            raise ValueError(f"`LimitedSkips(most={self.most})` needs 0 skips or more")

    def __call__(self, space: Space, mix: Mixtures, alive: Rows) -> Genotype:
        """The genotype."""
        halving = {layer.kind for layer in space.layers if layer.reduction}
        left = {cell.kind: alive[cell.kind] & _useful(cell, alive) for cell in space.cells}
        for cell in space.cells:
            if cell.kind not in halving and "skip_connect" in cell.columns:
                while (edge := self._weakest(space, cell, mix, left)) is not None:
                    left[cell.kind][edge, cell.columns.index("skip_connect")] = False
        return self.rule(space, mix, left)

    def _weakest(self, space: Space, cell: CellShape, mix: Mixtures, left: Rows) -> int | None:
        """The edge whose skip has to go, or None where there are few enough."""
        genes = self.rule(space, mix, left).cell(cell.kind).genes
        skips = [cell.edges.index((g.src, g.dst)) for g in genes if g.op == "skip_connect"]
        if len(skips) <= self.most:
            return None
        weights = _weights(mix[cell.kind], left[cell.kind])
        column = cell.columns.index("skip_connect")
        replaceable = [edge for edge in skips if int(left[cell.kind][edge].sum()) > 1]
        return min(replaceable, key=lambda edge: weights[edge][column], default=None)


def _weights(mixture: Mixture, alive: Tensor) -> list[list[float]]:
    """`(edges, ops)`, -1 where not alive; times the edge's own weight where edges have one."""
    rows = mixture.ops if mixture.edges is None else mixture.ops * mixture.edges[:, None]
    return torch.where(alive, rows, -1.0).tolist()


def _useful_weights(cell: CellShape, mixture: Mixture, alive: Tensor) -> list[list[float]]:
    """`_weights` with `none` left out."""
    return _weights(mixture, alive & _useful(cell, {cell.kind: alive}))


def _useful(cell: CellShape, alive: Rows) -> Tensor:
    """`(ops,)`: which columns are not `none`."""
    device = alive[cell.kind].device
    return torch.tensor([op != "none" for op in cell.columns], device=device)


def _argmax(row: list[float]) -> int:
    return row.index(max(row))  # ties: the lower index


def _genes(cell: CellShape, genes: list[Gene]) -> CellGenes:
    return CellGenes(cell.kind, cell.inputs, cell.nodes, tuple(genes), cell.outputs)
