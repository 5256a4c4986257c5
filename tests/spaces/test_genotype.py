"""Genotypes: text and JSON both ways, and what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.spaces.published import AMOEBANET, DARTS_V2, FAIR_DARTS_B, GENOTYPES
from workbench.spaces.darts import OPS
from workbench.spaces.genotype import CellGenes, Gene, Genotype, GenotypeError
from workbench.spaces.nasbench201 import OPS as NASBENCH201_OPS

SEEDS = range(25)


def random_cell(kind: str, choose: random.Random) -> CellGenes:
    """Any number of genes into a node; two genes may share an edge; the output takes the last."""
    nodes = choose.randint(1, 5)
    paired = choose.random() < 0.5
    genes = [
        Gene(choose.choice(OPS), choose.randrange(dst), dst)
        for dst in range(2, 2 + nodes)
        for _ in range(2 if paired else choose.randint(0, dst))
    ]
    others = choose.sample(range(nodes + 1), choose.randint(0, nodes))
    return CellGenes(kind, 2, nodes, tuple(genes), (*others, nodes + 1))


def random_genotype(seed: int) -> Genotype:
    choose = random.Random(seed)
    return Genotype((random_cell("normal", choose), random_cell("reduce", choose)))


def random_nasbench201(seed: int) -> Genotype:
    choose = random.Random(seed)
    nodes = choose.randint(1, 4)
    edges = [(src, dst) for dst in range(1, nodes + 1) for src in range(dst)]
    chosen = [Gene(choose.choice(NASBENCH201_OPS), src, dst) for src, dst in edges]
    genes = tuple(gene for gene in chosen if gene.op != "none")
    return Genotype((CellGenes("cell", 1, nodes, genes, (nodes,)),))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("make", [random_genotype, random_nasbench201])
def test_text_and_json_give_the_genotype_back(make: Callable[[int], Genotype], seed: int) -> None:
    genotype = make(seed)
    assert Genotype.parse(str(genotype)) == genotype
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert Genotype.parse(genotype.to_json()) == genotype


@pytest.mark.parametrize("seed", SEEDS)
def test_published_keys_give_the_genotype_back(seed: int) -> None:
    genotype = random_genotype(seed)
    assert Genotype.from_json(json.dumps(genotype.published())) == genotype


@pytest.mark.parametrize("name", GENOTYPES)
def test_published_genotypes_are_read_and_written(name: str) -> None:
    genotype = Genotype.parse(GENOTYPES[name][0])
    assert Genotype.parse(str(genotype)) == genotype


def test_darts_text_has_two_genes_to_a_node_in_order() -> None:
    genotype = Genotype.parse(DARTS_V2)
    normal = genotype.cell("normal")
    assert normal.into(2) == (Gene("sep_conv_3x3", 0, 2), Gene("sep_conv_3x3", 1, 2))
    assert normal.into(5) == (Gene("skip_connect", 0, 5), Gene("dil_conv_3x3", 2, 5))
    assert normal.in_degrees == {2: 2, 3: 2, 4: 2, 5: 2}
    assert normal.concat == (2, 3, 4, 5)
    assert str(genotype).startswith("Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ")
    assert "normal_concat=range(2, 6), reduce=[" in str(genotype)


def test_an_output_with_a_gap_is_written_as_a_list() -> None:
    genotype = Genotype.parse(AMOEBANET)
    assert genotype.cell("reduce").concat == (3, 4, 6)
    assert str(genotype).endswith("reduce_concat=[3, 4, 6])")
    assert genotype.cell("reduce").nodes == 5


def test_another_in_degree_is_written_with_triples() -> None:
    genotype = Genotype.parse(FAIR_DARTS_B)
    assert genotype.cell("normal").in_degrees == {2: 2, 3: 1, 4: 2, 5: 1}
    assert "('sep_conv_3x3', 3, 1)" in str(genotype)
    published = genotype.published()
    assert (published["normal"][2], published["normal_nodes"][2]) == (["sep_conv_3x3", 1], 3)
    assert Genotype.from_json(json.dumps(published)) == genotype


def test_nodes_that_nothing_names_are_counted() -> None:
    """As a threshold leaves them: the last ones have no gene and are not in the output."""
    genes = (Gene("skip_connect", 0, 2), Gene("sep_conv_3x3", 2, 3))
    genotype = Genotype((CellGenes("normal", 2, 4, genes, (2, 3)),))
    text = (
        "Genotype(normal=[('skip_connect', 2, 0), ('sep_conv_3x3', 3, 2)], "
        "normal_concat=range(2, 4), normal_steps=4)"
    )
    assert str(genotype) == text
    assert Genotype.parse(text) == genotype
    assert genotype.published()["normal_steps"] == 4
    assert Genotype.from_json(json.dumps(genotype.published())) == genotype
    assert Genotype.parse(text.replace(", normal_steps=4", "")).cell("normal").nodes == 2


@pytest.mark.parametrize("steps", ["1", "'four'", "10**9"])
def test_a_count_of_nodes_that_cannot_be_is_refused(steps: str) -> None:
    text = "Genotype(normal=[('skip_connect', 3, 0)], normal_concat=[3], normal_steps=%s)"
    with pytest.raises(GenotypeError, match=r"normal_steps|cannot read"):
        Genotype.parse(text % steps)


def test_published_pairs_are_operation_and_input() -> None:
    published = Genotype.parse(DARTS_V2).published()
    assert list(published) == ["normal", "normal_concat", "reduce", "reduce_concat"]
    assert published["normal"][7] == ["dil_conv_3x3", 2]
    assert published["reduce_concat"] == [2, 3, 4, 5]


def test_nasbench201_text_names_every_edge_and_genes_leave_none_out() -> None:
    text = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
    genotype = Genotype.parse(f" {text}\n")
    assert str(genotype) == text
    assert genotype.is_nasbench201
    assert [tuple(gene) for gene in genotype.cell("cell").genes] == [
        ("nor_conv_3x3", 0, 1),
        ("nor_conv_3x3", 1, 2),
        ("skip_connect", 0, 3),
        ("avg_pool_3x3", 2, 3),
    ]
    assert genotype.op_counts() == {"nor_conv_3x3": 2, "skip_connect": 1, "avg_pool_3x3": 1}


@pytest.mark.parametrize(
    ("gene", "message"),
    [
        (Gene("sep_conv_9x9", 0, 2), r"normal:0→2 has op 'sep_conv_9x9', which is none of none, "),
        (Gene("none", 2, 2), "normal:2→2: an input must be a node before 2"),
        (Gene("none", 3, 2), "normal:3→2: an input must be a node before 2"),
        (Gene("none", -1, 2), "normal:-1→2: an input must be a node before 2"),
        (Gene("none", 0, 1), "normal:0→1: 1 takes no input; nodes 2 to 3 have inputs"),
        (Gene("none", 0, 4), "normal:0→4: 4 takes no input; nodes 2 to 3 have inputs"),
    ],
)
def test_an_impossible_gene_is_refused_by_address(gene: Gene, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        CellGenes("normal", 2, 2, (gene,), (2, 3))


@pytest.mark.parametrize("concat", [(), (4,), (-1, 2)])
def test_an_impossible_output_is_refused(concat: tuple[int, ...]) -> None:
    with pytest.raises(GenotypeError, match=r"normal: the output is made of nodes .* 0 to 3"):
        CellGenes("normal", 2, 2, (), concat)


def test_kinds_are_different_and_known_by_name() -> None:
    cell = CellGenes("normal", 2, 1, (), (2,))
    with pytest.raises(GenotypeError, match="different kinds"):
        Genotype((cell, cell))
    with pytest.raises(
        GenotypeError, match=r"no cell of kind 'reduce' in this genotype \(normal\)"
    ):
        Genotype((cell,)).cell("reduce")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resnet18",
        "Genotype",
        "Genotype()",
        "Genotype(normal=[('sep_conv_3x3', 0)",
        "Genotype(normal=3)",
        "Genotype(normal='sep_conv_3x3')",
        "Genotype(normal=[('sep_conv_3x3',)])",
        "Genotype(normal=[('sep_conv_3x3', '0')])",
        "Genotype(normal=[('sep_conv_3x3', 0.5)])",
        "Genotype(normal=[('sep_conv_3x3', 0)], normal_concat=[2, 'a'])",
        "Genotype(normal=[('sep_conv_3x3', 0)], normal_concat=[None])",
        "Genotype(normal=[('sep_conv_3x3', 0)], normal_concat=2)",
        "Genotype(normal=[('sep_conv_3x3', 0)], normal_concat=range(2, 3, 0))",
        "Genotype([('sep_conv_3x3', 0)], reduce=[('sep_conv_3x3', 0)])",
        "Genotype(normal=[('sep_conv_3x3', 0)], normal=[('sep_conv_3x3', 1)])",
        "Genotype(normal=[('sep_conv_3x3', 0)]); x = 1",
        "|nor_conv_3x3~1|",
        "|nor_conv_3x3|",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|",
        "|nor_conv_9x9~0|",
        "|",
        "{",
        "{}",
        '{"cells": []}',
        '{"cells": {"normal": {"inputs": 2}}}',
        '{"normal": [["sep_conv_3x3", 0]], "normal_concat": [null]}',
        '{"normal": null}',
    ],
)
def test_garbage_is_refused_as_a_genotype(text: str) -> None:
    with pytest.raises(GenotypeError):
        Genotype.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(normal=__import__('os'))",
        "Genotype(normal=[__import__('pathlib').Path('{}').touch()])",
        "Genotype(normal=list(__import__('pathlib').Path('{}').touch()))",
        "Genotype(normal=[('none', 0)], normal_concat=range(__import__('os').getpid()))",
        "Genotype(**{{'normal': __import__('pathlib').Path('{}').touch()}})",
        "__import__('pathlib').Path('{}').touch()",
        "exec(normal=__import__('pathlib').Path('{}').touch())",
    ],
)
def test_code_in_a_text_is_refused_and_not_run(text: str, tmp_path: Path) -> None:
    trace = tmp_path / "was_run"
    with pytest.raises(GenotypeError):
        Genotype.parse(text.format(trace))
    assert not trace.exists()


def test_json_that_is_none_is_refused_with_the_place() -> None:
    with pytest.raises(GenotypeError, match="not JSON"):
        Genotype.from_json("Genotype(")
    with pytest.raises(GenotypeError, match="an object with the key 'cells'"):
        Genotype.from_json("[1, 2]")


@pytest.mark.parametrize("node", [1001, 10**9, 10**30])
@pytest.mark.parametrize(
    "text",
    [
        "Genotype(normal=[('skip_connect', {}, 0)])",
        '{{"normal": [["skip_connect", {}, 0]]}}',
        '{{"cells": {{"normal": {{"inputs": 2, "nodes": {}, "genes": [], "concat": [2]}}}}}}',
        "Genotype(normal=[], normal_steps={})",
    ],
)
def test_a_cell_larger_than_any_is_refused_and_never_counted_out(text: str, node: int) -> None:
    with pytest.raises(GenotypeError, match=r"at most 1000|or more"):
        Genotype.parse(text.format(node))


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000, "-" * 90_000, "Genotype(normal=" + "[" * 150 + "]" * 150 + ")", "a" * 100_001,
        "{" * 90_000, '{"cells":' * 9000, "[" * 50_000, "Genotype(\0)", "9" * 5000,
        '{"normal": ' + "9" * 5000 + "}", '{"cells": {"../x": {"inputs": 1, "nodes": 1, '
        '"genes": [], "concat": [1]}}}', '{"cells": {"normal": {"inputs": 1e999}}}',
    ],
)  # fmt: skip
def test_what_would_exhaust_a_parser_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(GenotypeError) as caught:
        Genotype.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
