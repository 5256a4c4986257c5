"""Prune and replace: which operations come, and what they compute at first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.parts.edges import WeightedSum
from workbench.parts.morphisms import (
    DARTS_LIKE,
    UNRESTRICTED,
    Primitives,
    PruneAndMorph,
    morph_weights,
)
from workbench.protocols import Clock, Mixture, View
from workbench.spaces.darts import darts
from workbench.spaces.genotype import GenotypeError
from workbench.spaces.morph_ops import separable
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import CellShape, Space, SpaceError
from workbench.spaces.supernet import Supernet

POOLS = ("max_pool_3x3", "avg_pool_3x3")
START = (*POOLS, "skip_connect", "sep_conv_3x3_x1")


def one_node(*ops: str) -> Space:
    """Two edges in each of two kinds of cell."""
    return darts(channels=4, cells=3, nodes=1, ops=ops)


def view_of(
    space: Space, weights: Mapping[str, float], *, seed: int = 0, stage: int = 0, dead: str = ""
) -> View:
    """The end of a stage: the same mixing weights on every edge."""
    rows = {
        cell.kind: torch.tensor([[weights[op] for op in cell.columns]] * len(cell.edges))
        for cell in space.cells
    }
    alive = {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}
    for cell in space.cells:
        if dead in cell.columns:
            alive[cell.kind][:, cell.columns.index(dead)] = False
    mix = {kind: Mixture(row) for kind, row in rows.items()}
    return View(Clock(stage, 0, 1, 0, 1), space, rows, mix, alive, seed=seed)


def edges(space: Space) -> list[tuple[str, ...]]:
    return [row for cell in space.cells for row in cell.ops]


# Where it starts


def test_a_darts_edge_starts_with_the_four_primitives() -> None:
    start = Primitives()(darts(), None)
    assert set(edges(start)) == {START}
    assert start.layers == darts().layers


def test_a_nasbench201_edge_starts_with_what_fits_and_the_single_separable_convolution() -> None:
    start = Primitives()(nasbench201(), None)
    assert set(edges(start)) == {("avg_pool_3x3", "skip_connect", "sep_conv_3x3_x1")}


def test_an_edge_without_convolutions_gets_none() -> None:
    start = Primitives()(darts(ops=("none", "skip_connect", "max_pool_3x3")), None)
    assert set(edges(start)) == {("max_pool_3x3", "skip_connect")}


def test_an_edge_that_can_hold_no_primitive_is_refused() -> None:
    with pytest.raises(SpaceError, match="can stand on an edge of none; name one of these"):
        Primitives()(darts(ops=("none",)), None)


@pytest.mark.parametrize("ops", [(), ("skip_connect", "skip_connect")])
def test_primitives_are_different_operations(ops: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="one or more different operations"):
        Primitives(ops)


def test_a_misspelled_primitive_is_refused_at_once() -> None:
    with pytest.raises(GenotypeError, match="is written 'sep_conv_3x3'"):
        Primitives(("sep_conv_3x3_x2",))


# What stays


def test_the_heaviest_stay_in_their_old_order_and_the_best_convolution_always_does() -> None:
    space = one_node(*START, "sep_conv_3x3", "dil_conv_3x3")
    weights = dict(zip(space.columns, (0.3, 0.1, 0.25, 0.05, 0.2, 0.1), strict=True))
    after = {keep: PruneAndMorph(keep)(space, view_of(space, weights)) for keep in range(1, 9)}
    assert edges(after[1])[0] == ("sep_conv_3x3",)
    assert edges(after[2])[0] == ("max_pool_3x3", "sep_conv_3x3")
    assert edges(after[3])[0] == ("max_pool_3x3", "skip_connect", "sep_conv_3x3")
    assert edges(after[4])[0] == (*POOLS, "skip_connect", "sep_conv_3x3"), "ties: the earlier"
    assert edges(after[8])[0] == space.columns, "there is no more to keep"


def test_what_a_pruner_took_does_not_come_back() -> None:
    space = one_node(*START)
    view = view_of(space, dict.fromkeys(START, 0.25), dead="skip_connect")
    assert edges(PruneAndMorph(4)(space, view)) == [(*POOLS, "sep_conv_3x3_x1")] * 4


def test_an_edge_that_a_pruner_took_whole_stays_away() -> None:
    space = one_node("sep_conv_3x3_x1")
    view = view_of(space, {"sep_conv_3x3_x1": 0.0}, dead="sep_conv_3x3_x1")
    assert edges(PruneAndMorph(3, 3)(space, view)) == [("none",)] * 4


def test_it_is_the_last_space_that_is_pruned() -> None:
    space = one_node("skip_connect", "sep_conv_5x5_w2")
    view = view_of(space, dict.fromkeys(space.columns, 0.5))
    assert PruneAndMorph(2)(darts(), view) == space


def test_edges_with_different_candidates_are_pruned_each_by_itself() -> None:
    cell = CellShape("cell", 1, 2, (START[:2], START[2:], (START[0], START[3])), "last")
    space = Space("nasbench201", (cell,), nasbench201().layers, 16)
    weights = dict(zip(space.columns, (0.1, 0.2, 0.3, 0.4), strict=True))
    after = PruneAndMorph(1)(space, view_of(space, weights))
    assert edges(after) == [("avg_pool_3x3",), ("sep_conv_3x3_x1",), ("sep_conv_3x3_x1",)]


# What comes


def test_new_operations_are_morphs_of_those_that_stay_and_were_no_candidates() -> None:
    space = one_node(*START)
    view = view_of(space, dict.fromkeys(START, 0.25))
    for row in edges(PruneAndMorph(3, 3)(space, view)):
        assert row[:3] == ("max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3_x1")
        assert set(row[3:]) == {"sep_conv_5x5_x1", "dil_conv_3x3", "sep_conv_3x3"}


def test_the_draw_is_fixed_by_seed_and_stage() -> None:
    space = darts(ops=("skip_connect", "sep_conv_5x5_w2", "sep_conv_3x3"))
    weights = dict.fromkeys(space.columns, 1 / 3)
    rule = PruneAndMorph(3, 2, UNRESTRICTED)
    drawn = [
        edges(rule(space, view_of(space, weights, seed=seed, stage=stage)))
        for seed, stage in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2] != drawn[3] != drawn[0]
    assert len(set(drawn[0])) > 3, "edges draw apart"


def test_the_draw_leaves_global_generators_alone() -> None:
    space = one_node(*START)
    state = torch.get_rng_state()
    PruneAndMorph(3, 2)(space, view_of(space, dict.fromkeys(START, 0.25)))
    assert torch.equal(state, torch.get_rng_state())


def test_a_parent_is_drawn_in_proportion_to_its_weight_and_a_morphism_evenly() -> None:
    """The first has three morphs, the second two, and a third of its weight."""
    ops = ("sep_conv_7x7_x1", "sep_conv_3x3")
    counts: Counter[str] = Counter()
    space = one_node(*ops)
    for seed in range(500):
        view = view_of(space, dict(zip(ops, (0.75, 0.25), strict=True)), seed=seed)
        counts.update(row[2] for row in edges(PruneAndMorph(2, 1)(space, view)))
    shares = {op: count / 2000 for op, count in counts.items()}
    want = dict.fromkeys(("sep_conv_5x5_x1", "dil_conv_7x7", "sep_conv_7x7"), 0.75 / 3)
    want |= dict.fromkeys(("sep_conv_5x5", "sep_conv_3x3_d2"), 0.25 / 2)
    assert shares == pytest.approx(want, abs=0.03)


def test_an_operation_of_weight_0_has_no_children_unless_all_have_weight_0() -> None:
    space = one_node("sep_conv_7x7", "sep_conv_3x3_x1")
    rule = PruneAndMorph(2, 9, DARTS_LIKE)
    one = rule(space, view_of(space, {"sep_conv_7x7": 1.0, "sep_conv_3x3_x1": 0.0}))
    none = rule(space, view_of(space, {"sep_conv_7x7": 0.0, "sep_conv_3x3_x1": 0.0}))
    assert set(edges(one)[0][2:]) == {"sep_conv_5x5", "sep_conv_7x7_d2"}
    assert set(edges(none)[0][2:]) > {"sep_conv_5x5", "sep_conv_7x7_d2"}


def test_what_was_just_dropped_comes_back_only_where_nothing_new_is_left() -> None:
    space = one_node("dil_conv_3x3", "sep_conv_3x3", "sep_conv_3x3_x1")
    view = view_of(space, dict(zip(space.columns, (0.2, 0.2, 0.6), strict=True)))
    for row in edges(PruneAndMorph(1, 2)(space, view)):
        assert row[:2] == ("sep_conv_3x3_x1", "sep_conv_5x5_x1"), "the only one nobody had"
        assert row[2] in ("dil_conv_3x3", "sep_conv_3x3")


def test_an_edge_without_separable_convolutions_gets_nothing_new() -> None:
    space = one_node("skip_connect", "nor_conv_3x3")
    view = view_of(space, dict.fromkeys(space.columns, 0.5))
    assert PruneAndMorph(2, 3)(space, view) == space


def test_pruning_needs_a_stage_before_it_and_sensible_numbers() -> None:
    with pytest.raises(ValueError, match="needs a stage before it; start with `Primitives`"):
        PruneAndMorph(1)(darts(), None)
    with pytest.raises(ValueError, match=r"`PruneAndMorph\(keep=0\)` must be at least 1"):
        PruneAndMorph(0)
    with pytest.raises(ValueError, match=r"`PruneAndMorph\(morphs=-1\)` must be at least 0"):
        PruneAndMorph(1, -1)


# What new operations compute


def carried(before: str, after: str) -> tuple[Supernet, Supernet]:
    """Two supernets, the second one with `after` beside `before`, and its weights carried over."""
    nets = []
    for seed, ops in enumerate([("skip_connect", before), ("skip_connect", before, after)]):
        torch.manual_seed(seed)
        nets.append(Supernet(one_node(*ops), edge=WeightedSum).double())
    morph_weights(*nets)
    return nets[0], nets[1]


def only(net: Supernet, op: str) -> Tensor:
    """Logits of a net, in training mode, that mixes `op` alone into every edge."""
    columns = net.space.cells[0].columns
    row = torch.tensor([[float(name == op) for name in columns]] * 2, dtype=torch.float64)
    mixtures = {kind: Mixture(row) for kind in net.space.kinds}
    images = torch.randn(
        4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(9)
    )
    return net(images, mixtures)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sep_conv_3x3", "sep_conv_5x5"),
        ("dil_conv_3x3", "dil_conv_5x5"),
        ("sep_conv_1x1_x1", "sep_conv_3x3_x1"),
        ("sep_conv_5x5_d2_x3_w2_1", "sep_conv_7x7_d2_x3_w2_1"),
        ("sep_conv_3x3", "sep_conv_3x3_w2"),
        ("sep_conv_3x3_w2", "sep_conv_3x3_w3"),
        ("sep_conv_3x3_x3_w2_1", "sep_conv_3x3_x3_w2_2"),
    ],
)
def test_a_larger_kernel_and_wider_channels_compute_the_same(before: str, after: str) -> None:
    old, new = carried(before, after)
    torch.testing.assert_close(only(new, after), only(old, before), rtol=0, atol=1e-12)
    torch.testing.assert_close(only(new, before), only(old, before), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["sep_conv_3x3_w2", "sep_conv_3x3_w3"])
def test_new_channels_differ_from_old_ones_and_learn_after_a_step(name: str) -> None:
    before = {"sep_conv_3x3_w2": "sep_conv_3x3", "sep_conv_3x3_w3": "sep_conv_3x3_w2"}[name]
    _, new = carried(before, name)
    only(new, name).logsumexp(1).sum().backward()
    op = new.blocks[0].edges[0].ops[name]
    width = 4 * (separable(before).widths[0])
    leaving, entering = op[6].weight, op[2].weight
    assert (leaving[:, width:] == 0).all()
    assert leaving.grad[:, width:].abs().min() > 0
    assert entering[width:].abs().min() > 0


def test_an_inserted_convolution_gives_the_batch_norm_of_the_rectified_output() -> None:
    old, new = carried("sep_conv_3x3", "sep_conv_3x3_x3")
    x = torch.randn(4, 4, 6, 6, dtype=torch.float64)
    for was, now in zip(old.blocks[0].edges, new.blocks[0].edges, strict=True):
        parent, child = was.ops["sep_conv_3x3"](x), now.ops["sep_conv_3x3_x3"](x)
        want = functional.batch_norm(functional.relu(parent), None, None, training=True)
        torch.testing.assert_close(child, want, rtol=0, atol=1e-12)
        assert (child - parent).abs().max() > 0.1, "which is another function"


def test_without_kinks_an_inserted_convolution_computes_the_same_up_to_epsilon() -> None:
    """A batch norm of what one of variance v gave divides by sqrt(v / (v + eps) + eps), near 1."""
    torch.manual_seed(0)
    old, new = (
        Supernet(one_node(*ops), edge=WeightedSum, activation=nn.Identity).double()
        for ops in (("sep_conv_3x3",), ("sep_conv_3x3", "sep_conv_3x3_x3"))
    )
    with torch.no_grad():
        for name, weight in old.named_parameters():
            weight *= 3.0 if ".ops." in name else 1.0  # v near 1, where eps is small beside it
    morph_weights(old, new)
    torch.testing.assert_close(
        only(new, "sep_conv_3x3_x3"), only(old, "sep_conv_3x3"), rtol=0, atol=1e-5
    )


def test_without_statistics_an_inserted_convolution_rectifies_and_no_more() -> None:
    """In evaluation mode with fresh statistics batch norm divides by sqrt(1 + eps)."""
    old, new = carried("dil_conv_3x3", "sep_conv_3x3_d2")
    was = old.blocks[0].edges[0].ops["dil_conv_3x3"].eval()
    now = new.blocks[0].edges[0].ops["sep_conv_3x3_d2"].eval()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    want = functional.relu(was(x)) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(now(x), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("before", "after"),
    [("sep_conv_3x3", "sep_conv_3x3_d2"), ("sep_conv_3x3_d2", "sep_conv_3x3")],
)
def test_another_dilation_keeps_the_taps(before: str, after: str) -> None:
    _, new = carried(before, after)
    ops = new.blocks[0].edges[0].ops
    for was, now in zip(ops[before].parameters(), ops[after].parameters(), strict=True):
        assert torch.equal(was, now)
        assert was.data_ptr() != now.data_ptr()
    assert not torch.allclose(only(new, before), only(new, after))


def test_another_dilation_computes_the_same_where_only_middle_taps_count() -> None:
    old, new = carried("sep_conv_3x3", "sep_conv_3x3_d2")
    with torch.no_grad():
        for module in old.modules():
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                module.weight *= functional.pad(torch.ones(1, 1), (1, 1, 1, 1))
    morph_weights(old, new)
    torch.testing.assert_close(
        only(new, "sep_conv_3x3_d2"), only(old, "sep_conv_3x3"), rtol=0, atol=1e-12
    )


def test_a_smaller_kernel_keeps_the_middle_taps() -> None:
    _, new = carried("sep_conv_5x5_x1", "sep_conv_3x3_x1")
    ops = new.blocks[0].edges[0].ops
    large, small = ops["sep_conv_5x5_x1"], ops["sep_conv_3x3_x1"]
    assert torch.equal(small[1].weight, large[1].weight[:, :, 1:-1, 1:-1])
    assert torch.equal(small[2].weight, large[2].weight)


def test_of_several_parents_one_that_computes_the_same_is_taken() -> None:
    ops = ("sep_conv_7x7", "sep_conv_5x5_x1", "sep_conv_3x3")
    torch.manual_seed(0)
    old = Supernet(one_node(*ops), edge=WeightedSum).double()
    new = Supernet(one_node(*ops, "sep_conv_5x5"), edge=WeightedSum).double()
    morph_weights(old, new)
    torch.testing.assert_close(
        only(new, "sep_conv_5x5"), only(old, "sep_conv_3x3"), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("before", "after", "fresh"),
    [
        (("skip_connect", "sep_conv_3x3"), ("skip_connect", "sep_conv_5x5"), "sep_conv_5x5"),
        (("sep_conv_3x3",), ("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7"), "sep_conv_7x7"),
    ],
)
def test_what_was_dropped_or_is_new_itself_is_nobodys_parent(
    before: tuple[str, ...], after: tuple[str, ...], fresh: str
) -> None:
    torch.manual_seed(0)
    old, new = (Supernet(one_node(*ops), edge=WeightedSum) for ops in (before, after))
    drawn = {name: weight.clone() for name, weight in new.named_parameters()}
    morph_weights(old, new)
    for name, weight in new.named_parameters():
        if weight.dim() == 4:  # a convolution's: norms of the stem start the same everywhere
            assert torch.equal(weight, drawn[name]) == (fresh in name), name


def test_everything_both_have_is_copied_and_statistics_start_anew() -> None:
    old, new = carried("sep_conv_3x3", "dil_conv_7x7")
    weights = dict(old.named_parameters())
    for name, weight in new.named_parameters():
        if "dil_conv_7x7" not in name:
            assert torch.equal(weight, weights[name])
            assert weight.data_ptr() != weights[name].data_ptr()
    assert all((norm.running_mean == 0).all() for norm in _norms(new))


def _norms(net: nn.Module) -> list[nn.BatchNorm2d]:
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    return norms


def test_stages_of_different_widths_are_refused() -> None:
    old, new = (Supernet(darts(channels=c, cells=1, nodes=1), edge=WeightedSum) for c in (2, 4))
    with pytest.raises(ValueError, match="give both stages the same channels and depth"):
        morph_weights(old, new)
