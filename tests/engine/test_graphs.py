"""Captured passes: what they are captured for, and when they are not used.

There is no GPU here to capture on: a stand-in makes trial runs, as torch does, and counts.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from tests.spaces.supernets import TINY, images, mixed, rows_of, supernet
from workbench.bilevel import frozen_statistics
from workbench.engine import FastSupernet
from workbench.protocols import Mixture


@dataclass
class StandIn:
    """Runs what it was to capture."""

    captured: list[tuple[Tensor, ...]] = field(default_factory=list)
    replayed: int = 0

    def __call__(self, module: nn.Module, sample: tuple[Tensor, ...], **_: object):
        self.captured.append(sample)
        for _ in range(3):
            module(*sample)

        def replay(*tensors: Tensor) -> Tensor:
            self.replayed += 1
            return module(*tensors)

        return replay


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", stand_in)
    return stand_in


def nets() -> tuple[FastSupernet, FastSupernet]:
    return tuple(
        FastSupernet(supernet(TINY["darts"]), kernels=None, graphs=graphs)
        for graphs in (False, True)
    )


def constants() -> dict[str, Mixture]:
    return {kind: Mixture(m.ops.detach()) for kind, m in mixed(rows_of(TINY["darts"])).items()}


def test_a_captured_pass_is_the_pass_statistics_included(graphs: StandIn) -> None:
    plain, net = nets()
    for seed in range(3):
        assert torch.equal(net(images(seed), constants()), plain(images(seed), constants()))
    state = plain.state_dict()
    assert all(torch.equal(x, state[name]) for name, x in net.state_dict().items())
    assert len(graphs.captured) == 1
    assert graphs.replayed == 3


def test_another_shape_and_rows_that_want_a_gradient_are_captured_by_themselves(
    graphs: StandIn,
) -> None:
    _, net = nets()
    for batch in (images(), images()[:2], images()):
        net(batch, constants())
        net(batch, mixed(rows_of(TINY["darts"])))
    assert len(graphs.captured) == 4
    assert [sample[1].requires_grad for sample in graphs.captured] == [False, True] * 2


def test_a_pruning_asks_for_a_new_capture(graphs: StandIn) -> None:
    plain, net = nets()
    net(images(), constants())
    plain(images(), constants())
    alive = {kind: torch.rand(m.ops.shape) > 0.4 for kind, m in constants().items()}
    for each in (plain, net):
        each.drop(alive)
    assert torch.equal(net(images(1), constants()), plain(images(1), constants()))
    assert len(graphs.captured) == 2


def test_other_weights_frozen_statistics_and_evaluation_are_not_captured(graphs: StandIn) -> None:
    plain, net = nets()
    shifted = {name: weight.detach() + 0.1 for name, weight in net.named_parameters()}
    found = functional_call(net, shifted, (images(), constants()))
    assert torch.equal(found, functional_call(plain, shifted, (images(), constants())))
    with frozen_statistics(net):
        net(images(), constants())
    with torch.no_grad():
        net(images(), constants())
    net.eval()(images(), constants())
    assert not graphs.captured


def test_a_pass_whose_gradient_is_pending_keeps_its_memory(graphs: StandIn) -> None:
    _, net = nets()
    rows = mixed(rows_of(TINY["darts"]))
    first = net(images(), rows)
    second = net(images(1), rows)
    assert graphs.replayed == 1, "the second ran operation by operation"
    torch.autograd.grad(first.sum() + second.sum(), [m.ops for m in rows.values()])
    net(images(2), rows)
    assert graphs.replayed == 2


def test_a_pass_that_nobody_differentiates_blocks_none(graphs: StandIn) -> None:
    _, net = nets()
    for seed in range(3):
        net(images(seed), mixed(rows_of(TINY["darts"])))
    assert graphs.replayed == 3


def test_a_copy_captures_for_itself(graphs: StandIn) -> None:
    _, net = nets()
    net(images(), constants())
    copy = deepcopy(net)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.zero_()
    assert not torch.equal(copy(images(), constants()), net(images(), constants()))
    assert len(graphs.captured) == 2
