"""Every method of `methods`, on every space: what holds of all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest
import torch

from tests.tiny import CPU, SPACES, prunings, shrunk, start, steps, tiny_data
from workbench import methods
from workbench.events import (
    Derived,
    EpochEnded,
    Held,
    Probed,
    Pruned,
    Resumable,
    SearchEvent,
    StageStarted,
    Stepped,
    Stopped,
)
from workbench.method import Method, differences
from workbench.parts.derivations import survivors
from workbench.parts.edges import WeightedSum
from workbench.parts.relaxations import Entmax, Simplex, Softmax
from workbench.parts.sampling import Concrete, HardConcrete
from workbench.protocols import Rows
from workbench.search import search
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import Network
from workbench.spaces.space import Space
from workbench.zero_cost import proxies
from workbench.zero_cost.te_nas import TeNas

METHODS = {name: m for name, m in methods.named().items() if isinstance(m, Method)}
EVERY = pytest.mark.parametrize("name", METHODS)
# Each method on one space of the two, in turn; all pairs in the long form.
ELSEWHERE = ("pr_darts_depth_restricted", "pr_darts_unrestricted")  # in tests of their own
ON_BOTH = pytest.mark.parametrize(
    ("name", "space"),
    [
        pytest.param(name, space, marks=[pytest.mark.long] if more else [])
        for i, name in enumerate(METHODS)
        for j, space in enumerate(SPACES)
        for more in [(i + j) % 2 or name in ELSEWHERE]
    ],
)


def small(method: Method) -> Method:
    """Four steps a stage; scores on three Gaussian pictures, or of sizes, where there are any."""
    if isinstance(method.stages[-1].pruner, TeNas):
        cheap = TeNas(WeightedSum, proxies.parameters, proxies.parameters, repeats=1)
        method = method.but(pruner=cheap)
    method = shrunk(method, epochs=2, batch_size=24 if method.stages[-1].train_portion == 1 else 12)
    return replace(
        method,
        stages=tuple(
            stage if stage.objective.needs_data
            else replace(stage, objective=replace(stage.objective, batch_size=3))
            for stage in method.stages
        ),
    )  # fmt: skip


@cache
def events_of(name: str, space: str) -> list[SearchEvent]:
    """Every event of a small search, once for all tests here."""
    return list(search(small(METHODS[name]), SPACES[space], tiny_data(), machine=CPU))


def in_their_spaces(name: str, space: str) -> list[tuple[StageStarted | Stepped, Space]]:
    """The states of a small search, each with the space of its stage."""
    out, now = [], SPACES[space]
    for event in events_of(name, space):
        now = event.space if isinstance(event, StageStarted) else now
        if isinstance(event, (StageStarted, Stepped)):
            out.append((event, now))
    return out


@ON_BOTH
def test_events_come_stage_by_stage_and_end_with_the_genotype(name, space):
    asides = (Pruned, Held, Stopped, Probed, Resumable)  # what some methods tell between the steps
    told = [e for e in events_of(name, space) if not isinstance(e, asides)]
    expected: list[type] = []
    for index, stage in enumerate(METHODS[name].stages):
        mine = [e for e in events_of(name, space) if e.clock.stage == index]
        epochs = sum(isinstance(e, EpochEnded) for e in mine)
        assert epochs == 2 or (epochs == 1 and any(isinstance(e, Stopped) for e in mine))
        each = min(2, stage.steps_per_epoch or 2)
        expected += [StageStarted, *[*[Stepped] * each, EpochEnded] * epochs]
        clocks = [(e.clock.epoch, e.clock.step) for e in steps(mine)]
        assert clocks == [(step // each, step) for step in range(each * epochs)]
    assert [type(e) for e in told] == [*expected, Derived]


@ON_BOTH
def test_mixing_weights_are_in_range_and_zero_where_dead(name, space):
    for event, now in in_their_spaces(name, space):
        relaxation = METHODS[name].stages[event.clock.stage].relaxation
        for cell in now.cells:
            shape = (len(cell.edges), len(cell.columns))
            mix, alive = event.mix[cell.kind], event.alive[cell.kind]
            assert mix.shape == alive.shape == event.alpha[cell.kind].shape == shape
            assert alive.dtype == torch.bool
            assert ((mix >= 0) & (mix <= 1)).all()
            assert (mix[~alive] == 0).all()
            if isinstance(relaxation, (Softmax, Entmax, Simplex, Concrete, HardConcrete)):
                sums = alive.any(dim=1).to(mix.dtype)  # an edge with nothing alive is gone
                torch.testing.assert_close(mix.sum(dim=1), sums)


@ON_BOTH
def test_losses_and_alphas_are_finite_and_alphas_move_where_the_schedule_says(name, space):
    events = events_of(name, space)
    for event in steps(events):
        values = torch.stack(
            [torch.as_tensor(v, dtype=torch.float64) for v in event.scalars.values()]
        )
        assert values.isfinite().all(), event.scalars
        assert all(rows.isfinite().all() for rows in event.alpha.values())
    previous: Rows = {}
    for event in events:
        if isinstance(event, StageStarted):
            previous = event.alpha
        if not isinstance(event, Stepped):
            continue
        updates = small(METHODS[name]).stages[event.clock.stage].schedule(event.clock)
        assert any(key.startswith("loss") for key in event.scalars) == bool(updates)
        moved = any(not torch.equal(previous[kind], event.alpha[kind]) for kind in previous)
        assert moved == bool({"arch", "joint"} & set(updates))
        previous = event.alpha


@ON_BOTH
def test_only_a_method_with_a_pruner_prunes(name, space):
    if all(stage.pruner is None for stage in METHODS[name].stages):
        assert not prunings(events_of(name, space))
        for event, now in in_their_spaces(name, space):
            for cell in now.cells:
                assert torch.equal(event.alive[cell.kind], torch.tensor(cell.candidates))


@ON_BOTH
def test_the_genotype_is_one_of_the_space_round_trips_and_builds(name, space):
    genotype = events_of(name, space)[-1].genotype
    assert Genotype.parse(str(genotype)) == genotype
    assert Genotype.from_json(genotype.to_json()) == genotype
    last = in_their_spaces(name, space)[-1][1]
    assert tuple(cell.kind for cell in genotype.cells) == last.kinds
    for cell in genotype.cells:
        shape = last.cell(cell.kind)
        assert (cell.inputs, cell.nodes) == (shape.inputs, shape.nodes)
        assert set(cell.concat) <= set(shape.outputs)
        for gene in cell.genes:
            assert gene.op in shape.ops[shape.edges.index((gene.src, gene.dst))]
            assert gene.op != "none"
        several = METHODS[name].derivation is survivors  # an edge may keep more than one
        genes = [gene if several else (gene.src, gene.dst) for gene in cell.genes]
        assert len(set(genes)) == len(genes)
    net = Network(genotype, channels=4, cells=last.depth, in_channels=1)
    logits, _ = net(torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()


@ON_BOTH
def test_an_epoch_tells_what_would_be_derived_and_what_it_costs(name, space):
    ended, now = [], SPACES[space]
    for event in events_of(name, space):
        now = event.space if isinstance(event, StageStarted) else now
        if not isinstance(event, EpochEnded):
            continue
        ended.append(event)
        assert event.genotype is not None
        net = Network(event.genotype, channels=now.channels, cells=now.depth, in_channels=1)
        assert event.parameters == sum(weight.numel() for weight in net.parameters())
        assert event.macs > 0
        assert event.memory > 0
        assert event.seconds > 0
    assert ended[-1].genotype == events_of(name, space)[-1].genotype
    last = steps(events_of(name, space))[-1]
    gone = [e for e in prunings(events_of(name, space)) if e.clock == last.clock]
    each_epoch = getattr(METHODS[name].stages[-1].pruner, "every", None) == "epoch"
    left = sum(int(mask.sum()) for mask in last.alive.values())
    assert ended[-1].alive == left - each_epoch * len(gone)


@ON_BOTH
def test_weight_and_alpha_optimizers_share_nothing_and_miss_nothing(name, space):
    method, before = small(METHODS[name]), None
    for index, stage in enumerate(method.stages):
        view = before.view(before.clock) if before else None
        now = stage.reshape(SPACES[space], view) if stage.reshape else SPACES[space]
        run = start(method, now, index=index, before=before)
        groups = {
            level: [x for group in optimizer.param_groups for x in group["params"]]
            for level, optimizer in (("w", run.weight_optimizer), ("alpha", run.arch_optimizer))
        }
        assert {id(x) for x in groups["w"]} == {id(x) for x in run.net.parameters()}
        assert {id(x) for x in groups["alpha"]} == {id(x) for x in run.arch.parameters()}
        assert not {id(x) for x in groups["w"]} & {id(x) for x in groups["alpha"]}
        assert len(groups["w"]) == len(list(run.net.parameters()))
        each = 1 if stage.edge_weights is None else 2
        assert len(groups["alpha"]) == each * len(now.kinds)
        before = run


@EVERY
def test_a_method_is_called_what_its_variable_is_and_says_where_it_is_from(name):
    method = METHODS[name]
    assert method.name == name
    assert getattr(methods, name) is method
    assert method.paper.strip()
    assert method.summary.strip().endswith(".")
    assert "\n" not in method.summary


@EVERY
def test_a_method_describes_itself_in_json(name):
    about = METHODS[name].describe()
    assert json.loads(json.dumps(about)) == about
    assert about["name"] == name
    assert len(about["stages"]) == len(METHODS[name].stages)
    assert not [text for stage in about["stages"] for text in stage.values() if " at 0x" in text]


def test_no_two_methods_are_the_same():
    texts = {
        name: json.dumps({k: v for k, v in m.describe().items() if k in ("stages", "derivation")})
        for name, m in METHODS.items()
    }
    assert len(set(texts.values())) == len(texts)


@pytest.mark.parametrize(
    ("parent", "child", "fields"),
    [
        ("darts", "darts_second_order", {"arch_gradient"}),
        ("darts_second_order", "unrolled5", {"arch_gradient"}),
        ("unrolled2", "unrolled5", {"arch_gradient"}),
        ("darts", "amended", {"arch_gradient"}),
        ("darts", "milenas", {"arch_gradient"}),
        ("darts", "idarts", {"arch_gradient", "schedule", "batch_size"}),
        ("darts", "darts_plus", {"stop"}),
        ("darts_plus", "darts_plus_ranking", {"stop"}),
        ("darts", "robust_darts", {"measures", "stop"}),
        (
            "darts",
            "darts_pt",
            {"stage search", "name", "epochs", "init", "carry", "weight_optimizer", "pruner"},
        ),
        ("darts", "idarts_node", {"edge", "pruner"}),
        ("darts_pt", "darts_pt_blank", {"search.schedule", "projection.schedule"}),
        ("darts", "gaea", {"init", "relaxation", "arch_optimizer"}),
        (
            "gaea",
            "gaea_nasbench201",
            {"epochs", "train_portion", "weight_optimizer"},
        ),
        (
            "darts",
            "fair_darts",
            {
                "batch_size",
                "init",
                "relaxation",
                "weight_optimizer",
                "arch_optimizer",
                "regularizers",
                "reshape",
                "derivation",
            },
        ),
        ("fair_darts", "d_darts", {"batch_size", "regularizers", "reshape"}),
        (
            "single_level",
            "snas",
            {"epochs", "init", "relaxation", "arch_optimizer", "regularizers", "derivation"},
        ),
        (
            "darts",
            "gdas",
            {"epochs", "batch_size", "relaxation", "edge", "weight_optimizer", "schedule"},
        ),
        ("single_level", "hou_jin", {"relaxation", "arch_optimizer", "stop"}),
        (
            "darts",
            "pc_darts",
            {
                "batch_size",
                "edge",
                "edge_weights",
                "weight_optimizer",
                "arch_optimizer",
                "schedule",
            },
        ),
        ("gaea", "gaea_pc_darts", {"batch_size", "edge", "edge_weights", "weight_optimizer"}),
        ("darts", "asap", {"relaxation", "pruner", "schedule"}),
        ("darts", "darts_minus", {"edge"}),
        ("darts", "multi_step", {"schedule"}),
        ("darts", "single_level", {"arch_gradient", "schedule", "train_portion"}),
        (
            "single_level",
            "drop_nas",
            {"epochs", "batch_size", "op_dropout", "weight_optimizer"},
        ),
        (
            "single_level",
            "gold_nas",
            {
                "epochs",
                "batch_size",
                "reshape",
                "init",
                "relaxation",
                "weight_optimizer",
                "arch_optimizer",
                "regularizers",
                "pruner",
                "stop",
                "derivation",
            },
        ),
        ("darts", "entmax2_prune", {"relaxation", "pruner", "derivation"}),
        ("entmax2_prune", "entmax3_prune", {"relaxation"}),
        ("single_level", "entmax2_prune_single_level", {"relaxation", "pruner", "derivation"}),
        ("entmax2_prune_single_level", "entmax3_prune_single_level", {"relaxation"}),
        ("entmax3_prune_single_level", "entmax_annealed", {"relaxation"}),
        ("multi_step", "zero_cost_multi_step", {"stage warm_up", "init", "carry"}),
    ],
)
def test_a_method_differs_from_its_parent_in_what_its_paper_changes_alone(parent, child, fields):
    before, after = getattr(methods, parent), getattr(methods, child)
    assert {d.field for d in differences(before, after)} == fields
    assert not differences(after, after)


def test_a_misspelled_part_is_refused_by_name():
    with pytest.raises(TypeError, match="relaxaton"):
        methods.darts.but(relaxaton=Softmax())
