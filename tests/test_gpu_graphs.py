"""Searches whose steps are captured on a GPU.

By themselves: a capture that fails can leave a process whose GPU is out of order.
"""

from __future__ import annotations

import pytest
import torch

from tests.tiny import SPACES, shrunk, start, tiny_data
from tests.waiting import no_waiting
from workbench import Machine, methods
from workbench.engine.step_graphs import WARM_UP
from workbench.events import Stepped
from workbench.method import Method
from workbench.parts.arch_optimizers import Adam
from workbench.parts.relaxations import Softmax
from workbench.parts.sampling import Concrete
from workbench.parts.schedules import Linear
from workbench.protocols import Clock
from workbench.search import search
from workbench.spaces.space import Space

pytestmark = [
    pytest.mark.gpu,
    # Of graphs of passes, whose gradients are on another stream than torch expects.
    pytest.mark.filterwarnings("ignore:.*AccumulateGrad node's stream:UserWarning"),
]

METHODS: dict[str, Method] = {
    "first order": methods.darts,
    "second order": methods.darts_second_order,
    "single level": methods.single_level,
    "drawn": methods.darts.but(relaxation=Concrete(0.5)),
    "sparsemax, pruned": methods.entmax2_prune.but(arch_optimizer=Adam(lr=0.03)),
    "entmax, pruned": methods.entmax3_prune.but(arch_optimizer=Adam(lr=0.03)),
    "graphs of passes": methods.darts.but(relaxation=Softmax(Linear(1.0, 0.5))),
}


def alphas(method: Method, space: Space, machine: Machine) -> torch.Tensor:
    """Of every step, `(steps, numbers)`."""
    events = search(method, space, tiny_data(), machine=machine)
    steps = [event for event in events if isinstance(event, Stepped)]
    return torch.stack([torch.cat([x.flatten() for x in e.alpha.values()]) for e in steps])


@pytest.mark.parametrize("settings", [{}, {"fused": True}, {"engine": "triton"}], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_a_captured_search_stays_with_the_search(name: str, settings: dict[str, object]) -> None:
    method, space = shrunk(METHODS[name], epochs=5), SPACES["darts"]
    plain = alphas(method, space, Machine("cuda", "float64"))
    captured = alphas(method, space, Machine("cuda", "float64", graphs=True, **settings))
    assert len(plain) > WARM_UP + 5
    assert torch.allclose(plain, captured, rtol=0, atol=1e-7)


def test_a_captured_step_is_few_launches_and_keeps_the_host_waiting_for_nothing() -> None:
    machine = Machine("cuda", graphs=True, fused=True)
    run = start(shrunk(methods.darts), SPACES["darts"], machine=machine)
    for step in range(WARM_UP + 1):
        run.step(Clock(0, 0, 1, step, 9))
    with no_waiting():
        run.step(Clock(0, 0, 1, WARM_UP + 1, 9))
    with torch.profiler.profile(acc_events=True) as profile:
        run.step(Clock(0, 0, 1, WARM_UP + 2, 9))
    launches = [event for event in profile.events() if "Launch" in event.name]
    assert sum("Graph" in event.name for event in launches) == 1
    assert len(launches) < 200  # operation by operation it is thousands
