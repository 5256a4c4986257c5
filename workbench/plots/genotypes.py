"""Genotypes over time and beside each other: the history of one search, the difference of two."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import graphviz
import pandas as pd

from workbench.plots import moments, theme
from workbench.plots.cells import FONT, CellGraph, cells, cells_graph, draw_nodes, pictures
from workbench.spaces.genotype import CellGenes, Genotype, PlacedGene

if TYPE_CHECKING:
    from workbench.trace.runs import Run

PICTURES = 40
NAMED = 6  # changed genes that a caption spells out
# Inline, so that a page whose policy forbids other scripts may run it; no ids, so nothing clashes.
TURN = (
    "var at=this.value;this.closest('.wb-history').querySelectorAll('[data-at]').forEach("
    "function(p){p.style.visibility=p.dataset.at===at?'visible':'hidden'})"
)
LOOKS = {  # where a gene is: colour, line, and the line in the legend
    "both": (theme.INK["both"], "solid", "━━━"),
    "a": (theme.SERIES[0], "dashed", "╍╍╍"),
    "b": (theme.SERIES[1], "dotted", "┅┅┅"),
}


class _Stretch(NamedTuple):
    first: int
    last: int
    genotype: Genotype
    added: list[PlacedGene]
    removed: list[PlacedGene]

    @property
    def epochs(self) -> str:
        return (
            f"epoch {self.first}"
            if self.first == self.last
            else (f"epochs {self.first} to {self.last}")
        )


def _stretches(run: Run) -> list[_Stretch]:
    """Consecutive epochs with the same genotype."""
    found: list[_Stretch] = []
    for epoch, genotype in run.genotypes:
        before = found[-1] if found else None
        if before is not None and before.genotype == genotype:
            found[-1] = before._replace(last=epoch)
            continue
        now, then = genotype.genes, before.genotype.genes if before else ()
        added = [gene for gene in now if gene not in then] if before else []
        removed = [gene for gene in then if gene not in now]
        found.append(_Stretch(epoch, epoch, genotype, added, removed))
    return found


def genotype_history_frame(run: Run) -> pd.DataFrame:
    """One row per stretch of consecutive epochs that would have derived the same genotype.

    Returns:
        Columns `first_epoch`, `last_epoch`, `genotype` (text), `added` and `removed` (genes that
        the stretch before lacked, or had; both 0 in the first), and one per operation: how often
        the genotype has it.
    """
    stretches = _stretches(run)
    ops = [str(op) for op in run.trace["op"].values]
    rows = [
        {
            "first_epoch": one.first,
            "last_epoch": one.last,
            "genotype": str(one.genotype),
            "added": len(one.added),
            "removed": len(one.removed),
            **{op: one.genotype.op_counts().get(op, 0) for op in ops},
        }
        for one in stretches
    ]
    columns = ["first_epoch", "last_epoch", "genotype", "added", "removed", *ops]
    return pd.DataFrame(rows, columns=columns)


def gene_history_frame(run: Run) -> pd.DataFrame:
    """One row per gene of every stretch of `genotype_history_frame`, and per gene that it lost.

    Returns:
        Columns `first_epoch`, `last_epoch`, `stage` and `step` (of the end of `first_epoch`),
        `kind`, `edge`, `src`, `dst`, `op`, `change`: "first" in the first stretch, after it "kept"
        or "added", and, behind the genes, "removed".
    """
    ends = run.epochs[["stage", "step"]].itertuples(index=False, name=None)
    when = dict(zip(run.epochs["epoch"], ends, strict=True))
    when_and_where = ["first_epoch", "last_epoch", "stage", "step", "kind", "edge"]
    rows = [
        (one.first, one.last, *when[one.first], gene.kind, gene.edge, *gene[1:], change)
        for at, one in enumerate(_stretches(run))
        for gene, change in _changes(one, "kept" if at else "first")
    ]
    return pd.DataFrame(rows, columns=[*when_and_where, "src", "dst", "op", "change"])


def _changes(one: _Stretch, old: str) -> list[tuple[PlacedGene, str]]:
    genes = [(gene, "added" if gene in one.added else old) for gene in one.genotype.genes]
    return genes + [(gene, "removed") for gene in one.removed]


@dataclass(frozen=True, repr=False)
class GenotypeHistory:
    """Pictures of genotypes, oldest first, that a notebook shows below a slider.

    Without scripts the last picture is seen.
    """

    graphs: Sequence[CellGraph]
    captions: Sequence[str]
    text: str

    def __repr__(self) -> str:
        return self.text

    @cached_property
    def svgs(self) -> list[str | None]:
        """A picture of every graph; None where nothing can draw it."""
        return pictures([graph.dot for graph in self.graphs])

    def _repr_mimebundle_(
        self,
        include: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
    ) -> dict[str, str]:
        if not self.graphs or None in self.svgs:
            return {"text/plain": self.text}
        return {"text/plain": self.text, "text/html": self._html()}

    def _html(self) -> str:
        last = len(self.graphs) - 1
        steps = "".join(
            f'<div data-at="{at}" style="grid-area:1/1;visibility:'
            f'{"visible" if at == last else "hidden"}"><p style="margin:4px 0;min-height:3.2em">'
            f"{html.escape(caption)}</p>{_without_ids(svg or '')}</div>"
            for at, (svg, caption) in enumerate(zip(self.svgs, self.captions, strict=True))
        )
        slider = (
            '<label style="display:flex;gap:10px;align-items:center;max-width:640px">'
            f'Genotype 1 to {last + 1}<input type="range" min="0" max="{last}" value="{last}" '
            f'step="1" aria-label="Genotype over time" style="flex:1;accent-color:'
            f'{theme.SERIES[0]}" oninput="{TURN}" onchange="{TURN}"></label>'
        )
        return (
            f'<div class="wb-history">{slider if last else ""}'
            f'<div style="display:grid">{steps}</div></div>'
        )

    def __str__(self) -> str:
        return self.text


def _without_ids(svg: str) -> str:
    """Every graph of dot has the same ids, and nothing refers to them."""
    return re.sub(r' id="[^"]*"', "", svg)


def genotype_history(run: Run, *, most: int = PICTURES) -> GenotypeHistory:
    """What would have been derived after each epoch: one picture per different genotype.

    Args:
        most: At most so many pictures, evenly spaced over the changes, first and last among them.
    """
    stretches = _stretches(run)
    kept = moments.evenly(len(stretches), most)
    graphs = [cells(run, genotype=stretches[at].genotype) for at in kept]
    captions = [_caption(stretches[at], bool(at)) for at in kept]
    if len(kept) < len(stretches):
        thinned = f" ({len(kept)} of {len(stretches)} genotypes are shown)"
        captions = [caption + thinned for caption in captions]
    lines = [f"{one.epochs}: {one.genotype}" for one in stretches]
    text = "\n".join(lines) or "no genotype yet: no epoch has ended"
    return GenotypeHistory(graphs, captions, text)


def _caption(one: _Stretch, changed: bool) -> str:
    if not changed:
        return f"{one.epochs.capitalize()}: the first genotype"
    signed = [f"+ {gene}" for gene in one.added] + [f"− {gene}" for gene in one.removed]
    more = f", and {len(signed) - NAMED} more" if len(signed) > NAMED else ""
    genes = "gene" if len(one.added) == 1 else "genes"
    counts = f"{len(one.added)} new {genes}, {len(one.removed)} gone"
    return f"{one.epochs.capitalize()}, {counts}: {', '.join(signed[:NAMED])}{more}"


def genotype_difference_frame(a: Genotype, b: Genotype) -> pd.DataFrame:
    """One row per gene that one of two genotypes has, or both.

    Returns:
        Columns `kind`, `edge`, `src`, `dst`, `op`, `where` ("both", "a" or "b"), in the order of
        kinds and nodes.
    """
    ours, theirs = a.genes, b.genes
    kinds = list(dict.fromkeys(gene.kind for gene in (*ours, *theirs)))
    genes = sorted({*ours, *theirs}, key=lambda g: (kinds.index(g.kind), g.dst, g.src, g.op))
    rows = [
        {
            "kind": gene.kind,
            "edge": gene.edge,
            "src": gene.src,
            "dst": gene.dst,
            "op": gene.op,
            "where": "both" if gene in ours and gene in theirs else "a" if gene in ours else "b",
        }
        for gene in genes
    ]
    return pd.DataFrame(rows, columns=["kind", "edge", "src", "dst", "op", "where"])


def genotype_difference(
    a: Genotype, b: Genotype, *, names: tuple[str, str] = ("the first", "the second")
) -> CellGraph:
    """Two genotypes as one graph per kind of cell: genes of both, of `a` only, of `b` only.

    Args:
        names: What the legend calls them.
    """
    frame = genotype_difference_frame(a, b)
    counts = {where: frame["where"].tolist().count(where) for where in LOOKS}
    texts = {"both": "in both", "a": f"only in {names[0]}", "b": f"only in {names[1]}"}
    graph = cells_graph()
    # a picture's own legend: dot draws the label of a graph above its cells
    graph.attr(label=_legend(texts, counts), labelloc="t", labeljust="l", fontname=FONT)
    for kind in reversed(list(dict.fromkeys(cell.kind for cell in (*a.cells, *b.cells)))):
        part = graphviz.Digraph(f"cluster_{kind}")
        part.attr(label=theme.cell_name(kind), labeljust="l", penwidth="0", fontname=FONT)
        part.attr(fontsize="15", fontcolor=theme.INK["both"])
        draw_nodes(part, _union([c for g in (a, b) for c in g.cells if c.kind == kind]))
        for row in frame.loc[frame["kind"] == kind].to_dict("records"):
            look = _gene_look(str(row["where"]), str(row["op"]))
            part.edge(f"{kind}_{row['src']}", f"{kind}_{row['dst']}", **look)
        graph.subgraph(part)
    words = [f"{texts[where]}: {count}" for where, count in counts.items()]
    return CellGraph(graph.source, f"{a}\n{b}\ngenes {', '.join(words)}")


def _union(found: Sequence[CellGenes]) -> CellGenes:
    """A cell with the nodes, genes and outputs of all."""
    size = max(found, key=lambda cell: cell.inputs + cell.nodes)
    genes = tuple(dict.fromkeys(gene for cell in found for gene in cell.genes))
    concat = tuple(dict.fromkeys(node for cell in found for node in cell.concat))
    return CellGenes(size.kind, size.inputs, size.nodes, genes, concat)


def _gene_look(where: str, op: str) -> Mapping[str, str]:
    colour, style, _ = LOOKS[where]
    return {
        "label": f" {op} ",
        "color": colour,
        "fontcolor": colour,
        "style": style,
        "penwidth": "1.6" if where == "both" else "2.4",
        "tooltip": op,
    }


def _legend(texts: Mapping[str, str], counts: Mapping[str, int]) -> str:
    """HTML-like, as dot calls it: the outer angle brackets mark it as such."""
    parts = [
        f'<font color="{colour}">{line} {html.escape(texts[where])} ({counts[where]})</font>'
        for where, (colour, _, line) in LOOKS.items()
    ]
    return f"<{'     '.join(parts)}>"
