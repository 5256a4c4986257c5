"""The genotype: what a search found, in one type for both fields' conventions.

Text forms, both read and written:

* `Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), reduce=…)`, as DARTS papers
  publish it: two genes per node.  A cell with another in-degree is written with triples
  `('sep_conv_3x3', 2, 0)` of operation, node and input, as FairDARTS publishes it.
* `|nor_conv_3x3~0|+|skip_connect~0|none~1|+…`, as NAS-Bench-201 does.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from workbench.errors import WorkbenchError

KNOWN_OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
    "nor_conv_1x1",
    "nor_conv_3x3",
)


class GenotypeError(WorkbenchError):
    """A genotype, or a text of one, that cannot be."""


class Gene(NamedTuple):
    """Operation `op` on the edge from node `src` to node `dst`."""

    op: str
    src: int
    dst: int


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
        last = self.inputs + self.nodes
        for gene in self.genes:
            where = f"{self.kind}:{gene.src}→{gene.dst}"
            if gene.op not in KNOWN_OPS:
                known = ", ".join(KNOWN_OPS)
                raise GenotypeError(f"{where} has op {gene.op!r}, which is none of {known}")
            if not self.inputs <= gene.dst < last:
                rule = f"nodes {self.inputs} to {last - 1} have inputs"
                raise GenotypeError(f"{where}: {gene.dst} takes no input; {rule}")
            if not 0 <= gene.src < gene.dst:
                raise GenotypeError(f"{where}: an input must be a node before {gene.dst}")
        if not self.concat or not all(0 <= node < last for node in self.concat):
            raise GenotypeError(
                f"{self.kind}: the output is made of nodes {list(self.concat)}, "
                f"but it needs one or more of 0 to {last - 1}"
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
    def paired(self) -> bool:
        """Does every node have two genes, in node order, as the published DARTS text needs?"""
        want = [n for n in range(self.inputs, self.inputs + self.nodes) for _ in range(2)]
        return [gene.dst for gene in self.genes] == want


@dataclass(frozen=True)
class Genotype:
    """What a search found: the genes of every kind of cell.

    `str(genotype)` is the text of its field (see the module), `parse` reads it.
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
        return _nasbench201_text(self.cells[0]) if self.is_nasbench201 else _darts_text(self)

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
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise GenotypeError(f"not JSON: {error}") from error
        if isinstance(value, str):
            return Genotype.parse(value)
        if not isinstance(value, dict):
            raise GenotypeError("a genotype in JSON is an object with the key 'cells'")
        return _from_published(value) if "cells" not in value else _from_cells(value["cells"])

    def published(self) -> dict[str, list[object]]:
        """As published: the keys `normal`, `normal_concat`, `reduce`, `reduce_concat`.

        Genes are pairs of operation and input, or triples of operation, node and input in a cell
        where some node has not two genes.
        """
        out: dict[str, list[object]] = {}
        for cell in self.cells:
            out[cell.kind] = [
                [gene.op, gene.src] if cell.paired else [gene.op, gene.dst, gene.src]
                for gene in cell.genes
            ]
            out[f"{cell.kind}_concat"] = list(cell.concat)
        return out

    @staticmethod
    def parse(text: str) -> Genotype:
        """Read a genotype from either field's text form.

        Raises:
            GenotypeError: if the text is neither form, or describes no possible genotype.
        """
        text = text.strip()
        if text.startswith("|"):
            return _parse_nasbench201(text)
        if text.startswith("{"):
            return Genotype.from_json(text)
        return _parse_darts(text)


def _darts_text(genotype: Genotype) -> str:
    fields = []
    for cell in genotype.cells:
        genes = ", ".join(
            f"('{gene.op}', {gene.src})"
            if cell.paired
            else f"('{gene.op}', {gene.dst}, {gene.src})"
            for gene in cell.genes
        )
        low, high = min(cell.concat), max(cell.concat) + 1
        whole = cell.concat == tuple(range(low, high))
        concat = f"range({low}, {high})" if whole else str(list(cell.concat))
        fields.append(f"{cell.kind}=[{genes}], {cell.kind}_concat={concat}")
    return f"Genotype({', '.join(fields)})"


def _parse_darts(text: str) -> Genotype:
    try:
        call = ast.parse(re.sub(r"^\w+\s*=\s*(?=Genotype\()", "", text), mode="eval").body
    except SyntaxError as error:
        raise GenotypeError(f"not a genotype: {error.msg} at column {error.offset}") from error
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise GenotypeError(
            "a genotype is written Genotype(normal=[('sep_conv_3x3', 0), …], …) "
            "or |nor_conv_3x3~0|+|…|"
        )
    fields = {word.arg or "**": _literal(word.value) for word in call.keywords}
    if call.args or len(fields) < len(call.keywords):
        raise GenotypeError("name every cell, once: Genotype(normal=[…], reduce=[…], …)")
    return _from_published(fields)


def _literal(node: ast.expr) -> object:
    """The value of a list, tuple or `range(…)`; nothing is executed."""
    try:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("list", "tuple") and len(node.args) == 1:
                return _literal(node.args[0])
            if node.func.id == "range":
                return list(range(*(int(ast.literal_eval(arg)) for arg in node.args)))
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        raise GenotypeError(f"cannot read {ast.unparse(node)!r} as a list or range") from error


def _from_published(value: Mapping[str, object]) -> Genotype:
    kinds = [key for key in value if not key.endswith("_concat")]
    if not kinds:
        raise GenotypeError("no cell in it: expected normal=[…] and reduce=[…]")
    cells = []
    for kind in kinds:
        genes = _genes(kind, value[kind])
        last = max((gene.dst for gene in genes), default=2)
        raw = value.get(f"{kind}_concat", list(range(2, last + 1)))
        listed = _sequence(f"{kind}_concat", raw)
        concat = tuple(node for node in listed if isinstance(node, int))
        if len(concat) < len(listed):
            raise GenotypeError(f"{kind}_concat is {listed!r}, but nodes are whole numbers")
        nodes = max([last, *concat]) - 1
        cells.append(CellGenes(kind, 2, nodes, genes, concat))
    return Genotype(tuple(cells))


def _genes(kind: str, value: object) -> tuple[Gene, ...]:
    """Pairs (op, input) are two to a node, in order; triples are (op, node, input)."""
    genes = []
    for index, item in enumerate(_sequence(kind, value)):
        match item:
            case [str() as op, int() as src]:
                genes.append(Gene(op, src, 2 + index // 2))
            case [str() as op, int() as dst, int() as src]:
                genes.append(Gene(op, src, dst))
            case _:
                raise GenotypeError(
                    f"{kind}[{index}] is {item!r}; a gene is ('sep_conv_3x3', 0), or with any "
                    "in-degree ('sep_conv_3x3', node, input)"
                )
    return tuple(genes)


def _sequence(name: str, value: object) -> Sequence[object]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [list(v) if isinstance(v, tuple) else v for v in value]
    raise GenotypeError(f"{name} is {value!r}, but must be a list")


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
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise GenotypeError(
            "'cells' must map each kind to inputs, nodes, genes [op, src, dst] and concat; "
            f"reading it failed with {type(error).__name__}: {error}"
        ) from error


def _nasbench201_text(cell: CellGenes) -> str:
    chosen = {(gene.src, gene.dst): gene.op for gene in cell.genes}
    nodes = (
        "|" + "|".join(f"{chosen.get((src, dst), 'none')}~{src}" for src in range(dst)) + "|"
        for dst in range(1, cell.nodes + 1)
    )
    return "+".join(nodes)


def _parse_nasbench201(text: str) -> Genotype:
    genes = []
    groups = text.split("+")
    for dst, group in enumerate(groups, start=1):
        parts = [part.split("~") for part in group.strip().strip("|").split("|")]
        if [part[1:] for part in parts] != [[str(src)] for src in range(dst)]:
            raise GenotypeError(
                f"node {dst} reads {group!r}; it needs one operation from each of the nodes "
                f"0 to {dst - 1}, as in |nor_conv_3x3~0|none~1|"
            )
        genes += [Gene(part[0], src, dst) for src, part in enumerate(parts)]
    cell = CellGenes("cell", 1, len(groups), tuple(genes), (len(groups),))
    kept = tuple(gene for gene in cell.genes if gene.op != "none")
    return Genotype((CellGenes("cell", 1, len(groups), kept, (len(groups),)),))
