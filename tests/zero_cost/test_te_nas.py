"""TE-NAS: what goes by two scripted measures, and that the real ones run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import READABLE, SPACES, play, prunings, shrunk, start, steps, tiny_data
from workbench import methods
from workbench.parts.edges import WeightedSum
from workbench.protocols import Batch, Clock, Mixture, View
from workbench.search import search
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import Space
from workbench.zero_cost.crop_regions import CropRegions
from workbench.zero_cost.kernel_scores import ConditionNumber
from workbench.zero_cost.kernels import SCALARS
from workbench.zero_cost.te_nas import Change, Place, TeNas, Thin, sum_of_ranks

ONE = nasbench201(nodes=1)  # one edge: none, skip, 1x1, 3x3, pool
TWO = nasbench201(nodes=2)  # three edges


@dataclass(frozen=True)
class Scripted:
    """A measure that looks at nothing but what is alive."""

    value: Callable[[Mapping[str, Tensor]], float]
    needs_labels = False
    higher_is_better = True
    pictures = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        assert isinstance(net, Thin)
        return self.value(net.alive)


def adds(worth: list[float]) -> Scripted:
    """The sum of what every operation alive is worth, by column."""
    return Scripted(
        lambda alive: 100 + sum(float((m * torch.tensor(worth)).sum()) for m in alive.values())
    )


def everything(space: Space) -> dict[str, Tensor]:
    return {cell.kind: torch.tensor(cell.candidates) for cell in space.cells}


def rounds(rule: TeNas, space: Space, epochs: int) -> list[dict[str, Tensor]]:
    """What is alive after each round."""
    alive, out = everything(space), []
    mix = {kind: Mixture(rows.float()) for kind, rows in alive.items()}
    for epoch in range(epochs):
        alive = rule(View(Clock(0, epoch, epochs, epoch, epochs), space, {}, mix, alive))
        out.append(alive)
    return out


def ops(space: Space, alive: Mapping[str, Tensor], kind: str = "cell") -> list[list[str]]:
    cell = space.cell(kind)
    return [
        [op for op, on in zip(cell.columns, row, strict=True) if on] for row in alive[kind].tolist()
    ]


def scripted(condition: list[float], regions: list[float], **settings: int) -> TeNas:
    return TeNas(WeightedSum, adds(condition), adds(regions), **{"repeats": 1, **settings})


def test_ranks_add_up_as_by_hand_and_equal_changes_share_one() -> None:
    a, b, c = (Place("cell", 0, op) for op in range(3))
    changes = {a: Change(0.3, 0.1), b: Change(0.1, -0.2), c: Change(0.1, 0.1)}
    # The condition number falls most without a (0), alike without b and c (1); regions grow
    # without b (0) and shrink alike without a and c (1).
    assert sum_of_ranks(changes) == {a: 1, b: 1, c: 2}
    near = {a: Change(0.10001, 0.0), b: Change(0.10002, 0.0), c: Change(0.2, 0.0)}
    assert sum_of_ranks(near) == {a: 1, b: 1, c: 0}  # alike in three digits
    assert sum_of_ranks({a: Change(float("nan"), 0.0), b: Change(-0.1, 0.0)}) == {a: 0, b: 1}


def test_none_goes_first_and_unmeasured_then_what_hurts_both_measures() -> None:
    # skip adds most to the condition number and takes most regions away, then 1x1, then pool.
    rule = scripted([-90.0, 9.0, 5.0, 1.0, 3.0], [90.0, -9.0, -5.0, 2.0, -1.0])
    left = [ops(ONE, alive)[0] for alive in rounds(rule, ONE, 4)]
    assert left == [
        ["skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"],
        ["nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"],
        ["nor_conv_3x3", "avg_pool_3x3"],
        ["nor_conv_3x3"],
    ]


def test_either_measure_alone_decides_where_the_other_is_indifferent() -> None:
    flat = [0.0] * 5
    by_condition = rounds(scripted([0.0, 1.0, 2.0, 4.0, 3.0], flat), ONE, 4)
    assert [ops(ONE, alive)[0][-1] for alive in by_condition][-1] == "skip_connect"
    by_regions = rounds(scripted(flat, [0.0, 1.0, 2.0, 4.0, 3.0]), ONE, 4)
    assert ops(ONE, by_regions[-1]) == [["nor_conv_3x3"]]


@pytest.mark.parametrize("epochs", [1, 2, 4, 7])
def test_any_number_of_rounds_ends_with_one_operation_an_edge(epochs: int) -> None:
    rule = scripted([0.0, 1.0, 2.0, 4.0, 3.0], [0.0] * 5)
    alive = rounds(rule, TWO, epochs)
    counts = [int(rows["cell"].sum(dim=1).max()) for rows in alive]
    assert counts == sorted(counts, reverse=True)
    assert ops(TWO, alive[-1]) == [["skip_connect"]] * 3


def test_a_round_with_nothing_to_do_measures_nothing() -> None:
    def never(alive: Mapping[str, Tensor]) -> float:
        raise AssertionError("measured")

    rule = TeNas(WeightedSum, Scripted(never), Scripted(never))
    alive = {"cell": torch.eye(5, dtype=torch.bool)[[1, 3, 4]]}
    view = View(Clock(0, 1, 4, 1, 4), TWO, {}, {}, alive)
    assert rule(view)["cell"] is alive["cell"]


def test_two_edges_into_a_node_are_left_in_the_darts_space() -> None:
    space = darts(nodes=3, ops=("none", "skip_connect", "max_pool_3x3"))
    liked = torch.tensor([0.0, 0.0, 1.0, 3.0, 2.0, 4.0, 1.0, 3.0, 2.0])  # by edge: regions

    def regions(alive: Mapping[str, Tensor]) -> float:
        return 100 + sum(float((rows.any(dim=1) * liked).sum()) for rows in alive.values())

    rule = TeNas(WeightedSum, adds([0.0, 1.0, 2.0]), Scripted(regions), cells=3, repeats=1)
    middle, last = rounds(rule, space, 2)
    assert all((rows.sum(dim=1) >= 1).all() for rows in middle.values())
    for kind in space.kinds:
        assert last[kind].sum(dim=1).tolist() == [1, 1, 0, 1, 1, 1, 0, 1, 0]
        assert [o for o in ops(space, last, kind) if o] == [["skip_connect"]] * 6


def test_a_change_is_relative_and_averaged_over_repeats() -> None:
    calls = []

    def regions(alive: Mapping[str, Tensor]) -> float:
        calls.append(int(alive["cell"].sum()))
        return float(10 * len(calls) if calls[-1] == 5 else 5.0)

    rule = TeNas(WeightedSum, adds([1.0] * 5), Scripted(regions), repeats=2)
    view = View(Clock(0, 0, 4, 0, 4), ONE, {}, {}, everything(ONE))
    place = Place("cell", 0, 1)
    (change,) = rule.changes(view, view.alive, [place], torch.Generator().manual_seed(0)).values()
    assert calls == [5, 4, 5, 4]
    assert change.condition == pytest.approx(1 / 105)
    assert change.regions == pytest.approx(((10 - 5) / 10 + (30 - 5) / 30) / 2)


def test_the_condition_number_of_a_known_kernel_is_exact() -> None:
    for n in (2, 5, 9):
        kernel = torch.diag(torch.arange(1, n + 1, dtype=torch.float64))
        assert float(SCALARS["cond"].value(kernel)) == pytest.approx(n, rel=1e-12)


def test_weights_are_kaiming_normal_out_for_the_kernel_and_in_for_the_regions() -> None:
    rule = TeNas(WeightedSum, channels=16, thin=16)
    wide, thin = rule._spaces(nasbench201())
    assert (wide.depth, len(thin.layers)) == (1, 1)
    fans = []
    for mode in ("fan_out", "fan_in"):
        net = rule._supernet(wide, 3, mode, torch.Generator().manual_seed(0))
        stem = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
        fans.append(2 / float(stem.weight.detach().var()))
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.affine]
        assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)
    assert fans == pytest.approx([16 * 9, 3 * 9], rel=0.25)
    darts_wide, darts_thin = rule._spaces(darts())
    kinds = [layer.kind for layer in darts_wide.layers]
    assert kinds == ["normal", "reduce", "normal", "reduce", "normal"]
    assert [layer.kind for layer in darts_thin.layers] == ["normal", "reduce"]


def test_the_thin_supernet_weighs_what_is_alive_alike_and_has_nothing_else() -> None:
    rule = TeNas(WeightedSum)
    net = rule._supernet(rule._spaces(TWO)[0], 3, "fan_in", torch.Generator().manual_seed(0))
    alive = {"cell": torch.tensor([[0, 1, 0, 1, 0], [0, 0, 0, 1, 0], [0] * 5], dtype=torch.bool)}
    thin = Thin(net, alive)
    assert thin.mixtures["cell"].ops[0].tolist() == [0, 0.5, 0, 0.5, 0]
    assert thin.mixtures["cell"].ops[2].tolist() == [0] * 5
    assert sum("nor_conv_1x1" in name for name, _ in net.named_modules()) > 0
    assert not [name for name, _ in thin.named_modules() if "nor_conv_1x1" in name]
    assert thin(torch.randn(2, 3, 8, 8)).isfinite().all()


def test_regions_of_crops_are_patterns_of_one_unit() -> None:
    net = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(1, 2))
    images = torch.tensor([-1.0, 1.0, 2.0, -3.0]).reshape(1, 1, 2, 2)
    batch, generator = Batch(images, torch.zeros(1)), torch.Generator().manual_seed(0)
    assert CropRegions(samples=50, side=1)(net, batch, generator) == 2.0  # below 0, and above
    same = Batch(images.abs(), batch.labels)
    assert CropRegions(samples=50, side=1)(net, same, generator) == 1.0
    with pytest.raises(ValueError, match=r"CropRegions\(samples=1"):
        CropRegions(samples=1)


def test_the_search_prunes_by_the_real_measures_moves_nobody_and_repeats_itself() -> None:
    space = SPACES["nasbench201"]
    rule = TeNas(WeightedSum, regions=CropRegions(samples=50), batch_size=3, repeats=1)
    method = shrunk(methods.te_nas.but(pruner=rule), epochs=2)
    found = [list(search(method, space, tiny_data(), machine=READABLE)) for _ in range(2)]
    assert str(found[0][-1].genotype) == str(found[1][-1].genotype)
    assert [(p.edge, p.op) for p in prunings(found[0])] == [
        (p.edge, p.op) for p in prunings(found[1])
    ]
    assert len(prunings(found[0])) == 12  # four of five on each of three edges
    assert {p.op for p in prunings(found[0])[:3]} >= {"none"}
    alphas = [event.alpha["cell"] for event in steps(found[0])]
    assert all((alpha == 0).all() for alpha in alphas)
    run = start(method, space, machine=READABLE)
    before = [weight.clone() for weight in run.net.parameters()]
    run.step(run.clock)
    after = list(run.net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert len(play(run)) > 2


def test_the_preset_is_the_published_search() -> None:
    (stage,) = methods.te_nas.stages
    assert (stage.epochs, stage.steps_per_epoch) == (len(darts().columns) - 1, 1)
    assert stage.schedule(Clock(0, 0, 7, 0, 7)) == ()
    assert stage.pruner == TeNas(WeightedSum, ConditionNumber(), CropRegions(3000, 3), 3, 1)
    assert (stage.pruner.batch_size, stage.pruner.repeats) == (14, 3)


@pytest.mark.parametrize("setting", ["channels", "thin", "repeats", "batch_size"])
def test_impossible_settings_are_refused_by_name(setting: str) -> None:
    with pytest.raises(ValueError, match=rf"TeNas\({setting}=0\)"):
        TeNas(WeightedSum, **{setting: 0})
