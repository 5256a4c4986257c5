"""What a step leaves out, and what becomes of alphas then."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.tiny import CPU64, READABLE64, SPACES, assert_same, searched, shrunk, start, trajectory
from workbench import methods
from workbench.engine import Machine
from workbench.parts.op_dropout import GroupedDropout
from workbench.search import Run
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import CellShape

DARTS, NASBENCH = darts().cells[0], nasbench201().cells[0]
WITHOUT = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect")
BOTH = pytest.mark.parametrize("space", SPACES)


def everything(cell: CellShape) -> Tensor:
    return torch.tensor(cell.candidates)


def drawn(
    rule: GroupedDropout, cell: CellShape, count: int, alive: Tensor | None = None
) -> list[Tensor]:
    """What `count` draws keep: of a cell with so many times the edges, which are drawn alike."""
    draw = torch.Generator().manual_seed(0)
    alive = everything(cell) if alive is None else alive
    return list(rule.kept(cell, alive.repeat(count, 1), 0.0, draw).split(len(alive)))


def groups(cell: CellShape) -> list[list[int]]:
    without = [i for i, op in enumerate(cell.columns) if op in WITHOUT]
    return [without, [i for i in range(len(cell.columns)) if i not in without]]


def test_an_operation_goes_as_often_as_the_paper_says_and_its_group_never() -> None:
    kept = torch.cat(drawn(GroupedDropout(), DARTS, 10_000 // 14 + 1))
    assert len(kept) >= 10_000
    frequency = 1 - kept.double().mean(dim=0)
    torch.testing.assert_close(frequency, torch.full((8,), 0.0740).double(), rtol=0, atol=4e-3)
    for group in groups(DARTS):
        assert kept[:, group].any(dim=1).all()


def test_a_group_of_which_all_went_is_drawn_again() -> None:
    """At a large rate: the distribution over subsets, against draws that are thrown away."""
    rule, draw = GroupedDropout(rate=0.4), torch.Generator().manual_seed(1)
    group = groups(DARTS)[1]
    kept = torch.cat(drawn(rule, DARTS, 2000))[:, group]
    plain = torch.rand(60_000, 4, generator=draw) >= 0.4 ** (1 / 4)
    plain = plain[plain.any(dim=1)]
    bits = torch.tensor([1, 2, 4, 8])
    got, want = (
        torch.bincount((rows * bits).sum(1), minlength=16) / len(rows) for rows in (kept, plain)
    )
    assert got[0] == want[0] == 0
    torch.testing.assert_close(got, want, rtol=0, atol=0.012)


def test_edges_and_groups_are_drawn_independently() -> None:
    """Pairs go together as often as the product says."""
    out = ~torch.stack(drawn(GroupedDropout(rate=0.1), DARTS, 4000))
    p = out.double().mean()
    for a, b in (((0, 0), (1, 0)), ((0, 0), (0, 7)), ((3, 5), (9, 5))):
        both = (out[:, *a] & out[:, *b]).double().mean()
        torch.testing.assert_close(both, p * p, rtol=0, atol=0.03)


def test_the_groups_of_nasbench201_are_convolutions_and_the_rest() -> None:
    """A rate near 1 leaves one of each group almost always."""
    kept = torch.cat(drawn(GroupedDropout(rate=0.999), NASBENCH, 200))
    convolutions, rest = kept[:, [2, 3]], kept[:, [0, 1, 4]]
    for part in (convolutions, rest):
        assert part.any(dim=1).all()
        assert part.sum(dim=1).double().mean() < 1.01
        assert part.any(dim=0).all()


def test_only_what_is_alive_is_kept_and_the_last_of_a_group_always() -> None:
    alive = everything(DARTS)
    alive[0] = False
    alive[1] = torch.tensor([0, 0, 0, 1, 1, 0, 0, 0]).bool()  # one of each group
    alive[2] = torch.tensor([1, 1, 0, 0, 0, 0, 0, 0]).bool()  # none with weights
    rows = torch.stack(drawn(GroupedDropout(rate=0.3), DARTS, 4000, alive))
    assert not (rows & ~alive).any()
    assert torch.equal(rows[:, 1], alive[1].expand(4000, 8))
    p, rate = 0.3**0.5, 0.3  # two alive: a square root
    frequency = 1 - rows[:, 2, :2].double().mean(dim=0)
    want = torch.full((2,), (p - rate) / (1 - rate)).double()
    torch.testing.assert_close(frequency, want, rtol=0, atol=0.03)


def test_a_rate_of_zero_keeps_everything() -> None:
    assert all(mask.all() for mask in drawn(GroupedDropout(rate=0.0), DARTS, 20))


@pytest.mark.usefixtures("float64")
def test_what_was_left_out_keeps_its_alpha_and_its_probability() -> None:
    """Both also by the paper's own formula, at alphas for which exponentials are harmless."""
    draw, rule = torch.Generator().manual_seed(3), GroupedDropout()
    before = torch.randn(200, 8, generator=draw)
    alive = torch.ones(200, 8, dtype=torch.bool)
    kept = torch.rand(200, 8, generator=draw) > 0.3
    kept[:, 0] = True
    after = torch.where(kept, before + torch.randn(200, 8, generator=draw), before)
    got = rule.adjusted(before, after, alive, kept)
    assert torch.equal(got[~kept], before[~kept])
    old, new = before.softmax(dim=1), got.softmax(dim=1)
    torch.testing.assert_close(new[~kept], old[~kept], rtol=0, atol=1e-6)
    some = (~kept).any(dim=1)
    assert 100 < int(some.sum()) < 200
    share = (old * kept).sum(1)[some]
    e = after.exp()[some]
    k = (share / (1 - share) * (e * ~kept[some]).sum(1) / (e * kept[some]).sum(1)).log()
    torch.testing.assert_close((got - after)[some], torch.where(kept[some], k[:, None], 0.0))
    assert torch.equal(got[~some], after[~some])


@pytest.mark.usefixtures("float64")
def test_the_adjustment_survives_alphas_whose_exponentials_do_not() -> None:
    before = torch.tensor([[900.0, -900.0, 899.0]])
    kept = torch.tensor([[True, True, False]])
    after = torch.tensor([[905.0, -905.0, 899.0]])
    got = GroupedDropout().adjusted(before, after, torch.ones_like(kept), kept)
    torch.testing.assert_close(got, torch.tensor([[900.0, -910.0, 899.0]]))


def test_an_edge_that_is_gone_stays_as_it_is() -> None:
    rows = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    alive = torch.zeros(2, 8, dtype=torch.bool)
    assert torch.equal(GroupedDropout().adjusted(rows, rows, alive, alive), rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 1.0}, r"rate=1\.0.*needs a probability in \[0, 1\)"),
        ({"rate": -0.1}, r"rate=-0\.1.*needs a probability"),
        ({"groups": ()}, "needs one or more groups"),
        ({"groups": (("none",), ("none",))}, "in one of them at most"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GroupedDropout(**settings)


# --- in a search --------------------------------------------------------------------------------


def often(rate: float = 0.3) -> object:
    """DropNAS that leaves many out, two steps, with much decay."""
    optimizer = replace(methods.drop_nas.stages[0].weight_optimizer, weight_decay=0.1)
    method = methods.drop_nas.but(
        op_dropout=GroupedDropout(rate=rate), weight_optimizer=optimizer, steps_per_epoch=3
    )
    return shrunk(method, batch_size=8)


def one_step(run: Run) -> None:
    run.step(run.clock)


@pytest.mark.parametrize("machine", [READABLE64, CPU64], ids=["readable", "fast"])
@BOTH
def test_the_weights_of_what_a_step_leaves_out_do_not_move_at_all(space, machine) -> None:
    """Nor decay, nor follow the momentum of the steps before."""
    run = start(often(), SPACES[space], machine=machine)
    one_step(run)  # from here on there is momentum
    seen = {"left out": 0, "kept": 0}
    for _ in range(2):
        before = {k: v.clone() for k, v in run.readable().named_parameters()}
        one_step(run)
        for name, moved in weights_by_operation(run, before):
            seen["kept" if name else "left out"] += 1
            assert moved == name
    assert min(seen.values()) > 3


def weights_by_operation(run: Run, before: dict[str, Tensor]) -> list[tuple[bool, bool]]:
    """Of every operation's every weight: did it take part, and did it move?"""
    out = []
    for name, weight in run.readable().named_parameters():
        parts = name.split(".")
        if "ops" not in parts:
            continue
        kind = run.space.layers[int(parts[1])].kind
        edge, op = int(parts[parts.index("edges") + 1]), parts[parts.index("ops") + 1]
        column = run.space.cell(kind).columns.index(op)
        moved = not torch.equal(weight, before[name])
        out.append((bool(run.arch.kept[kind][edge, column]), moved))
    return out


@BOTH
def test_both_supernets_search_alike(space) -> None:
    readable = searched(often(), SPACES[space], machine=READABLE64)
    fast = searched(often(), SPACES[space], machine=Machine("cpu", "float64", engine="batched"))
    assert_same(trajectory(readable), trajectory(fast), atol=1e-9)


@BOTH
def test_kept_operations_share_an_edge_and_the_others_keep_their_probability(space) -> None:
    run = start(often(), SPACES[space], machine=READABLE64)
    old, alphas = run.arch.mix(0.0), run.arch.snapshot()
    one_step(run)
    new = run.arch.mix(0.0)
    for kind, kept in run.arch.kept.items():
        assert not kept.all()
        rows = run.arch.mixtures(0.0, run.generator)[kind].ops
        assert (rows[~kept] == 0).all()
        want = run.arch.alpha[kind].exp() * kept
        torch.testing.assert_close(rows, want / want.sum(dim=1, keepdim=True))
        torch.testing.assert_close(new[kind].ops[~kept], old[kind].ops[~kept], rtol=0, atol=1e-6)
        assert torch.equal(run.arch.alpha[kind][~kept], alphas[kind][~kept])
        assert not torch.equal(run.arch.alpha[kind][kept], alphas[kind][kept])


def test_cells_of_one_kind_leave_the_same_out_and_kinds_differ() -> None:
    run = start(often(), SPACES["darts"], machine=READABLE64)
    one_step(run)
    assert set(run.arch.kept) == {"normal", "reduce"}
    assert not torch.equal(run.arch.kept["normal"], run.arch.kept["reduce"])
