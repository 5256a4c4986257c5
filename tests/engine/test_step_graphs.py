"""Whole steps, captured: the same search as operation by operation.

There is no GPU here to capture on: a tape does again what was done, on the same memory.
"""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from tests.engine.tape import Tape
from tests.tiny import (
    SPACES,
    Spy,
    assert_same,
    moved,
    play,
    prunings,
    shrunk,
    start,
    tiny_data,
    trajectory,
)
from workbench import methods
from workbench.engine import CudaRecorder, FastSupernet, Machine, StepGraphs
from workbench.engine.step_graphs import WARM_UP, CaptureError
from workbench.events import DivergenceError, SearchEvent, Stepped
from workbench.method import Method
from workbench.moves import changing, step_graphs
from workbench.parts.arch_optimizers import Adam, ClippedSgd
from workbench.parts.edge_weights import SoftmaxEdges
from workbench.parts.edges import AuxiliarySkip, PartialChannels, WeightedSum
from workbench.parts.op_dropout import GroupedDropout
from workbench.parts.regularizers import ZeroOne
from workbench.parts.relaxations import Entmax, Softmax
from workbench.parts.sampling import Concrete
from workbench.parts.schedules import Linear
from workbench.parts.single_op import SingleOp
from workbench.parts.weight_optimizers import PartialSgd, Sgd
from workbench.probes import chosen
from workbench.run import Run
from workbench.run_state import reopened, state_of
from workbench.search import epoch_of
from workbench.spaces.supernet import Supernet
from workbench.walk import Walk

MACHINE = Machine("cpu", "float64", engine="batched", fused=True)

PLAIN = Supernet(SPACES["darts"], edge=WeightedSum)
METHODS: dict[str, Method] = {
    "draws": methods.darts.but(relaxation=Concrete(0.5)),
    "entmax, clipped": methods.darts.but(relaxation=Entmax(3.0), clip_arch=0.1),
    "edge weights": methods.darts.but(edge_weights=SoftmaxEdges()),
    "clipped in its step": methods.darts.but(arch_optimizer=ClippedSgd(clip=0.01)),
    "without momentum": methods.darts.but(weight_optimizer=Sgd(momentum=0.0)),
    "a weight alone": methods.darts.but(weight_optimizer=PartialSgd()),
    **{
        name: method
        for name, method in methods.named().items()
        if not isinstance(method, Walk) and changing(method.stages[0], PLAIN) is None
    },
}
READABLE = {"idarts_node"}  # whose edges have no form
FADING = {"darts_minus"}  # whose edges change with the progress
LONG = {"te_nas", "unrolled5"}  # the first moves nothing, the second is `unrolled2` with more steps


def both(method: Method, space: str = "darts") -> tuple[list[SearchEvent], list[SearchEvent], Tape]:
    """A stage operation by operation, the same one captured, and what captured it."""
    plain, run = (start(method, SPACES[space], machine=MACHINE) for _ in range(2))
    return play(plain), play(run), tape_of(run)


def tape_of(run: Run) -> Tape:
    assert run.moves.graphs is not None
    return run.moves.graphs._recorder


@pytest.fixture(autouse=True)
def _taped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second run that is made is taped, and looks at its flags late, as on a GPU."""
    made, build = count(1), Run.__init__

    def built(self: Run, *args: object, **settings: object) -> None:
        build(self, *args, **settings)
        if next(made) % 2 == 0 and isinstance(self.net, FastSupernet):
            self.moves.graphs = StepGraphs(Tape())
            self.watch.flags._deferred = True

    monkeypatch.setattr(Run, "__init__", built)


@pytest.mark.parametrize("name", sorted(set(METHODS) - READABLE - FADING - LONG))
def test_a_captured_search_is_the_search(name: str) -> None:
    method = shrunk(METHODS[name], epochs=4)
    plain, taped, tape = both(method)
    assert_same(trajectory(plain), trajectory(taped))
    steps = sum(isinstance(event, Stepped) for event in taped)
    assert tape.steps_aside + tape.replays == steps
    assert tape.replays


def test_a_kind_of_step_is_captured_once_for_every_learning_rate() -> None:
    _, taped, tape = both(shrunk(methods.darts, epochs=4))
    assert moved(taped)
    assert tape.steps_aside == WARM_UP == 3
    assert tape.captures == 3  # of 4 epochs with 3 steps each the first one is the warm-up
    assert tape.replays == 9


@pytest.mark.parametrize("space", SPACES)
def test_a_pruning_asks_for_a_new_capture(space: str) -> None:
    method = shrunk(methods.entmax3_prune.but(arch_optimizer=Adam(lr=0.05)), epochs=6)
    plain, taped, tape = both(method, space)
    assert_same(trajectory(plain), trajectory(taped))
    assert prunings(taped)
    assert tape.steps_aside > WARM_UP
    assert tape.replays


def test_what_a_tape_cannot_follow_is_found() -> None:
    """Or the tests above would show nothing: a temperature that falls is captured as it was."""
    method = shrunk(methods.darts.but(relaxation=Softmax(Linear(1.0, 0.1))), epochs=4)
    plain, taped, _ = both(method)
    with pytest.raises(AssertionError, match="differs by"):
        assert_same(trajectory(plain), trajectory(taped))


def test_a_probe_leaves_a_captured_search_as_it_is() -> None:
    method = shrunk(methods.darts, epochs=3)
    plain, run = (start(method, SPACES["darts"], machine=MACHINE) for _ in range(2))
    probes = chosen("alpha_gradients,op_outputs", 1)
    assert_same(trajectory(play(plain)), trajectory(play(run, probes)))
    assert tape_of(run).replays


def test_a_captured_search_goes_on_from_a_saved_state() -> None:
    method = shrunk(methods.darts, epochs=4)
    plain, run = (start(method, SPACES["darts"], machine=MACHINE) for _ in range(2))
    whole = play(plain)
    epochs = [list(epoch_of(run, epoch)) for epoch in range(2)]
    assert tape_of(run).replays
    Run(method, 0, SPACES["darts"], tiny_data(), MACHINE, 0, None)  # the next one is taped
    state = copy.deepcopy(state_of(run))
    rest = reopened(state, method, SPACES["darts"], tiny_data(), MACHINE, 0)
    epochs += [list(epoch_of(rest, epoch)) for epoch in (2, 3)]
    assert tape_of(rest).replays
    assert_same(trajectory(whole)[1:], trajectory(event for events in epochs for event in events))


def test_the_step_that_a_replay_met_a_bad_number_in_is_told() -> None:
    _, run = (
        start(shrunk(methods.darts, epochs=4), SPACES["darts"], machine=MACHINE) for _ in "ab"
    )
    for epoch in range(2):
        list(epoch_of(run, epoch))
    before = tape_of(run).replays
    with torch.no_grad():
        next(run.net.parameters()).fill_(torch.nan)
    with pytest.raises(DivergenceError, match="became infinite or nan") as found:
        list(epoch_of(run, 2))
    assert tape_of(run).replays > before
    assert found.value.event.clock.step == 2 * run.steps_per_epoch


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"relaxation": Softmax(Linear(1.0, 0.1))}, "the relaxation Softmax may change"),
        ({"relaxation": Entmax(Linear(1.0, 2.0))}, "the relaxation Entmax may change"),
        ({"relaxation": Concrete(Linear(1.0, 0.1))}, "the relaxation Concrete may change"),
        ({"objective": Spy(tiny_data())}, "the objective Spy may change"),
        ({"op_dropout": GroupedDropout(0.1)}, "left out anew in every step"),
        ({"regularizers": (ZeroOne(),)}, "regularizers look at more than tensors"),
        ({"edge": AuxiliarySkip()}, "the mixed edges may change"),
        ({"edge": PartialChannels(1, AuxiliarySkip())}, "the mixed edges may change"),
        ({"edge": AuxiliarySkip(0.5)}, None),
        ({"edge": lambda *given: AuxiliarySkip()(*given)}, "the mixed edges may change"),
        ({"relaxation": Entmax(2.0)}, None),
    ],
)
def test_a_stage_that_changes_has_graphs_of_passes_only(
    changes: dict[str, object], reason: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    run = start(shrunk(methods.darts.but(**changes)), SPACES["darts"], machine=MACHINE)
    run.machine = SimpleNamespace(graphs=True)
    caplog.clear()
    assert (step_graphs(run) is not None) == (reason is None)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (reason is not None)
    assert all(
        reason in line and line.startswith("graphs hold the supernet's passes") for line in said
    )


def test_where_what_runs_is_chosen_nothing_is_captured_and_the_net_has_said_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for edge in (SingleOp(), lambda *given: SingleOp()(*given)):
        run = start(shrunk(methods.darts.but(edge=edge)), SPACES["darts"], machine=MACHINE)
        run.machine = SimpleNamespace(graphs=True)
        assert step_graphs(run) is None
    assert not caplog.records


def test_methods_that_run_on_the_readable_supernet_have_none() -> None:
    for name in READABLE:
        run = start(shrunk(METHODS[name]), SPACES["darts"], machine=MACHINE)
        run.machine = SimpleNamespace(graphs=True)
        assert step_graphs(run) is None


def test_a_step_that_cannot_be_captured_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Graph:
        def register_generator_state(self, generator: torch.Generator) -> None: ...

        def replay(self) -> None: ...

        def pool(self) -> int:
            return 7

    pools, streams = [], []

    @contextmanager
    def capturing(graph: Graph, *, pool: int | None, **settings: object) -> Iterator[None]:
        pools.append(pool)
        try:
            yield
        except BaseException:  # the end of a capture fails too, and hides why
            raise RuntimeError("operation failed due to a previous error")  # noqa: B904

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "here")
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    recorder = CudaRecorder(torch.device("cpu"), torch.Generator())

    def waits() -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    with pytest.raises(CaptureError) as refused:
        recorder.captured(waits)
    assert str(refused.value) == (
        "this step cannot be captured as a CUDA graph (operation not permitted when stream is "
        "capturing more); begin anew without graphs, in a new process: this one's GPU may be out "
        "of order"
    )
    assert streams == ["here"]

    def large() -> None:
        raise torch.cuda.OutOfMemoryError("out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        recorder.captured(large)
    first, second = (recorder.captured(lambda: 7) for _ in range(2))
    assert first[0] == second[0] == 7
    assert pools == [None, None, None, 7], "a graph takes the memory of one that is there"
    del first, second
    gc.collect()
    recorder.captured(lambda: 7)
    assert pools[-1] is None


def test_a_run_that_is_over_goes_at_once() -> None:
    """And with it what its graphs hold: the next stage needs the room."""
    gc.collect()
    gc.disable()
    try:
        _, run = (start(shrunk(methods.darts), SPACES["darts"], machine=MACHINE) for _ in "ab")
        list(epoch_of(run, 0))
        gone = weakref.ref(run)
        del run
        assert gone() is None
    finally:
        gc.enable()
