"""Text forms of genotypes, both read and written.

* `Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), reduce=…)`, as DARTS papers
  publish it: two genes per node.  A cell with another in-degree is written with triples
  `('sep_conv_3x3', 2, 0)` of operation, node and input, as FairDARTS publishes it; where its last
  nodes are nowhere in the text, `normal_steps=4` says how many there are, and where a cell has not
  the two inputs of its field (one, if it is called `cell`), `normal_inputs=3` does.
* `|nor_conv_3x3~0|+|skip_connect~0|none~1|+…`, as NAS-Bench-201 does.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

from workbench.limits import GENOTYPE_TEXT, NODES, shown, within
from workbench.spaces.genotype import ENDINGS, CellGenes, Gene, Genotype, GenotypeError


def write(genotype: Genotype) -> str:
    """The text of the genotype's field."""
    if genotype.is_nasbench201 and _says_all(genotype.cells[0]):
        return _nasbench201_text(genotype.cells[0])
    return _darts_text(genotype)


def usual_inputs(kind: str) -> int:
    """How many inputs a kind of cell has where its text does not say: 1 as `cell`, otherwise 2."""
    return 1 if kind.split("_")[0] == "cell" else 2


def _says_all(cell: CellGenes) -> bool:
    """Can NAS-Bench-201's text say it, which has one operation per edge and no name?"""
    edges = {(gene.src, gene.dst) for gene in cell.genes}
    return (
        cell.kind == "cell"
        and cell.nodes > 0
        and cell.concat == (cell.nodes,)
        and len(edges) == len(cell.genes)
        and all(gene.op != "none" for gene in cell.genes)
    )


def read(text: str) -> Genotype:
    """A genotype from either field's text form, or from JSON.

    Raises:
        GenotypeError: if the text is neither form, or describes no possible genotype.
    """
    text = within(text, GENOTYPE_TEXT, "a genotype's text", GenotypeError).strip()
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
        if cell.inputs != usual_inputs(cell.kind):
            fields.append(f"{cell.kind}_inputs={cell.inputs}")
        if cell.named_nodes != cell.nodes:
            fields.append(f"{cell.kind}_steps={cell.nodes}")
    return f"Genotype({', '.join(fields)})"


def _parse_darts(text: str) -> Genotype:
    try:
        call = ast.parse(re.sub(r"^\w+\s*=\s*(?=Genotype\()", "", text), mode="eval").body
    except SyntaxError as error:
        raise GenotypeError(f"not a genotype: {error.msg} at column {error.offset}") from error
    except (
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # NUL; thousands of brackets or signs
        raise GenotypeError(
            f"not a genotype: {shown(text)}; one is Genotype(normal=[('sep_conv_3x3', 0), …])"
        ) from error
    if not (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "Genotype"
    ):
        raise GenotypeError(
            "a genotype is written Genotype(normal=[('sep_conv_3x3', 0), …], …) "
            "or |nor_conv_3x3~0|+|…|"
        )
    fields = {word.arg or "**": _literal(word.value) for word in call.keywords}
    if call.args or len(fields) < len(call.keywords):
        raise GenotypeError("name every cell, once: Genotype(normal=[…], reduce=[…], …)")
    return from_published(fields)


def _literal(node: ast.expr) -> object:
    """The value of a list, tuple or `range(…)`; nothing is executed."""
    try:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("list", "tuple") and len(node.args) == 1:
                return _literal(node.args[0])
            if node.func.id == "range":
                return list(range(*(_node(arg) for arg in node.args)))
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        where = f"column {node.col_offset + 1}"
        raise GenotypeError(
            f"cannot read what is at {where} as a list or range; write [('sep_conv_3x3', 0), …] or "
            "range(2, 6)"
        ) from error


def _node(argument: ast.expr) -> int:
    value = ast.literal_eval(argument)
    if not isinstance(value, int) or abs(value) > NODES:
        raise ValueError(f"{shown(value)} is no node")
    return value


def from_published(value: Mapping[str, object]) -> Genotype:
    """A genotype from `normal`, `normal_concat`, `reduce`, `reduce_concat` as published.

    Raises:
        GenotypeError: if they describe no possible genotype.
    """
    kinds = [key for key in value if not key.endswith(ENDINGS)]
    if not kinds:
        raise GenotypeError("no cell in it: expected normal=[…] and reduce=[…]")
    cells = []
    for kind in kinds:
        if len(kind) > 64:  # said here already: the refusals below repeat it
            raise GenotypeError(f"{shown(kind)} names no kind of cell; one has up to 64 letters")
        inputs = value.get(f"{kind}_inputs", usual_inputs(kind))
        if not isinstance(inputs, int) or not 1 <= inputs <= NODES:
            raise GenotypeError(f"{kind}_inputs is {shown(inputs)}, but a cell has 1 to {NODES}")
        genes = _genes(kind, value[kind], value.get(f"{kind}_nodes"), inputs)
        last = max((gene.dst for gene in genes), default=inputs)
        if last > NODES:
            raise GenotypeError(f"{kind}: {shown(last)} is no node; a cell has at most {NODES}")
        raw = value.get(f"{kind}_concat", list(range(inputs, last + 1)))
        listed = _sequence(f"{kind}_concat", raw)
        concat = tuple(node for node in listed if isinstance(node, int))
        if len(concat) < len(listed):
            raise GenotypeError(f"{kind}_concat is {shown(listed)}, but nodes are whole numbers")
        nodes = max([last, *concat]) + 1 - inputs
        least = nodes if genes or max(concat, default=inputs) >= inputs else 0
        steps = value.get(f"{kind}_steps", nodes)
        if not isinstance(steps, int) or not least <= steps <= NODES:
            raise GenotypeError(
                f"{kind}_steps is {shown(steps)}, but there are {least} nodes or more"
            )
        cells.append(CellGenes(kind, inputs, steps, genes, concat))
    return Genotype(tuple(cells))


def _genes(kind: str, value: object, nodes: object, inputs: int) -> tuple[Gene, ...]:
    """Pairs (op, input) are two to a node, in order, or end in `nodes`; triples name the node."""
    genes, items = [], _sequence(kind, value)
    ends = [inputs + i // 2 for i in range(len(items))]
    if nodes is not None:
        listed = _sequence(f"{kind}_nodes", nodes)
        ends = [node for node in listed if isinstance(node, int)]
        if len(ends) != len(items):
            raise GenotypeError(f"{kind}_nodes must name one node for each of {len(items)} genes")
    for index, item in enumerate(items):
        match item:
            case [str() as op, int() as src]:
                genes.append(Gene(op, src, ends[index]))
            case [str() as op, int() as dst, int() as src]:
                genes.append(Gene(op, src, dst))
            case _:
                raise GenotypeError(
                    f"{kind}[{index}] is {shown(item)}; a gene is ('sep_conv_3x3', 0), or with any "
                    "in-degree ('sep_conv_3x3', node, input)"
                )
    return tuple(genes)


def _sequence(name: str, value: object) -> Sequence[object]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [list(v) if isinstance(v, tuple) else v for v in value]
    raise GenotypeError(f"{name} is {shown(value)}, but must be a list")


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
                f"node {dst} reads {shown(group)}; it needs one operation from each of the nodes "
                f"0 to {dst - 1}, as in |nor_conv_3x3~0|none~1|"
            )
        genes += [Gene(part[0], src, dst) for src, part in enumerate(parts)]
    cell = CellGenes("cell", 1, len(groups), tuple(genes), (len(groups),))
    kept = tuple(gene for gene in cell.genes if gene.op != "none")
    return Genotype((CellGenes("cell", 1, len(groups), kept, (len(groups),)),))
