"""Genotypes as choices: drawn at random, changed in one place, written as one-hot rows.

A genotype of the NAS-Bench-201 family has an operation on every edge, where `none` is no gene; one
of the DARTS family has two genes into every node, from different nodes and never `none`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.spaces.space import CellShape, Space, SpaceError

_T = TypeVar("_T")
_INPUTS = 2  # genes into a node of the DARTS family


def random_genotype(space: Space, generator: torch.Generator) -> Genotype:
    """A genotype of the space, every one as likely; `generator` lives on the CPU."""
    whole = space.family == "nasbench201"
    cells = []
    for cell in space.cells:
        genes: list[Gene] = []
        for node in range(cell.inputs, cell.inputs + cell.nodes):
            edges = _edges_into(cell, node)
            if not whole:
                edges = [edge for edge in edges if _useful(cell, edge)]
                order = torch.randperm(len(edges), generator=generator).tolist()
                edges = sorted(edges[place] for place in order[:_INPUTS])
            for edge in edges:
                ops = cell.ops[edge] if whole else _useful(cell, edge)
                genes.append(Gene(_pick(ops, generator), *cell.edges[edge]))
        cells.append(_cell(cell, genes))
    return Genotype(tuple(cells))


def mutated(space: Space, genotype: Genotype, generator: torch.Generator) -> Genotype:
    """The genotype with one gene changed: its operation or, in the DARTS family, its input.

    Which of the two is a fair coin, then the gene is as likely as any that can change so, and then
    what it becomes.

    Raises:
        SpaceError: if the space has one genotype only.
    """
    options = [
        [found for found in kind if found]
        for kind in (_other_ops(space, genotype), _other_inputs(space, genotype))
    ]
    options = [kind for kind in options if kind]
    if not options:
        raise SpaceError("no gene can change: this space has one genotype; give it more candidates")
    return _pick(_pick(_pick(options, generator), generator), generator)


def one_hot(space: Space, genotype: Genotype) -> dict[str, Tensor]:
    """Mixing weights `{kind: (edges, ops)}` that are 1 where a gene is and on unused edges' `none`.

    An unused edge without `none` among its candidates is a row of zeros.
    """
    rows = {}
    for cell in space.cells:
        chosen = {(gene.src, gene.dst): gene.op for gene in genotype.cell(cell.kind).genes}
        rows[cell.kind] = torch.tensor(
            [
                [float(op == chosen.get(edge, "none") and op in ops) for op in cell.columns]
                for edge, ops in zip(cell.edges, cell.ops, strict=True)
            ]
        )
    return rows


def _other_ops(space: Space, genotype: Genotype) -> list[list[Genotype]]:
    """Per place that has an operation: the genotypes with another one there."""
    whole = space.family == "nasbench201"
    places = []
    for cell in space.cells:
        genes = genotype.cell(cell.kind).genes
        chosen = {(gene.src, gene.dst): gene.op for gene in genes}
        for index, ends in enumerate(cell.edges):
            if ends not in chosen and not whole:
                continue
            mine = chosen.get(ends, "none")
            ops = cell.ops[index] if whole else _useful(cell, index)
            rest = [gene for gene in genes if (gene.src, gene.dst) != ends]
            places.append(
                [_with(genotype, cell, [*rest, Gene(op, *ends)]) for op in ops if op != mine]
            )
    return places


def _other_inputs(space: Space, genotype: Genotype) -> list[list[Genotype]]:
    """Per gene: the genotypes that have it from a node its own does not hear yet."""
    if space.family == "nasbench201":
        return []
    places = []
    for cell in space.cells:
        genes = genotype.cell(cell.kind).genes
        used = {(gene.src, gene.dst) for gene in genes}
        for gene in genes:
            rest = [other for other in genes if other != gene]
            places.append(
                [
                    _with(genotype, cell, [*rest, Gene(gene.op, *cell.edges[edge])])
                    for edge in _edges_into(cell, gene.dst)
                    if cell.edges[edge] not in used and gene.op in cell.ops[edge]
                ]
            )
    return places


def _with(genotype: Genotype, shape: CellShape, genes: Sequence[Gene]) -> Genotype:
    cells = (_cell(shape, genes) if c.kind == shape.kind else c for c in genotype.cells)
    return replace(genotype, cells=tuple(cells))


def _cell(shape: CellShape, genes: Sequence[Gene]) -> CellGenes:
    """Genes in the order of edges, without `none`."""
    kept = sorted((g for g in genes if g.op != "none"), key=lambda g: (g.dst, g.src))
    return CellGenes(shape.kind, shape.inputs, shape.nodes, tuple(kept), shape.outputs)


def _edges_into(cell: CellShape, node: int) -> list[int]:
    return [index for index, (_, dst) in enumerate(cell.edges) if dst == node]


def _useful(cell: CellShape, edge: int) -> tuple[str, ...]:
    return tuple(op for op in cell.ops[edge] if op != "none")


def _pick(items: Sequence[_T], generator: torch.Generator) -> _T:
    return items[int(torch.randint(len(items), (), generator=generator))]
