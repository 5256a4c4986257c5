"""How an edge combines its operations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workbench.parts.edges import AuxiliarySkip, PartialChannels, SkipDropout, WeightedSum
from workbench.parts.schedules import Cosine, Linear, Scalar, scalar_at
from workbench.protocols import Edge
from workbench.spaces.ops import FactorizedReduce, op_factory


class Scale(nn.Module):
    """Multiplies by a number; notes how often it is called."""

    def __init__(self, factor: float, channels: int, stride: int) -> None:
        super().__init__()
        self.factor, self.built_for, self.calls = factor, (channels, stride), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.factor * x


def edge() -> WeightedSum:
    ops = {
        name: lambda c, s, factor=factor: Scale(factor, c, s)
        for name, factor in (("one", 1.0), ("ten", 10.0), ("hundred", 100.0))
    }
    return WeightedSum(ops, 6, 2)


@pytest.mark.usefixtures("float64")
def test_an_edge_is_the_weighted_sum_of_its_operations() -> None:
    x = torch.randn(2, 6, 3, 3)
    row = torch.tensor([0.5, 0.25, 0.125], requires_grad=True)
    out = edge()(x, row, 0.0)
    torch.testing.assert_close(out, (0.5 + 2.5 + 12.5) * x)
    (grad,) = torch.autograd.grad(out.sum(), row)
    torch.testing.assert_close(grad, x.sum() * torch.tensor([1.0, 10.0, 100.0]))


def test_operations_are_built_for_the_edges_channels_and_stride() -> None:
    assert {op.built_for for op in edge().ops.values()} == {(6, 2)}


def test_dropped_operations_are_deleted_and_the_rest_keeps_its_columns() -> None:
    mixed, x = edge(), torch.ones(1, 6, 2, 2)
    row = torch.tensor([0.5, 7.0, 0.25])
    mixed.drop([True, False, True])
    assert list(mixed.ops) == ["one", "hundred"]
    torch.testing.assert_close(mixed(x, row, 0.0), 25.5 * x)
    mixed.drop([False, False, True])
    torch.testing.assert_close(mixed(x, row, 0.0), 25.0 * x)
    mixed.drop([True, True, True])  # nothing comes back
    assert list(mixed.ops) == ["hundred"]


def test_every_operation_is_called_once() -> None:
    mixed = edge()
    mixed(torch.ones(1, 6, 2, 2), torch.zeros(3), 0.0)
    assert [op.calls for op in mixed.ops.values()] == [1, 1, 1]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        edge()(torch.ones(1, 6, 2, 2), torch.zeros(2), 0.0)


# Partial channels


def numbers(channels: int) -> torch.Tensor:
    """`(1, channels, 2, 2)`; channel i is i everywhere."""
    return torch.arange(float(channels)).reshape(1, -1, 1, 1).expand(1, channels, 2, 2)


def identity(channels: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else nn.AvgPool2d(2)


@pytest.mark.parametrize(
    ("channels", "order"),
    [
        (8, [0, 2, 4, 6, 1, 3, 5, 7]),
        (16, [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]),
    ],
)
def test_channels_are_shuffled_in_four_groups(channels: int, order: list[int]) -> None:
    mixed = PartialChannels(4)({"skip_connect": identity}, channels, 1)
    out = mixed(numbers(channels), torch.ones(1), 0.0)
    assert out[0, :, 0, 0].tolist() == order


def test_only_the_first_channels_meet_the_operations() -> None:
    mixed = PartialChannels(4)({"ten": lambda c, s: Scale(10.0, c, s)}, 8, 1)
    assert mixed.edge.ops["ten"].built_for == (2, 1)
    out = mixed(numbers(8), torch.tensor([0.5]), 0.0)
    assert sorted(out[0, :, 0, 0].tolist()) == [0, 2, 3, 4, 5, 5, 6, 7]  # 1 became 5


@pytest.mark.parametrize("size", [4, 5])
def test_what_passes_by_is_max_pooled_where_the_edge_strides(size: int) -> None:
    x = torch.randn(2, 4, size, size)
    ops = {"none": op_factory("none", affine=False)}
    out = PartialChannels(2)(ops, 4, 2)(x, torch.ones(1), 0.0)
    assert out.shape == (2, 4, (size + 1) // 2, (size + 1) // 2)
    assert torch.equal(out[:, 1, 0, 0], x[:, 2, :2, :2].amax(dim=(1, 2)))
    assert (out[:, 0::2] == 0).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_all_channels_are_the_plain_sum(stride: int) -> None:
    ops = {name: op_factory(name, affine=False) for name in ("sep_conv_3x3", "skip_connect")}
    torch.manual_seed(0)
    whole = WeightedSum(ops, 4, stride)
    torch.manual_seed(0)
    partial = PartialChannels(1)(ops, 4, stride)
    x, row = torch.randn(2, 4, 5, 5), torch.tensor([0.25, 0.75])
    assert torch.equal(partial(x, row, 0.0), whole(x, row, 0.0))


def test_channels_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Choose k in 1, 2, 4, 8, 16\.") as error:
        PartialChannels(3)({"skip_connect": identity}, 16, 1)
    assert str(error.value).startswith(
        "`PartialChannels(k=3)` needs channels divisible by k; this cell has 16."
    )
    with pytest.raises(ValueError, match="k of 1 or more"):
        PartialChannels(0)


# An auxiliary skip


def test_an_auxiliary_skip_is_added_outside_the_weights_and_fades_out() -> None:
    ops = {"ten": lambda c, s: Scale(10.0, c, s)}
    mixed = AuxiliarySkip()(ops, 6, 1)
    x = torch.randn(2, 6, 3, 3)
    for t, beta in ((0.0, 1.0), (0.5, 0.5), (0.98, 0.02), (1.0, 0.0)):
        torch.testing.assert_close(mixed(x, torch.tensor([0.5]), t), (5.0 + beta) * x)


@pytest.mark.parametrize(
    ("beta", "half", "last"),
    [
        (Linear(1.0, 0.0), 0.5, 0.02),
        (Cosine(1.0), 0.5, 0.00098664),
        (Cosine(1.0, -1.0, share=0.5), 0.70710678, 0.03141076),
    ],
    ids=["linear", "cosine", "slow cosine"],
)
def test_the_three_decays_have_their_known_values(beta: Scalar, half: float, last: float) -> None:
    assert AuxiliarySkip(beta).beta is beta
    assert scalar_at(beta, 0.0) == 1.0
    assert scalar_at(beta, 0.5) == pytest.approx(half)
    assert scalar_at(beta, 49 / 50) == pytest.approx(last, rel=1e-5)
    assert scalar_at(beta, 1.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("ops", [("none",), ("none", "skip_connect")])
def test_an_auxiliary_skip_that_strides_has_weights_of_its_own(ops: tuple[str, ...]) -> None:
    factories = {name: op_factory(name, affine=False) for name in ops}
    plain, aided = WeightedSum(factories, 8, 2), AuxiliarySkip()(factories, 8, 2)
    assert isinstance(aided.skip, FactorizedReduce)
    extra = sum(w.numel() for w in aided.parameters()) - sum(w.numel() for w in plain.parameters())
    assert extra == sum(w.numel() for w in aided.skip.parameters()) == 8 * 8
    assert not list(AuxiliarySkip()({"none": factories["none"]}, 8, 1).parameters())


# Dropout on skips


def skips(rate: Scalar, seed: int = 0, stride: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    ops = {name: op_factory(name, affine=False) for name in ("skip_connect", "avg_pool_3x3")}
    return SkipDropout(rate)(ops, 2, stride)


ONLY_SKIP = torch.tensor([1.0, 0.0])
MAP = torch.ones(1, 2, 100, 100)


def test_a_share_of_the_identity_is_dropped_and_the_rest_keeps_the_mean() -> None:
    out = skips(0.4)(MAP, ONLY_SKIP, 0.5)
    assert sorted(out.unique().tolist()) == pytest.approx([0.0, 1 / 0.6])
    assert (out == 0).float().mean() == pytest.approx(0.4, abs=0.02)


def test_other_operations_and_skips_that_stride_are_left_alone() -> None:
    only_pool = torch.tensor([0.0, 1.0])
    assert torch.equal(skips(0.4)(MAP, only_pool, 0.5), MAP)
    strided = skips(0.4, stride=2)
    assert isinstance(strided.edge.ops["skip_connect"], FactorizedReduce)
    x = torch.randn(4, 2, 8, 8)
    torch.testing.assert_close(
        strided(x, ONLY_SKIP, 0.5), strided.edge.ops["skip_connect"](x), rtol=0, atol=0
    )


def test_without_a_rate_or_in_evaluation_nothing_is_dropped() -> None:
    assert torch.equal(skips(0.0)(MAP, ONLY_SKIP, 0.5), MAP)
    assert torch.equal(skips(Linear(0.4, 0.0))(MAP, ONLY_SKIP, 1.0), MAP)
    assert torch.equal(skips(0.4).eval()(MAP, ONLY_SKIP, 0.5), MAP)


def test_a_mask_follows_from_seed_and_progress_alone() -> None:
    mixed = skips(0.4)
    first = mixed(MAP, ONLY_SKIP, 0.5)
    state = torch.get_rng_state()
    other = mixed(MAP, ONLY_SKIP, 0.5001)
    assert torch.equal(mixed(MAP, ONLY_SKIP, 0.5), first)
    assert torch.equal(torch.get_rng_state(), state)  # nothing global is drawn
    assert torch.equal(skips(0.4)(MAP, ONLY_SKIP, 0.5), first)
    both = ((first == 0) & (other == 0)).float().mean()
    assert both == pytest.approx(0.4 * 0.4, abs=0.02)  # as two independent masks have
    twin = ((first == 0) & (skips(0.4, seed=1)(MAP, ONLY_SKIP, 0.5) == 0)).float().mean()
    assert twin == pytest.approx(0.4 * 0.4, abs=0.02)


@pytest.mark.parametrize("rate", [-0.1, 1.0, Linear(0.0, 1.0)])
def test_a_rate_is_one(rate: Scalar) -> None:
    with pytest.raises(ValueError, match=r"needs a rate in \[0, 1\)"):
        SkipDropout(rate)


# All of them


@pytest.mark.parametrize("edge", [PartialChannels(2), AuxiliarySkip(), SkipDropout(0.3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_dropping_dead_operations_changes_nothing(edge: Edge, stride: int) -> None:
    names = ("none", "skip_connect", "sep_conv_3x3")
    torch.manual_seed(0)
    mixed = edge({name: op_factory(name, affine=False) for name in names}, 4, stride)
    assert not mixed.plain_sum
    x, row = torch.randn(2, 4, 6, 6), torch.tensor([0.0, 0.0, 0.7])
    before = mixed(x, row, 0.25)
    count = sum(w.numel() for w in mixed.parameters())
    mixed.drop([False, False, True])
    torch.testing.assert_close(mixed(x, row, 0.25), before, rtol=0, atol=0)
    assert (sum(w.numel() for w in mixed.parameters()) < count) == (stride == 2)
    mixed.drop([False, False, False])
    assert mixed(x, row, 0.25).shape == before.shape


def test_edges_wrap_each_other() -> None:
    edge = AuxiliarySkip(0.5, edge=PartialChannels(2, edge=SkipDropout(0.0)))
    mixed = edge({"skip_connect": op_factory("skip_connect", affine=False)}, 4, 1)
    out = mixed(numbers(4), torch.ones(1), 0.0)
    assert out[0, :, 0, 0].tolist() == [0.0, 2.5, 2.0, 4.5]  # [0, 2, 1, 3] and half of [0, 1, 2, 3]
