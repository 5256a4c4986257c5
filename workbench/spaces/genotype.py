"""The genotype: what a search found, in one type for both fields' conventions.

Its text forms are in `workbench.spaces.genotype_text`.
"""

from __future__ import annotations

import json
import keyword
import re
from dataclasses import dataclass
from typing import NamedTuple

from workbench.errors import WorkbenchError
from workbench.limits import GENOTYPE_TEXT, NODES, shown, within

# By name; separable convolutions of other shapes are known too (workbench.spaces.morph_ops).
KNOWN_OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "noise",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
    "nor_conv_1x1",
    "nor_conv_3x3",
)


ENDINGS = ("_concat", "_nodes", "_steps", "_inputs")  # of fields that say more of a cell
_KIND = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # it is a field of the text form, and names files


class GenotypeError(WorkbenchError):
    """A genotype, or a text of one, that cannot be."""


class Gene(NamedTuple):
    """Operation `op` on the edge from node `src` to node `dst`."""

    op: str
    src: int
    dst: int


class PlacedGene(NamedTuple):
    """A gene and the kind of cell it is in; as text `op on kind:src→dst`."""

    kind: str
    src: int
    dst: int
    op: str

    def __str__(self) -> str:
        return f"{self.op} on {self.edge}"

    @property
    def edge(self) -> str:
        """The edge's name, such as `normal:0→2`."""
        return f"{self.kind}:{self.src}→{self.dst}"


@dataclass(frozen=True)
class CellGenes:
    """The genes of one kind of cell, grouped by destination, in the order they were chosen.

    Nodes are counted from 0 with the `inputs` input nodes first; `concat` are the nodes that make
    the output.  A node may have any number of genes, none included: it is then a node of zeros.
    """

    kind: str
    inputs: int
    nodes: int
    genes: tuple[Gene, ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_size(self)
        last = self.inputs + self.nodes
        for gene in self.genes:
            where = f"{self.kind}:{gene.src}→{gene.dst}"
            _check_op(where, gene.op)
            if not self.inputs <= gene.dst < last:
                rule = f"nodes {self.inputs} to {last - 1} have inputs"
                raise GenotypeError(f"{where}: {gene.dst} takes no input; {rule}")
            if not 0 <= gene.src < gene.dst:
                raise GenotypeError(f"{where}: an input must be a node before {gene.dst}")
        if not self.concat or not all(0 <= node < last for node in self.concat):
            raise GenotypeError(
                f"{self.kind}: the output is made of nodes {shown(list(self.concat))}, "
                f"but it needs one or more of 0 to {last - 1}"
            )
        if len(set(self.concat)) < len(self.concat):
            raise GenotypeError(
                f"{self.kind}: the output names a node twice: {shown(list(self.concat))}"
            )

    def into(self, node: int) -> tuple[Gene, ...]:
        """The genes that end in `node`."""
        return tuple(gene for gene in self.genes if gene.dst == node)

    @property
    def in_degrees(self) -> dict[int, int]:
        """How many genes each intermediate node has."""
        ends = range(self.inputs, self.inputs + self.nodes)
        return {node: len(self.into(node)) for node in ends}

    @property
    def named_nodes(self) -> int:
        """How many nodes there must be for the genes and the output to make sense."""
        return (
            max([*(gene.dst for gene in self.genes), *self.concat, self.inputs]) + 1 - self.inputs
        )

    @property
    def paired(self) -> bool:
        """Does every node have two genes, in node order, as the published DARTS text needs?"""
        want = [n for n in range(self.inputs, self.inputs + self.nodes) for _ in range(2)]
        return [gene.dst for gene in self.genes] == want


@dataclass(frozen=True)
class Genotype:
    """What a search found: the genes of every kind of cell.

    `str(genotype)` is the text of its field, `parse` reads it.
    """

    cells: tuple[CellGenes, ...]

    def __post_init__(self) -> None:
        kinds = [cell.kind for cell in self.cells]
        if not kinds or len(set(kinds)) != len(kinds):
            raise GenotypeError(f"a genotype needs one or more different kinds of cells: {kinds}")

    def cell(self, kind: str) -> CellGenes:
        """The cell of that kind."""
        for cell in self.cells:
            if cell.kind == kind:
                return cell
        have = ", ".join(cell.kind for cell in self.cells)
        raise GenotypeError(f"no cell of kind {kind!r} in this genotype ({have})")

    def op_counts(self) -> dict[str, int]:
        """How often each operation occurs, over all kinds of cells."""
        ops = [gene.op for cell in self.cells for gene in cell.genes]
        return {op: ops.count(op) for op in dict.fromkeys(ops)}

    @property
    def is_nasbench201(self) -> bool:
        """Is this one cell with one input, as in NAS-Bench-201?"""
        return len(self.cells) == 1 and self.cells[0].inputs == 1

    def __str__(self) -> str:
        from workbench.spaces import genotype_text

        return genotype_text.write(self)

    def __repr__(self) -> str:
        text = str(self)
        return text if text.startswith("Genotype(") else f"Genotype.parse({text!r})"

    def to_json(self) -> str:
        """JSON text that `from_json` reads back."""
        cells = {
            cell.kind: {
                "inputs": cell.inputs,
                "nodes": cell.nodes,
                "genes": [list(gene) for gene in cell.genes],
                "concat": list(cell.concat),
            }
            for cell in self.cells
        }
        return json.dumps({"cells": cells, "text": str(self)}, indent=1)

    @staticmethod
    def from_json(text: str) -> Genotype:
        """Read `to_json`'s text, or an object of published keys (`normal`, `normal_concat`, …).

        Raises:
            GenotypeError: if it is neither, or describes no possible genotype.
        """
        try:
            value = json.loads(within(text, GENOTYPE_TEXT, "a genotype's text", GenotypeError))
        except GenotypeError:
            raise
        except (ValueError, RecursionError) as error:  # ValueError: a number of 5,000 digits too
            raise GenotypeError(f"not JSON: {error}") from error
        if isinstance(value, str):
            return Genotype.parse(value)
        if not isinstance(value, dict):
            raise GenotypeError("a genotype in JSON is an object with the key 'cells'")
        if "cells" in value:
            return _from_cells(value["cells"])
        from workbench.spaces import genotype_text

        return genotype_text.from_published(value)

    def published(self) -> dict[str, list[object] | int]:
        """As published: the keys `normal`, `normal_concat`, `reduce`, `reduce_concat`.

        Genes are pairs of operation and input.  Where some node has not two of them, `normal_nodes`
        says which node each ends in; `normal_steps` counts nodes where the last ones are not named.
        """
        from workbench.spaces import genotype_text

        out: dict[str, list[object] | int] = {}
        for cell in self.cells:
            out[cell.kind] = [[gene.op, gene.src] for gene in cell.genes]
            out[f"{cell.kind}_concat"] = list(cell.concat)
            if not cell.paired:
                out[f"{cell.kind}_nodes"] = [gene.dst for gene in cell.genes]
            if cell.inputs != genotype_text.usual_inputs(cell.kind):
                out[f"{cell.kind}_inputs"] = cell.inputs
            if cell.named_nodes != cell.nodes:
                out[f"{cell.kind}_steps"] = cell.nodes
        return out

    @property
    def genes(self) -> tuple[PlacedGene, ...]:
        """The genes of all cells, in their order."""
        return tuple(
            PlacedGene(cell.kind, gene.src, gene.dst, gene.op)
            for cell in self.cells
            for gene in cell.genes
        )

    @staticmethod
    def parse(text: str) -> Genotype:
        """Read a genotype from either field's text form.

        Raises:
            GenotypeError: if the text is neither form, or describes no possible genotype.
        """
        from workbench.spaces import genotype_text

        return genotype_text.read(text)


def _check_op(where: str, op: str) -> None:
    """Every operation is one of `KNOWN_OPS` or a separable convolution of another shape."""
    if op in KNOWN_OPS:
        return
    from workbench.spaces.morph_ops import separable

    why = "it is no separable convolution of another shape either"
    try:
        if separable(op) is not None:
            return
    except GenotypeError as error:
        why = str(error)
    known = ", ".join(KNOWN_OPS)
    raise GenotypeError(f"{where} has op {shown(op)}, which is none of {known}; {why}")


def _check_size(cell: CellGenes) -> None:
    """A name that is one, and no more nodes than anybody has."""
    named = _KIND.fullmatch(cell.kind) and not cell.kind.endswith(ENDINGS)
    if not named or keyword.iskeyword(cell.kind) or len(cell.kind) > 64:
        raise GenotypeError(
            f"{shown(cell.kind)} names no kind of cell; a name is up to 64 letters, digits and _, "
            "such as normal"
        )
    if cell.inputs < 1 or cell.nodes < 0 or cell.inputs + cell.nodes > NODES:
        raise GenotypeError(
            f"{cell.kind}: {shown(cell.inputs)} inputs and {shown(cell.nodes)} nodes; a cell has "
            f"an input, and at most {NODES} of both together"
        )


def _from_cells(value: object) -> Genotype:
    try:
        assert isinstance(value, dict)
        return Genotype(
            tuple(
                CellGenes(
                    kind,
                    int(cell["inputs"]),
                    int(cell["nodes"]),
                    tuple(Gene(str(op), int(src), int(dst)) for op, src, dst in cell["genes"]),
                    tuple(int(node) for node in cell["concat"]),
                )
                for kind, cell in value.items()
            )
        )
    except GenotypeError:
        raise
    except (AssertionError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise GenotypeError(
            "'cells' must map each kind to inputs, nodes, genes [op, src, dst] and concat; "
            f"reading it failed with {type(error).__name__}"
        ) from error
