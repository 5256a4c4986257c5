"""Genotypes read off mixing weights: the fixed cases of the field and every rule's corners."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from workbench.parts.derivations import (
    EdgeArgmax,
    LimitedSkips,
    Threshold,
    TopEdges,
    as_published,
    surviving_edges,
    survivors,
)
from workbench.parts.relaxations import Entmax, Softmax
from workbench.protocols import Mixture
from workbench.spaces.darts import OPS, darts
from workbench.spaces.genotype import CellGenes, Gene, Genotype, GenotypeError
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.network import Network
from workbench.spaces.space import Space

SHORT = {
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "skip": "skip_connect",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}
STEPS = torch.arange(112.0).reshape(14, 8)
EVERY_NODE = "max 0, max 1 | max 0, max 1 | max 0, max 1 | max 0, max 1"


def genes(text: str, dst: int = 2) -> tuple[Gene, ...]:
    """`"avg 0, dil3 1 | skip 1, sep3 0"`: nodes from `dst` on, operation and input."""
    pairs = [
        (*gene.split(), dst + node)
        for node, group in enumerate(text.split("|"))
        for gene in group.split(",")
    ]
    return tuple(Gene(SHORT[op], int(src), node) for op, src, node in pairs)


def everything(space: Space) -> dict[str, Tensor]:
    return {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}


def softmaxed(normal: Tensor, reduce: Tensor) -> dict[str, Mixture]:
    rows = {"normal": normal, "reduce": reduce}
    alive = torch.ones(14, 8, dtype=torch.bool)
    return {kind: Mixture(Softmax().mix(row, alive, 0.0)) for kind, row in rows.items()}


def one_hot(space: Space, chosen: Mapping[tuple[int, int], str]) -> dict[str, Mixture]:
    """Weight one for the chosen operation of an edge, `none` on the others; in every kind."""
    out = {}
    for cell in space.cells:
        rows = torch.zeros(len(cell.edges), len(cell.columns))
        for index, edge in enumerate(cell.edges):
            rows[index, cell.columns.index(chosen.get(edge, "none"))] = 1.0
        out[cell.kind] = Mixture(rows)
    return out


def derive(rule: object, space: Space, mix: Mapping[str, Mixture], kind: str) -> CellGenes:
    return rule(space, mix, everything(space)).cell(kind)


# The DARTS rule


@pytest.mark.parametrize(
    ("logits", "want"),
    [
        (0 * STEPS, EVERY_NODE),
        (torch.where(torch.arange(8) == 0, 10.0, 0.0).expand(14, 8), EVERY_NODE),
        (STEPS.sin(), "avg 0, dil3 1 | skip 1, sep3 0 | sep3 1, avg 2 | skip 1, sep3 4"),
        (STEPS.cos(), "sep5 1, dil3 0 | skip 0, max 1 | sep3 0, avg 1 | skip 4, skip 0"),
        (
            torch.where(torch.arange(8) == 0, 50.0, STEPS.sin()),
            "dil3 1, avg 0 | max 2, skip 1 | avg 2, sep3 1 | sep5 0, dil3 3",
        ),
    ],
    ids=["zeros", "none ten", "sin", "cos", "none fifty"],
)
@pytest.mark.parametrize("kind", ["normal", "reduce"])
def test_the_darts_rule_has_its_known_genotypes(logits: Tensor, want: str, kind: str) -> None:
    """`none` at fifty leaves the rest near 1e-22: the ranking sees it, the choice does not."""
    cell = derive(TopEdges(2), darts(), softmaxed(logits, logits), kind)
    assert cell.genes == genes(want)
    assert cell.concat == (2, 3, 4, 5)


def test_edge_weights_enter_the_ranking_as_in_pc_darts() -> None:
    mix = softmaxed(STEPS.sin(), STEPS.cos())
    beta = {"normal": (2 * torch.arange(14.0)).sin(), "reduce": (2 * torch.arange(14.0)).cos()}
    ends = (0, 2, 5, 9, 14)
    weighted = {
        kind: Mixture(
            mix[kind].ops,
            torch.cat([beta[kind][a:b].softmax(dim=0) for a, b in itertools.pairwise(ends)]),
        )
        for kind in mix
    }
    genotype = TopEdges(2)(darts(), weighted, everything(darts()))
    assert genotype.cell("normal").genes == genes(
        "dil3 1, avg 0 | max 2, skip 1 | avg 2, sep3 1 | skip 1, sep3 4"
    )
    assert genotype.cell("reduce").genes == genes(
        "dil3 0, sep5 1 | max 1, dil3 2 | avg 1, dil5 2 | skip 4, skip 0"
    )


def test_another_in_degree_keeps_the_same_ranking() -> None:
    mix = softmaxed(STEPS.sin(), STEPS.cos())
    two = derive(TopEdges(2), darts(), mix, "normal")
    one = derive(TopEdges(1), darts(), mix, "normal")
    whole = derive(TopEdges(9), darts(), mix, "normal")
    for node in (2, 3, 4, 5):
        assert one.into(node) == two.into(node)[:1]
        assert whole.into(node)[:2] == two.into(node)
        assert len(whole.into(node)) == node


def test_a_dead_operation_is_not_chosen_and_a_dead_edge_not_kept() -> None:
    mix = softmaxed(STEPS.sin(), STEPS.sin())
    alive = everything(darts())
    alive["normal"][0, OPS.index("avg_pool_3x3")] = False  # the best of 0→2
    alive["normal"][1, 1:] = False  # leaves none alone on 1→2
    cell = TopEdges(2)(darts(), mix, alive).cell("normal")
    assert [gene.src for gene in cell.into(2)] == [0]
    assert cell.into(2)[0].op not in ("avg_pool_3x3", "none")
    assert derive(TopEdges(2), darts(), mix, "normal").genes[2:] == cell.genes[1:]


# The best operation of every edge


def test_in_degrees_are_as_found_and_none_removes_its_edge() -> None:
    chosen = {
        (0, 2): "sep_conv_3x3",
        (0, 3): "skip_connect",
        (1, 3): "dil_conv_5x5",
        (2, 3): "max_pool_3x3",
        (3, 5): "skip_connect",
    }
    cell = derive(EdgeArgmax(), darts(), one_hot(darts(), chosen), "reduce")
    assert [(gene.src, gene.dst) for gene in cell.genes] == list(chosen)
    assert [gene.op for gene in cell.genes] == list(chosen.values())
    assert cell.in_degrees == {2: 1, 3: 3, 4: 0, 5: 1}
    assert cell.concat == (2, 3, 4, 5)


def test_every_surviving_edge_is_kept_without_an_in_degree_rule() -> None:
    chosen = dict.fromkeys(darts().cell("normal").edges, "sep_conv_5x5")
    cell = derive(surviving_edges, darts(), one_hot(darts(), chosen), "normal")
    assert cell.in_degrees == {2: 2, 3: 3, 4: 4, 5: 5}


def test_equal_weights_go_to_the_lower_index() -> None:
    space = nasbench201()
    uniform = {"cell": Mixture(torch.full((6, 5), 0.2))}
    assert derive(EdgeArgmax(), space, uniform, "cell").genes == ()  # none is the first
    later = {"cell": Mixture(torch.tensor([0.1, 0.2, 0.3, 0.3, 0.1]).expand(6, 5))}
    cell = derive(EdgeArgmax(), space, later, "cell")
    assert {gene.op for gene in cell.genes} == {"nor_conv_1x1"}


def test_the_fallback_keeps_the_best_other_operation_into_a_lost_node() -> None:
    space = nasbench201()
    rows = torch.zeros(6, 5)
    rows[:, 0] = 0.5
    rows[1] = torch.tensor([0.5, 0.1, 0.0, 0.3, 0.1])  # 0→2
    rows[2] = torch.tensor([0.4, 0.2, 0.0, 0.35, 0.05])  # 1→2
    rows[5] = torch.tensor([0.1, 0.9, 0.0, 0.0, 0.0])  # 2→3 has a winner
    mix = {"cell": Mixture(rows)}
    found = derive(surviving_edges, space, mix, "cell")
    assert found.into(2) == (Gene("nor_conv_3x3", 1, 2),)
    assert found.into(3) == (Gene("skip_connect", 2, 3),)
    assert found.into(1) == (Gene("skip_connect", 0, 1),)  # all zero: the lower index
    assert derive(EdgeArgmax(), space, mix, "cell").genes == (Gene("skip_connect", 2, 3),)


def test_the_fallback_takes_only_what_is_alive() -> None:
    space = nasbench201()
    mix = {"cell": Mixture(torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0]).expand(6, 5))}
    alive = everything(space)
    alive["cell"][0, 1:3] = False  # 0→1: the best others are dead
    alive["cell"][1:3, 1:] = False  # node 2: nothing but none is alive
    cell = surviving_edges(space, mix, alive).cell("cell")
    assert cell.into(1) == (Gene("nor_conv_3x3", 0, 1),)
    assert cell.into(2) == ()
    assert cell.into(3) == (Gene("skip_connect", 0, 3),)


@pytest.mark.parametrize("rule", [EdgeArgmax(), surviving_edges, TopEdges(2)])
@pytest.mark.parametrize("ops", [("none", "nor_conv_3x3"), ("skip_connect", "nor_conv_3x3")])
def test_an_edge_without_anything_alive_has_no_gene(rule: object, ops: tuple[str, str]) -> None:
    space = nasbench201(ops=ops)
    alive = {"cell": torch.zeros(6, 2, dtype=torch.bool)}
    alive["cell"][3, 1] = True
    cell = rule(space, {"cell": Mixture(torch.full((6, 2), 0.5))}, alive).cell("cell")
    assert cell.genes == (Gene("nor_conv_3x3", 0, 3),)


# What reaches a threshold


def sparse(
    space: Space, weights: Mapping[tuple[int, int], Mapping[str, float]], rest: float = 0.1
) -> dict[str, Mixture]:
    """Sigmoid weights: those given, `rest` everywhere else; in every kind of cell."""
    out = {}
    for cell in space.cells:
        rows = torch.full((len(cell.edges), len(cell.columns)), rest, dtype=torch.float64)
        for edge, ops in weights.items():
            for op, weight in ops.items():
                rows[cell.edges.index(edge), cell.columns.index(op)] = weight
        out[cell.kind] = Mixture(rows)
    return out


def test_the_threshold_itself_is_enough() -> None:
    below = math.nextafter(0.85, 0)
    mix = sparse(darts(), {(0, 2): {"skip_connect": 0.85}, (1, 2): {"skip_connect": below}})
    assert derive(Threshold(0.85), darts(), mix, "normal").genes == genes("skip 0")
    single = {kind: Mixture(mixture.ops.float()) for kind, mixture in mix.items()}
    assert derive(Threshold(0.85), darts(), single, "normal").genes[0] == genes("skip 0")[0]


def test_two_edges_stay_of_those_above_the_threshold() -> None:
    best = {0: 0.9, 1: 0.97, 2: 0.86, 3: 0.95}
    mix = sparse(
        darts(),
        {(0, 2): {"sep_conv_3x3": 0.99}, (0, 3): {"sep_conv_3x3": 0.99}, (0, 4): {}}
        | {(src, 5): {"dil_conv_3x3": weight} for src, weight in best.items()},
    )
    cell = derive(Threshold(0.85, edges=2), darts(), mix, "normal")
    assert cell.into(5) == genes("dil3 1, dil3 3", dst=5)
    assert cell.into(2) == genes("sep3 0")
    assert cell.into(4) == ()
    assert cell.concat == (2, 3, 5)
    whole = derive(Threshold(0.85, edges=None), darts(), mix, "normal")
    assert whole.into(5) == genes("dil3 1, dil3 3, dil3 0, dil3 2", dst=5)


def test_an_edge_may_have_two_operations() -> None:
    three = {"skip_connect": 0.9, "sep_conv_3x3": 0.95, "max_pool_3x3": 0.86}
    mix = sparse(darts(), {(1, 2): three})
    want = {1: "sep3 1", 2: "sep3 1, skip 1", 8: "sep3 1, skip 1, max 1"}
    for ops, text in want.items():
        cell = derive(Threshold(ops=ops), darts(), mix, "reduce")
        assert cell.genes == genes(text)
        net = Genotype((replace(cell, kind="normal"), cell))
        assert Genotype.parse(str(net)) == net
        Network(net, channels=4, cells=3)


def test_none_is_never_chosen_and_the_dead_are_not_either() -> None:
    mix = sparse(darts(), {(0, 2): {"none": 0.99, "skip_connect": 0.9, "sep_conv_3x3": 0.95}})
    alive = everything(darts())
    alive["normal"][0, OPS.index("sep_conv_3x3")] = False
    assert Threshold()(darts(), mix, alive).cell("normal").genes == genes("skip 0")


def test_a_node_without_inputs_is_nobodys_input() -> None:
    """2 gets nothing, so 2→3 leads nowhere, and so does 3→4."""
    one = {"sep_conv_3x3": 0.99}
    mix = sparse(darts(), {(2, 3): one, (3, 4): one, (0, 5): {"skip_connect": 0.9}, (4, 5): one})
    cell = derive(Threshold(), darts(), mix, "normal")
    assert cell.genes == genes("skip 0", dst=5)
    assert cell.concat == (5,)


@pytest.mark.parametrize("space", [darts(), nasbench201()])
def test_where_nothing_reaches_the_threshold_the_cell_is_darts_one(space: Space) -> None:
    rows = {kind: Mixture(0.8 * mixture.ops) for kind, mixture in sparse(space, {}).items()}
    for mixture in rows.values():
        mixture.ops[:, 2] = 0.84
    alive = everything(space)
    assert Threshold()(space, rows, alive) == TopEdges(2)(space, rows, alive)
    assert Threshold(edges=1)(space, rows, alive) == TopEdges(1)(space, rows, alive)
    loose = Threshold(0.5, edges=None)(space, rows, alive).cells[0]
    assert len(loose.genes) == len(space.cells[0].edges)


def test_where_no_node_of_the_output_is_reached_either() -> None:
    """In NAS-Bench-201 the output is the last node."""
    space = nasbench201()
    mix = sparse(space, {(0, 1): {"nor_conv_3x3": 0.9}})
    alive = everything(space)
    assert Threshold()(space, mix, alive) == TopEdges(2)(space, mix, alive)
    mix = sparse(space, {(0, 3): {"nor_conv_3x3": 0.9}})
    assert derive(Threshold(), space, mix, "cell").genes == (Gene("nor_conv_3x3", 0, 3),)


def test_a_cell_of_one_node_still_builds() -> None:
    space = darts(channels=4, cells=3)
    mix = sparse(space, {(1, 4): {"dil_conv_5x5": 0.9}})
    genotype = Threshold()(space, mix, everything(space))
    assert [cell.concat for cell in genotype.cells] == [(4,), (4,)]
    assert Genotype.parse(str(genotype)) == genotype
    logits, _ = Network(genotype, channels=4, cells=3, in_channels=1)(torch.randn(2, 1, 8, 8))
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["edges", "ops"])
def test_a_count_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"`Threshold\({name}=0\)` needs 1 or more"):
        Threshold(**{name: 0})


# Every space's own rule


def test_each_family_has_its_published_rule() -> None:
    space = darts()
    mix = softmaxed(STEPS.sin(), STEPS.cos())
    alive = everything(space)
    assert as_published(space, mix, alive) == TopEdges(2)(space, mix, alive)
    assert as_published(space, mix, alive) != EdgeArgmax()(space, mix, alive)
    space = nasbench201()
    rows = Entmax(1.5).mix(STEPS.reshape(-1)[:30].reshape(6, 5).sin(), torch.ones(6, 5) > 0, 0.0)
    mix, alive = {"cell": Mixture(rows)}, everything(space)
    assert as_published(space, mix, alive) == EdgeArgmax()(space, mix, alive)
    assert as_published(space, mix, alive) != TopEdges(2)(space, mix, alive)


def test_where_none_rules_darts_still_has_two_edges_and_nasbench201_has_none() -> None:
    for space, want in ((darts(), genes(EVERY_NODE)), (nasbench201(), ())):
        genotype = as_published(space, one_hot(space, {}), everything(space))
        assert all(cell.genes == want for cell in genotype.cells)


def test_a_nasbench201_argmax_is_the_benchmarks_text() -> None:
    space = nasbench201()
    chosen = {(0, 1): "nor_conv_3x3", (1, 2): "avg_pool_3x3", (0, 3): "skip_connect"}
    genotype = as_published(space, one_hot(space, chosen), everything(space))
    assert str(genotype) == (
        "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|none~2|"
    )


def test_columns_are_read_by_name_and_not_by_place() -> None:
    ops = tuple(reversed(OPS))
    space = darts(ops=ops)
    mix = softmaxed(STEPS.sin(), STEPS.cos())
    turned = {kind: Mixture(mixture.ops.flip(1)) for kind, mixture in mix.items()}
    genotype = TopEdges(2)(space, turned, everything(space))
    assert genotype == TopEdges(2)(darts(), mix, everything(darts()))


def test_survivors_are_all_that_is_alive_but_none() -> None:
    space = darts()
    alive = {kind: torch.zeros(14, 8, dtype=torch.bool) for kind in space.kinds}
    alive["normal"][[0, 0, 0, 3], [0, 3, 4, 4]] = True
    found = survivors(space, one_hot(space, {}), alive)
    assert found.cell("normal").genes == (
        Gene("skip_connect", 0, 2),
        Gene("sep_conv_3x3", 0, 2),
        Gene("sep_conv_3x3", 1, 3),
    )
    assert found.cell("reduce").genes == ()
    assert Genotype.parse(str(found)) == found
    whole = survivors(space, one_hot(space, {}), everything(space))
    assert [len(cell.genes) for cell in whole.cells] == [14 * 7, 14 * 7]


def test_survivors_with_one_operation_an_edge_are_its_argmax() -> None:
    space, draw = nasbench201(), torch.Generator().manual_seed(0)
    rows = torch.randn(6, 5, generator=draw)
    alive = {"cell": rows == rows.amax(dim=1, keepdim=True)}
    mix = {"cell": Mixture(rows.softmax(dim=1))}
    assert survivors(space, mix, alive) == EdgeArgmax()(space, mix, alive)


def test_two_operations_an_edge_are_refused_where_the_text_has_room_for_one() -> None:
    space = nasbench201()
    with pytest.raises(GenotypeError, match="an edge with two operations"):
        survivors(space, one_hot(space, {}), everything(space))


# Few skips


def skips(cell: CellGenes) -> int:
    return sum(gene.op == "skip_connect" for gene in cell.genes)


def random_mixtures(space: Space, seed: int, skip: float = 2.0) -> dict[str, Mixture]:
    """Softmax of random logits, skips raised."""
    draw, out = torch.Generator().manual_seed(seed), {}
    for cell in space.cells:
        rows = torch.randn(len(cell.edges), len(cell.columns), generator=draw)
        rows[:, cell.columns.index("skip_connect")] += skip
        out[cell.kind] = Mixture(rows.softmax(dim=1))
    return out


@pytest.mark.parametrize("most", range(4))
@pytest.mark.parametrize("space", [darts(), nasbench201()], ids=["darts", "nasbench201"])
def test_skips_are_never_more_than_allowed(space: Space, most: int) -> None:
    plainly = 0
    for seed in range(40):
        mix, alive = random_mixtures(space, seed), everything(space)
        kind = space.kinds[0]
        found = LimitedSkips(most)(space, mix, alive)
        plainly += skips(as_published(space, mix, alive).cell(kind)) > most
        assert skips(found.cell(kind)) <= most
        assert all(gene.op != "none" for cell in found.cells for gene in cell.genes)
    assert plainly > 10


def test_only_cells_that_do_not_halve_the_map_are_limited() -> None:
    space = darts()
    mix, alive = random_mixtures(space, 0), everything(space)
    plain, limited = TopEdges(2)(space, mix, alive), LimitedSkips(2)(space, mix, alive)
    assert limited.cell("reduce") == plain.cell("reduce")
    assert skips(plain.cell("reduce")) > 2
    assert limited.cell("normal") != plain.cell("normal")
    assert [len(limited.cell("normal").into(node)) for node in (2, 3, 4, 5)] == [2, 2, 2, 2]


def test_where_skips_are_few_nothing_changes() -> None:
    space = darts()
    for seed in range(20):
        mix, alive = random_mixtures(space, seed, skip=-0.5), everything(space)
        plain = TopEdges(2)(space, mix, alive)
        if skips(plain.cell("normal")) <= 2:
            assert LimitedSkips(2)(space, mix, alive) == plain
        assert LimitedSkips(8)(space, mix, alive) == plain


def test_the_weakest_skip_is_struck_out_first_and_ranks_are_made_anew() -> None:
    """Node 2 of skips at .5 and .4, sep_conv_3x3 at .3 and dil_conv_3x3 at .1 behind them."""
    space = darts(nodes=2)
    rows = torch.zeros(5, 8)
    skip, sep3, dil3 = (OPS.index(SHORT[name]) for name in ("skip", "sep3", "dil3"))
    rows[0, skip], rows[0, sep3] = 0.5, 0.3  # 0→2
    rows[1, skip], rows[1, dil3] = 0.4, 0.1  # 1→2
    rows[2, skip], rows[2, dil3] = 0.6, 0.2  # 0→3
    rows[3, skip], rows[3, dil3] = 0.45, 0.1  # 1→3
    rows[4, sep3] = 0.3  # 2→3
    mix = {kind: Mixture(rows) for kind in space.kinds}

    def normal(most: int) -> tuple[Gene, ...]:
        return LimitedSkips(most)(space, mix, everything(space)).cell("normal").genes

    assert normal(4) == genes("skip 0, skip 1 | skip 0, skip 1")
    assert normal(3) == genes("skip 0, dil3 1 | skip 0, skip 1")
    assert normal(2) == genes("skip 0, dil3 1 | skip 0, sep3 2")  # another edge took the place
    assert normal(1) == genes("sep3 0, dil3 1 | skip 0, sep3 2")
    assert normal(0) == genes("sep3 0, dil3 1 | sep3 2, dil3 0")


def test_an_edge_with_nothing_but_a_skip_keeps_it() -> None:
    space = darts(ops=("none", "skip_connect"))
    uniform = {kind: Mixture(torch.full((14, 2), 0.5)) for kind in space.kinds}
    limited = LimitedSkips(2)(space, uniform, everything(space))
    assert limited == TopEdges(2)(space, uniform, everything(space))
    with pytest.raises(ValueError, match=r"`LimitedSkips\(most=-1\)`"):
        LimitedSkips(-1)
