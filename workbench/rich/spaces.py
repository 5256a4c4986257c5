"""Genotypes and search spaces as HTML, SVG and text."""

from __future__ import annotations

from workbench.plots.cells import cell_graph, genotype_graph
from workbench.plots.spaces import space_cell
from workbench.plots.theme import cell_name, colour
from workbench.rich.html import (
    Html,
    code,
    escaped,
    folded,
    heading,
    join,
    paragraph,
    picture,
    table,
)
from workbench.spaces.genotype import Genotype
from workbench.spaces.space import CellShape, Space

DRAWN = 2  # kinds of cells; a space with a kind for every layer has too many to draw


def genotype(value: Genotype) -> Html:
    """Its cells as pictures, how often each operation was chosen, and its text."""
    kinds = [cell.kind for cell in value.cells]
    drawn = [Html(_named(cell_name(k)) + picture(cell_graph(value, k).svg)) for k in kinds]
    rest = drawn[DRAWN:]
    return join(
        _counts(value),
        *drawn[:DRAWN],
        folded(f"{len(rest)} more kinds of cells", Html("".join(rest))) if rest else Html(),
        folded("as text", code(str(value))),
    )


def genotype_svg(value: Genotype) -> str | None:
    """Its cells as one picture, if there are few."""
    return genotype_graph(value).svg if len(value.cells) <= DRAWN else None


def genotype_text(value: Genotype) -> str:
    """A line for each kind of cell: into every node, the operations and where they come from."""
    width = max(len(cell.kind) for cell in value.cells)
    lines = []
    for cell in value.cells:
        nodes = [
            f"{node} ← " + (", ".join(f"{gene.op}({gene.src})" for gene in cell.into(node)) or "0")
            for node in cell.in_degrees
        ]
        lines += [f"{cell.kind if not at else '':{width}}  {node}" for at, node in enumerate(nodes)]
    return "\n".join(lines)


def space(value: Space) -> Html:
    """Its kinds of cells, how they are stacked, how many genotypes there are."""
    stack = f"{value.depth} cells" + (" a stage" if value.family == "nasbench201" else "")
    rows = [_kind(cell, value) for cell in value.cells]
    kinds = table(rows, head=("kind", "layers", "inputs", "nodes", "edges", "candidates"))
    first = value.cells[0]
    alike = {(cell.inputs, cell.nodes) for cell in value.cells} == {(first.inputs, first.nodes)}
    caption = (
        "the edges of every kind of cell" if alike and len(rows) > 1 else cell_name(first.kind)
    )
    return join(
        heading(f"{value.family} space", stack, f"{value.channels} channels in the first"),
        paragraph(_how_many(value)),
        kinds if len(rows) <= 4 else folded(f"{len(rows)} kinds of cells", kinds),
        Html(_named(caption) + picture(space_cell(first).svg, width=520)),
    )


def cell_shape(value: CellShape) -> Html:
    """One kind of cell with all its edges."""
    rows = [(name, ", ".join(ops)) for name, ops in zip(value.edge_names, value.ops, strict=True)]
    return join(
        heading(cell_name(value.kind), repr(value).partition(": ")[2].rstrip(">")),
        picture(cell_shape_svg(value), width=520),
        folded("candidates of every edge", table(rows)),
    )


def cell_shape_svg(value: CellShape) -> str | None:
    """One kind of cell with all its edges."""
    return space_cell(value).svg


def _named(caption: str) -> str:
    return f'<div style="opacity:.75;margin-top:6px">{escaped(caption)}</div>'


def _counts(value: Genotype) -> Html:
    counts = sorted(value.op_counts().items(), key=lambda item: -item[1])
    chips = "".join(
        f'<span style="display:inline-block;margin:2px 14px 2px 0">'
        f'<span style="color:{colour(op)}">■</span> {count} × {escaped(op)}</span>'
        for op, count in counts
    )
    return Html(f"<div>{chips or 'no operation at all'}</div>")


def _kind(cell: CellShape, value: Space) -> tuple[object, ...]:
    layers = sum(layer.kind == cell.kind for layer in value.layers)
    counts = sorted({len(ops) for ops in cell.ops})
    each = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    of = ":" if counts == [len(cell.columns)] else ", of"
    ops = f"{each} on each edge{of} {', '.join(cell.columns)}"
    return cell.kind, layers, cell.inputs, cell.nodes, len(cell.edges), ops


def _how_many(value: Space) -> Html:
    count = value.genotypes
    power = len(str(count)) - 1
    number = f"{count:,}" if power < 9 else f"about {count / 10**power:.1f} × 10<sup>{power}</sup>"
    rule = (
        "one candidate on every edge"
        if value.family == "nasbench201"
        else "two edges into every node, as DARTS derives"
    )
    return Html(f"{number} genotypes ({rule})")
