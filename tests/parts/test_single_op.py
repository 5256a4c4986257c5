"""The edge that runs only what weighs something."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import SPACES
from workbench.parts.edges import AuxiliarySkip, WeightedSum
from workbench.parts.sampling import HardConcrete
from workbench.parts.single_op import SingleOp, _SingleOp
from workbench.protocols import EdgeForm, Mixture
from workbench.spaces.darts import darts
from workbench.spaces.space import Space
from workbench.spaces.supernet import SearchCell, Supernet


class Scale(nn.Module):
    """Multiplies by a number; notes how often it is called."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.calls = factor, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.factor * x


def edge(*, broadcast: bool = False) -> nn.Module:
    factors = {"one": 1.0, "ten": 10.0, "hundred": 100.0}
    ops = {name: lambda c, s, factor=factor: Scale(factor) for name, factor in factors.items()}
    return SingleOp(broadcast)(ops, 6, 2)


def drawn(space: Space, logits: dict[str, Tensor], seed: int = 0) -> dict[str, Mixture]:
    """One operation for every edge."""
    generator = torch.Generator().manual_seed(seed)
    return {
        cell.kind: Mixture(
            HardConcrete(1.0).sample(
                logits[cell.kind], torch.tensor(cell.candidates), 0.0, generator
            )
        )
        for cell in space.cells
    }


def zeros(space: Space) -> dict[str, Tensor]:
    return {c.kind: torch.zeros(len(c.edges), len(c.columns)) for c in space.cells}


def supernet(space: Space, build: object) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space, edge=build, in_channels=1)


def discrete(space: Space, mixtures: dict[str, Mixture]) -> Space:
    """The space whose every edge has the chosen operation alone."""
    cells = [
        replace(
            cell,
            ops=tuple((cell.columns[k],) for k in mixtures[cell.kind].ops.argmax(1).tolist()),
        )
        for cell in space.cells
    ]
    return replace(space, cells=tuple(cells))


@pytest.mark.parametrize("name", SPACES)
def test_a_pass_is_that_of_the_discrete_supernet_of_the_drawn_operations(name: str) -> None:
    """To the bit, in training mode; its weights get the same gradients too."""
    space, images = SPACES[name], torch.randn(4, 1, 8, 8)
    net, trained = supernet(space, SingleOp()), []
    for seed in range(3):
        mixtures = drawn(space, zeros(space), seed)
        one = supernet(discrete(space, mixtures), WeightedSum)
        own, whole = one.state_dict(), net.state_dict()
        one.load_state_dict({key: whole[key] for key in own})
        rows = {c.kind: Mixture(torch.tensor(c.candidates).float()) for c in one.space.cells}
        got, want = net(images, mixtures), one(images, rows)
        assert torch.equal(got, want)
        got.square().sum().backward()
        want.square().sum().backward()
        grads = {key: weight.grad for key, weight in net.named_parameters()}
        for key, weight in one.named_parameters():  # those before a `none` get no gradient
            assert (weight.grad is None) == (grads[key] is None)
            assert weight.grad is None or torch.equal(weight.grad, grads[key])
        own = {key for key, weight in one.named_parameters() if weight.grad is not None}
        assert {key for key, grad in grads.items() if grad is not None} == own
        trained.append(len(own))
        net.zero_grad()
    assert max(trained) > 10  # not the head's alone


def test_one_operation_runs_on_every_edge() -> None:
    space = darts(channels=4, cells=3, nodes=2)
    net, ran = supernet(space, SingleOp()), []
    cells = [block for block in net.blocks if isinstance(block, SearchCell)]
    for place, cell in enumerate(cells):
        for index, mixed in enumerate(cell.edges):
            for op, module in mixed.ops.items():
                module.register_forward_hook(
                    lambda *_, at=(place, index), op=op: ran.append((*at, op))
                )
    mixtures = drawn(space, zeros(space))
    net(torch.randn(2, 1, 8, 8), mixtures)
    want = [
        (place, index, cell.shape.columns[column])
        for place, cell in enumerate(cells)
        for index, column in enumerate(mixtures[cell.kind].ops.argmax(1).tolist())
    ]
    assert sorted(ran) == sorted(want)


def test_the_gradient_is_the_chosen_outputs_and_a_row_of_the_softmax() -> None:
    """<dL/dy, k(x)> dz_k/dalpha, which sums to 0 over an edge's operations."""
    x, upstream = torch.randn(2, 6, 3, 3), torch.randn(2, 6, 3, 3)
    alpha = torch.tensor([[0.2, -0.1, 0.4]], requires_grad=True)
    alive, tau = torch.ones(1, 3, dtype=torch.bool), 0.7
    chosen = set()
    for seed in range(12):
        row = HardConcrete(tau).sample(alpha, alive, 0.0, torch.Generator().manual_seed(seed))[0]
        k = int(row.argmax())
        chosen.add(k)
        (grad,) = torch.autograd.grad((upstream * edge()(x, row, 0.0)).sum(), alpha)
        # The soft draw, whose softmax row is the gradient of its own k-th number.
        generator = torch.Generator().manual_seed(seed)
        noise = -torch.empty_like(alpha).exponential_(generator=generator).log()
        z = ((alpha + noise) / tau).softmax(1).detach()[0]
        (unit,) = torch.eye(3)[k : k + 1]
        want = (upstream * (1.0, 10.0, 100.0)[k] * x).sum() * z[k] * (unit - z) / tau
        torch.testing.assert_close(grad[0], want, rtol=1e-4, atol=1e-4)
        assert grad.sum().abs() < 1e-5 * grad.abs().max()
    assert chosen == {0, 1, 2}


def test_broadcast_weights_change_the_gradient_and_not_the_value() -> None:
    x, upstream = torch.randn(2, 6, 3, 3), torch.randn(2, 6, 3, 3)
    row = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
    clean, mixed = edge()(x, row, 0.0), edge(broadcast=True)(x, row, 0.0)
    assert torch.equal(clean, mixed)
    (first,) = torch.autograd.grad((upstream * clean).sum(), row)
    (second,) = torch.autograd.grad((upstream * mixed).sum(), row)
    torch.testing.assert_close(second[[0, 2]], upstream.sum().expand(2))
    assert torch.equal(first, second * torch.tensor([0, 1, 0]))


def test_a_row_that_is_not_one_hot_gives_the_sum_of_what_weighs_something() -> None:
    mixed, x = edge(), torch.randn(2, 6, 3, 3)
    torch.testing.assert_close(mixed(x, torch.tensor([0.5, 0.0, 0.25]), 0.0), 25.5 * x)
    assert [op.calls for op in mixed.ops.values()] == [1, 0, 1]


def test_a_whole_supernet_under_soft_rows_is_the_weighted_sum() -> None:
    space, images = SPACES["darts"], torch.randn(2, 1, 8, 8)
    nets = [supernet(space, build) for build in (SingleOp(), WeightedSum)]
    outs = [net(images, nets[0].uniform_mixtures()) for net in nets]
    torch.testing.assert_close(*outs)


def test_dropped_operations_are_deleted_and_an_edge_without_any_gives_zeros() -> None:
    mixed, x = edge(), torch.ones(1, 6, 4, 4)
    mixed.drop([True, False, True])
    assert list(mixed.ops) == ["one", "hundred"]
    torch.testing.assert_close(mixed(x, torch.tensor([0.0, 0.0, 1.0]), 0.0), 100 * x)
    assert torch.equal(mixed(x, torch.zeros(3), 0.0), torch.zeros(1, 6, 2, 2))


@pytest.mark.parametrize("name", SPACES)
def test_what_runs_is_read_once_for_a_whole_pass(name: str) -> None:
    """And is what every edge, asked by itself, reads from its row."""
    space, images, told = SPACES[name], torch.randn(2, 1, 8, 8), []
    net = supernet(space, SingleOp())
    edges = [edge for block in net.blocks if isinstance(block, SearchCell) for edge in block.edges]
    for mixed in edges:
        mixed.register_forward_pre_hook(lambda _, inputs: told.append(inputs))
    mixtures = {
        kind: Mixture(mixture.ops * (torch.rand_like(mixture.ops) < 0.4))
        for kind, mixture in net.uniform_mixtures().items()
    }
    net(images, mixtures)
    assert len(told) == len(edges)
    for _, row, _, runs in told:
        assert runs == (row != 0).tolist()
    assert len({tuple(runs) for *_, runs in told}) > 1


class Doubled(_SingleOp):
    """It chooses, but takes what other edges take."""

    def forward(self, x: Tensor, row: Tensor, t: float) -> Tensor:
        return 2 * super().forward(x, row, t)


def test_what_a_class_says_is_of_its_own_forward() -> None:
    def build(ops: object, channels: int, stride: int) -> nn.Module:
        return Doubled(ops, channels, stride, broadcast=False)

    space, images = SPACES["darts"], torch.randn(2, 1, 8, 8)
    net = supernet(space, build)
    assert torch.isfinite(net(images, drawn(space, zeros(space)))).all()
    assert EdgeForm.of(net.blocks[0].edges[0]) is None


def test_an_edge_inside_another_reads_for_itself() -> None:
    space, images = SPACES["darts"], torch.randn(2, 1, 8, 8)
    nets = [supernet(space, AuxiliarySkip(edge=edge)) for edge in (SingleOp(), WeightedSum)]
    mixtures = drawn(space, zeros(space))
    torch.testing.assert_close(nets[0](images, mixtures, 0.5), nets[1](images, mixtures, 0.5))


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        edge()(torch.ones(1, 6, 2, 2), torch.zeros(2), 0.0)


def test_the_fast_supernet_would_not_compute_the_same() -> None:
    assert not edge().plain_sum
