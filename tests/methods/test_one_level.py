"""Searches on one level."""

from __future__ import annotations

import torch

from tests.tiny import READABLE, SPACES, assert_same, moved, searched, shrunk, trajectory
from workbench.events import EpochEnded, Stopped
from workbench.methods import hou_jin, hou_jin_small, single_level
from workbench.parts.arch_optimizers import Adam
from workbench.parts.relaxations import Softmax
from workbench.parts.stopping import ModelSize


def test_with_a_softmax_and_darts_rate_hou_and_jin_is_the_single_level() -> None:
    same = hou_jin.but(relaxation=Softmax(), arch_optimizer=Adam())
    runs = [
        searched(shrunk(method, epochs=2, batch_size=24), SPACES["darts"], machine=READABLE)
        for method in (same, single_level, hou_jin)
    ]
    assert moved(runs[0])
    assert_same(trajectory(runs[0]), trajectory(runs[1]))
    first = [next(e for e in run if hasattr(e, "mix")) for run in runs[1:]]
    assert not torch.equal(first[0].mix["normal"], first[1].mix["normal"])


def test_sigmoids_of_an_edge_do_not_see_each_other() -> None:
    relaxation, alive = hou_jin.stages[0].relaxation, torch.ones(3, 5, dtype=torch.bool)
    jacobian = torch.autograd.functional.jacobian(
        lambda z: relaxation.mix(z, alive, 0.0), torch.randn(3, 5).double()
    ).reshape(15, 15)
    assert (jacobian.diagonal() > 0).all()
    assert torch.equal(jacobian, jacobian.diagonal().diag())


def test_its_search_ends_when_it_is_told_a_size() -> None:
    method = shrunk(hou_jin, epochs=3, batch_size=24)
    for size, epochs in ((None, 3), (10**9, 1)):
        events = searched(method.but(stop=ModelSize(size)), SPACES["darts"], machine=READABLE)
        assert sum(isinstance(event, EpochEnded) for event in events) == epochs
        assert any(isinstance(event, Stopped) for event in events) == (epochs == 1)


def test_alphas_are_slow_on_digits_too() -> None:
    rates = [m.stages[0].arch_optimizer.lr for m in (hou_jin, single_level, hou_jin_small)]
    assert rates == sorted(rates)
    assert rates[-1] < 5e-3
