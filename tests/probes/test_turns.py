"""Probes in a search: when they are asked, and that they change nothing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.tiny import CPU, READABLE, SPACES, assert_same, moved, play, shrunk, start, trajectory
from workbench import methods, probes
from workbench.events import EpochEnded, Probed, Stepped
from workbench.probes import Every, EveryEpoch, OpOutputs
from workbench.trace import open_run, record

SPACE, LONG = SPACES["nasbench201"], pytest.mark.long


def step_of(view, bilevel):
    return {"when": torch.tensor(view.clock.step)}


def asked(probe, **options) -> list[int]:
    events = play(
        start(shrunk(methods.darts, epochs=3, **options), SPACE, machine=READABLE), [probe]
    )
    for before, event in pairwise(events):
        if isinstance(event, Probed):
            assert isinstance(before, Stepped)
    return [int(event.values["when"]) for event in events if isinstance(event, Probed)]


def test_a_probe_waits_for_its_turn_and_is_no_event_before():
    assert asked(step_of) == list(range(9))
    assert asked(Every(1, step_of)) == list(range(9))
    assert asked(Every(4, step_of)) == [0, 4, 8]
    assert asked(Every(5, step_of)) == [0, 5, 8]  # the last one too
    assert asked(EveryEpoch(step_of)) == [2, 5, 8]
    with pytest.raises(ValueError, match=r"Every\(steps=0\)"):
        Every(0, step_of)


@pytest.mark.parametrize(
    ("method", "machine"),
    [
        pytest.param("darts", READABLE, id="darts-readable"),
        pytest.param("darts", CPU, id="darts-fast", marks=LONG),
        pytest.param("entmax3_prune_single_level", READABLE, id="pruned-readable", marks=LONG),
        pytest.param("entmax3_prune_single_level", CPU, id="pruned-fast"),
        pytest.param("pc_darts", READABLE, id="pc_darts-readable", marks=LONG),
        pytest.param("pc_darts", CPU, id="pc_darts-fast"),
    ],
)
def test_all_probes_together_change_no_bit_of_the_search(method, machine, tmp_path: Path):
    method = shrunk(getattr(methods, method), epochs=2)
    plain, watched = (start(method, SPACE, machine=machine) for _ in range(2))
    events = play(plain)
    every = [step_of, *probes.named().values()]
    seen = list(record(iter(play(watched, every)), tmp_path / "run"))
    assert moved(events)
    assert_same(trajectory(events), trajectory(seen))
    assert_same([plain.net.state_dict()] * 2, [watched.net.state_dict()] * 2)
    assert torch.equal(plain.generator.get_state(), watched.generator.get_state())
    trace = open_run(tmp_path / "run").trace
    names = {name for name in trace.data_vars if trace[name].attrs.get("probed")}
    assert names == {
        "when", "alpha_gradient", "op_norm", "op_cosine", "op_share", "weight_norm",
        "op_weight_norm", "accuracy_supernet", "loss_supernet", "accuracy_masked", "loss_masked",
        "hessian_eigenvalue",
    }  # fmt: skip
    assert trace["when"].to_numpy().tolist() == trace["step"].to_numpy().tolist()
    share = trace["op_share"].sum("op").to_numpy()
    assert share == pytest.approx(1, abs=1e-5)


def test_an_error_in_a_probe_leaves_no_hook_and_no_draw():
    run = start(shrunk(methods.darts), SPACE, machine=READABLE)
    before = run.generator.get_state(), torch.get_rng_state()

    def broken(view, bilevel):
        torch.rand(3)
        with probes.watching(run.net, print):
            raise ArithmeticError("enough")

    with pytest.raises(ArithmeticError):
        run.measure(broken, run.clock)
    assert all(not module._forward_hooks for module in run.net.modules())
    assert torch.equal(run.generator.get_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_what_a_stage_measures_is_told_and_only_scalars_enter_its_means():
    method = methods.darts.but(measures=(OpOutputs(), step_of, EveryEpoch(step_of)))
    events = play(start(shrunk(method, epochs=2), SPACE, machine=READABLE))
    told = [event for event in events if isinstance(event, Probed)]
    assert [set(event.values) for event in told[:2]] == [
        {"op_norm", "op_cosine", "op_share"}, {"when"},
    ]  # fmt: skip
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert [event.scalars["when"] for event in ended] == [2.0, 5.0]
    assert not [name for event in ended for name in event.scalars if name.startswith("op_")]


def test_probes_are_chosen_by_name():
    assert probes.chosen("op_outputs, hessian_eigenvalue") == (
        EveryEpoch(OpOutputs()),
        EveryEpoch(probes.HessianEigenvalue()),
    )
    assert probes.chosen("op_outputs,op_outputs", 5) == (Every(5, OpOutputs()),)
    with pytest.raises(
        ValueError, match="no probe 'opoutputs'; choose among alpha_gradients, op_o"
    ):
        probes.chosen("opoutputs")
