"""A cell before a search: every edge it can have."""

from __future__ import annotations

import graphviz
import pandas as pd

from workbench.plots.cells import INPUT, NODE, OUTPUT, CellGraph, cells_graph, input_label
from workbench.spaces.space import CellShape, Space

EDGE = "#7F7F7F"


def space_cell_frame(space: Space) -> pd.DataFrame:
    """A row per candidate of an edge: kind, edge, src, dst, op."""
    rows = [
        (cell.kind, name, src, dst, op)
        for cell in space.cells
        for name, (src, dst), ops in zip(cell.edge_names, cell.edges, cell.ops, strict=True)
        for op in ops
    ]
    return pd.DataFrame(rows, columns=["kind", "edge", "src", "dst", "op"])


def space_cell(cell: CellShape) -> CellGraph:
    """One kind of cell with all its edges, and on each how many candidates it has.

    The number is left out where it is the same on every edge.
    """
    graph = cells_graph()
    graph.attr(nodesep="0.22", ranksep="0.45")
    graph.attr("edge", fontsize="10", fontcolor=EDGE, arrowsize="0.6", color=EDGE)
    for node in range(cell.inputs + cell.nodes):
        label = input_label(cell.inputs, node) if node < cell.inputs else str(node)
        graph.node(str(node), label, **(INPUT if node < cell.inputs else NODE))
    graph.node("out", "c_{k}", **OUTPUT)
    same = len({len(ops) for ops in cell.ops}) == 1
    for (src, dst), name, ops in zip(cell.edges, cell.edge_names, cell.ops, strict=True):
        graph.edge(
            str(src),
            str(dst),
            label="" if same else f" {len(ops)} ",
            tooltip=graphviz.escape(f"{name}: {', '.join(ops)}"),
        )
    for node in cell.outputs:
        graph.edge(str(node), "out", penwidth="0.8", style="dotted")
    return CellGraph(graph.source, repr(cell))
