"""A search without gradients: what holds of every walk, and what its score may look at."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.tiny import CPU, SPACES, assert_same, steps, tiny_data, trajectory, who
from workbench import methods
from workbench.candidates import CandidateBench
from workbench.config import SearchConfig
from workbench.data import Data
from workbench.events import Derived, EpochEnded, Resumable, SearchEvent, StageStarted, Stepped
from workbench.listing import card, listed
from workbench.method import Method
from workbench.parts.derivations import EdgeArgmax
from workbench.parts.proposals import ElitistEvolution, RandomGenotypes, RegularizedEvolution
from workbench.parts.scores import ShortTraining, Untrained
from workbench.protocols import Mixture
from workbench.search import search
from workbench.settings import ConfigError
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import Network
from workbench.trace import open_run, record
from workbench.walk import Bench, Walk, small

WALKS = {name: m for name, m in methods.named().items() if isinstance(m, Walk)}
EVERY = pytest.mark.parametrize("name", WALKS)
ON_BOTH = pytest.mark.parametrize("space", SPACES)


def few(walk: Walk) -> Walk:
    """Five candidates in rounds of two, populations of two, batches of four, one epoch."""
    if isinstance(walk.proposal, RegularizedEvolution):
        walk = walk.but(proposal=RegularizedEvolution(2, 2))
    if isinstance(walk.proposal, ElitistEvolution):
        walk = walk.but(proposal=ElitistEvolution(2))
    if isinstance(walk.score, ShortTraining):
        walk = walk.but(score=ShortTraining(epochs=1, batch_size=8))
    if isinstance(walk.score, Untrained):
        walk = walk.but(score=replace(walk.score, batch_size=4))
    return walk.but(candidates=5, round=2) if walk.score else walk


@cache
def events_of(name: str, space: str) -> list[SearchEvent]:
    """Every event of a small search, once for all tests here."""
    return list(search(few(WALKS[name]), SPACES[space], tiny_data(), machine=CPU))


def test_there_are_walks_and_they_are_no_gradient_searches() -> None:
    assert WALKS.keys() == {
        "random_genotype", "random_search", "regularized_evolution", "knas", "zen_nas",
    }  # fmt: skip
    assert isinstance(methods.te_nas, Method)


@ON_BOTH
@EVERY
def test_a_walk_tells_a_step_a_candidate_a_round_now_and_then_and_the_best(name, space) -> None:
    walk, events = few(WALKS[name]), events_of(name, space)
    want = [StageStarted, Stepped, Stepped, EpochEnded, Stepped, Stepped, EpochEnded, Stepped]
    want = [*want, EpochEnded, Derived] if walk.score else [StageStarted, Stepped, EpochEnded]
    told = [type(event) for event in events if not isinstance(event, Resumable)]
    assert told[: len(want)] == want
    assert [e.clock.step for e in steps(events)] == list(range(walk.candidates))
    last, genotype = steps(events)[-1], events[-1].genotype
    mix = {kind: Mixture(rows) for kind, rows in last.mix.items()}
    assert EdgeArgmax()(SPACES[space], mix, last.alive) == genotype
    assert set(events[-1].residual_entropy.values()) == {0.0}
    assert events[-1].residual_entropy.keys() == set(SPACES[space].edge_names)
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert ended[-1].genotype == genotype
    now = SPACES[space]
    net = Network(genotype, channels=now.channels, cells=now.depth, in_channels=1)
    assert ended[-1].parameters == sum(weight.numel() for weight in net.parameters())
    logits, _ = net(torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert logits.isfinite().all()
    assert Genotype.parse(str(genotype)) == genotype


@ON_BOTH
@EVERY
def test_the_best_score_never_falls_and_rows_have_the_shape_of_the_space(name, space) -> None:
    best = []
    for event in steps(events_of(name, space)):
        for cell in SPACES[space].cells:
            shape = (len(cell.edges), len(cell.columns))
            assert event.alpha[cell.kind].shape == event.mix[cell.kind].shape == shape
            assert event.alpha[cell.kind].isfinite().all()
            assert torch.equal(event.alive[cell.kind], torch.tensor(cell.candidates))
            assert set(event.mix[cell.kind].sum(dim=1).tolist()) == {1.0}
        best.append(event.scalars.get("best_score", 0.0))
    assert best == sorted(best)
    scores = [event.scalars.get("score", 0.0) for event in steps(events_of(name, space))]
    assert best == [max(scores[: i + 1]) for i in range(len(scores))]


@EVERY
def test_the_same_seed_walks_the_same_way_and_another_does_not(name) -> None:
    again, other = (
        list(search(few(WALKS[name]), SPACES["darts"], tiny_data(), machine=CPU, seed=seed))
        for seed in (0, 1)
    )
    assert_same(trajectory(events_of(name, "darts")), trajectory(again))
    assert str(again[-1].genotype) == str(events_of(name, "darts")[-1].genotype)
    mixes = [torch.cat([r.flatten() for r in steps(e)[0].mix.values()]) for e in (again, other)]
    assert not torch.equal(*mixes)


@EVERY
def test_a_walk_is_recorded_and_read_like_any_search(name, tmp_path: Path) -> None:
    events = list(record(iter(events_of(name, "darts")), tmp_path / "run"))
    assert events == events_of(name, "darts")
    run = open_run(tmp_path / "run")
    assert (run.status, run.named("method")) == ("finished", name)
    assert run.genotype == events[-1].genotype
    assert len(run.trace.step) == len(steps(events))


@EVERY
def test_a_walk_says_where_it_is_from_in_json(name) -> None:
    walk = WALKS[name]
    assert (walk.name, getattr(methods, name)) == (name, walk)
    assert walk.paper.startswith("arXiv:")
    assert walk.summary.endswith(".")
    about = walk.describe()
    assert json.loads(json.dumps(about)) == about
    assert " at 0x" not in json.dumps(about)
    assert methods.family(name)
    cut = getattr(methods, f"{name}_small")
    assert cut.name == f"{name}_small"
    assert cut.candidates <= 64


# --- what a step tells --------------------------------------------------------------------------


@dataclass(frozen=True)
class Convolutions:
    """How many 3×3 convolutions a genotype has."""

    def __call__(self, genotype: Genotype, bench: Bench) -> float:
        return float(genotype.op_counts().get("nor_conv_3x3", 0))


def test_alpha_is_the_mean_score_of_an_operation_on_an_edge_in_standard_deviations() -> None:
    space = SPACES["nasbench201"]
    walk = Walk("count", "-", "-.", 40, RandomGenotypes(), Convolutions())
    events = list(search(walk, space, tiny_data(), machine=CPU))
    assert not any(steps(events)[0].alpha["cell"].flatten())  # one score has no spread
    seen = [(float(e.scalars["score"]), i) for i, e in enumerate(steps(events))]
    generator = torch.Generator()
    generator.set_state(_first_state())
    tried = [RandomGenotypes()(space, [], generator) for _ in seen]
    scores = torch.tensor([score for score, _ in seen], dtype=torch.float64)
    assert scores.tolist() == [Convolutions()(genotype, None) for genotype in tried]
    alpha = steps(events)[-1].alpha["cell"]
    cell = space.cells[0]
    for edge, (src, dst) in enumerate(cell.edges):
        for column, op in enumerate(cell.columns):
            ops = [{(g.src, g.dst): g.op for g in t.cells[0].genes} for t in tried]
            mine = torch.tensor([each.get((src, dst), "none") == op for each in ops])
            mean = (scores[mine].mean() - scores.mean()) / scores.std(correction=0)
            assert float(alpha[edge, column]) == pytest.approx(float(mean), abs=1e-5)
    assert (alpha.argmax(dim=1) == cell.columns.index("nor_conv_3x3")).all()


def _first_state() -> torch.Tensor:
    from workbench.engine import independent_seeds
    from workbench.explore import _PROPOSALS

    return torch.Generator().manual_seed(independent_seeds(0, _PROPOSALS, count=1)[0]).get_state()


def test_an_operation_that_was_never_tried_has_alpha_zero() -> None:
    walk = Walk("count", "-", "-.", 2, RandomGenotypes(), Convolutions())
    (*_, last) = steps(search(walk, SPACES["nasbench201"], tiny_data(), machine=CPU))
    assert (last.alpha["cell"] == 0).sum() >= 3 * 3  # of five operations, two were tried at most


def test_a_score_that_is_no_number_is_refused() -> None:
    def broken(genotype: Genotype, bench: Bench) -> float:
        return float("nan")

    walk = Walk("broken", "-", "-.", 2, RandomGenotypes(), broken)
    with pytest.raises(FloatingPointError, match="candidate 0 scored nan"):
        list(search(walk, SPACES["darts"], tiny_data(), machine=CPU))


# --- what a score may look at -------------------------------------------------------------------


class Watched:
    """A test split that nobody may look at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the test split was asked for its {name}")


def watched_data() -> Data:
    data = replace(tiny_data())
    object.__setattr__(data, "test", Watched())  # past its check, which looks
    return data


@pytest.mark.parametrize("name", ["random_search", "regularized_evolution", "knas"])
def test_a_walk_never_looks_at_the_test_split(name, monkeypatch) -> None:
    monkeypatch.setattr("workbench.explore.describe", lambda data: {})  # counts both splits
    found = list(search(few(WALKS[name]), SPACES["nasbench201"], watched_data(), machine=CPU))
    assert isinstance(found[-1], Derived)
    with pytest.raises(AssertionError, match="asked for its labels"):
        watched_data().test.labels  # noqa: B018


def bench_of(seed: int = 0, index: int = 0) -> CandidateBench:
    space, images = SPACES["nasbench201"], torch.arange(48)
    split = {"weights": images[::2], "arch": images[1::2]}
    return CandidateBench(space, tiny_data(), split, CPU, seed, index)


GENOTYPE = Genotype.parse("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|")


def test_training_sees_one_half_and_the_other_judges(monkeypatch) -> None:
    seen: dict[bool, list[int]] = {True: [], False: []}
    forward = Network.forward

    def look(net: Network, images: torch.Tensor, *more: torch.Generator) -> object:
        seen[net.training] += who(images, tiny_data())
        return forward(net, images, *more)

    monkeypatch.setattr(Network, "forward", look)
    accuracy = bench_of().accuracy(GENOTYPE, epochs=2, batch_size=8, lr=0.025)
    assert sorted(seen[True]) == sorted([*range(0, 48, 2)] * 2)
    assert seen[False] == [*range(1, 48, 2)]
    assert 0 <= accuracy <= 1
    assert (accuracy * 24) % 1 == pytest.approx(0)


def test_random_search_passes_as_often_over_the_images_as_fifty_epochs_of_darts(
    monkeypatch,
) -> None:
    walk, halves = methods.random_search, 2 * methods.darts.stages[0].epochs
    assert isinstance(walk.score, ShortTraining)
    assert walk.candidates * walk.score.epochs == halves
    counted = []
    monkeypatch.setattr(
        CandidateBench, "accuracy", lambda self, genotype, **how: counted.append(how["epochs"]) or 0
    )
    list(search(walk, SPACES["darts"], tiny_data(), machine=CPU))
    assert sum(counted) == halves


def test_a_short_training_learns_and_is_the_candidates_own() -> None:
    long, short = (
        bench_of(index=1).accuracy(GENOTYPE, epochs=epochs, batch_size=4, lr=0.05)
        for epochs in (30, 1)
    )
    assert long > max(short, 0.5)
    nets = [bench_of(index=index).network(GENOTYPE) for index in (0, 0, 1)]
    weights = [torch.cat([w.detach().flatten() for w in net.parameters()]) for net in nets]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    bench = bench_of()
    twice = [next(bench.network(GENOTYPE).parameters()).detach() for _ in range(2)]
    assert not torch.equal(*twice)


def test_pictures_are_the_same_every_time_and_noise_is_not() -> None:
    bench = bench_of()
    assert who(bench.pictures(5).images, tiny_data()) == [0, 2, 4, 6, 8]
    assert who(bench.pictures(5).images, tiny_data()) == [0, 2, 4, 6, 8]
    first, second = bench.noise(3), bench.noise(3)
    assert first.images.shape == (3, 1, 8, 8)
    assert not torch.equal(first.images, second.images)
    assert torch.equal(bench_of().noise(3).images, first.images)


def test_a_training_that_diverges_scores_nothing_and_says_so(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert bench_of().accuracy(GENOTYPE, epochs=3, batch_size=8, lr=1e30) == 0.0
    assert "a candidate scores 0" in caplog.text


def test_a_candidate_without_finite_outputs_scores_nothing(caplog, monkeypatch) -> None:
    trained = Network.forward

    def forward(self: Network, images: torch.Tensor, generator: object = None) -> object:
        logits, auxiliary = trained(self, images)
        return logits if self.training else logits * torch.nan, auxiliary

    monkeypatch.setattr(Network, "forward", forward)
    with caplog.at_level(logging.WARNING):
        assert bench_of().accuracy(GENOTYPE, epochs=1, batch_size=8, lr=0.1) == 0.0
    assert "its outputs are not finite" in caplog.text


# --- the value and its settings -----------------------------------------------------------------


def test_a_walk_with_other_fields_refuses_those_it_has_not() -> None:
    walk = methods.random_search.but(candidates=3)
    assert (walk.candidates, walk.score) == (3, methods.random_search.score)
    with pytest.raises(TypeError, match="a walk has no epochs; it has name"):
        walk.but(epochs=3)
    for wrong in ({"candidates": 0}, {"round": 0}, {"train_portion": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            walk.but(**wrong)
    with pytest.raises(ValueError, match="cannot tell which is best"):
        walk.but(score=None)
    assert small(methods.zen_nas).candidates == 24


def test_settings_of_a_training_are_those_of_a_walks_score() -> None:
    given = {"candidates": 3, "epochs": 2, "batch_size": 16, "weight_lr": 0.1}
    walk = SearchConfig(method="random_search", **given).build_method()
    assert isinstance(walk, Walk)
    assert (walk.candidates, walk.score) == (3, ShortTraining(2, 16, 0.1))
    zen = SearchConfig(method="zen_nas_small", batch_size=8).build_method()
    assert zen.score.batch_size == 8


@pytest.mark.parametrize(
    ("method", "setting"),
    [
        ("random_search", {"arch_lr": 0.1}),
        ("random_search", {"entmax_order": 2.0}),
        ("random_search", {"weight_steps": 2}),
        ("random_search", {"warm_up_epochs": 1}),
        ("random_genotype", {"epochs": 3}),
        ("random_genotype", {"candidates": 3}),
        ("zen_nas", {"epochs": 3}),
        ("zen_nas", {"weight_lr": 0.1}),
        ("darts", {"candidates": 3}),
    ],
)
def test_a_setting_that_a_walk_or_a_method_has_not_is_refused_by_name(method, setting) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        SearchConfig(method=method, **setting).build_method()


def test_walks_are_listed_with_their_parts_and_no_passes() -> None:
    row = listed(methods.random_search)
    assert row.differs[0].startswith("no gradients")
    assert "candidates: 20" in row.differs
    assert (row.passes.forward, row.passes.backward) == (0, 0)
    assert "score: ShortTraining(epochs=5" in card(row)
