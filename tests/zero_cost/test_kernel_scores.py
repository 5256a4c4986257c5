from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from workbench.protocols import Batch
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import Network
from workbench.spaces.skeleton import Head
from workbench.tables import genotype_of
from workbench.zero_cost import SCALARS, zen_score
from workbench.zero_cost.kernel_scores import (
    BnTerm,
    ConditionNumber,
    KernelScore,
    LabelGradientAlignment,
    ZenPaperA,
    alignment,
)
from workbench.zero_cost.scratch import ProxyError
from workbench.zero_cost.zen_nas import ZenNas, pooled_maps

pytestmark = pytest.mark.usefixtures("float64")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 6) -> Batch:
    return Batch(torch.randn(count, 1, 5, 5, generator=seeded(1)), torch.arange(count) % 2)


def normed_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3, eps=1e-14),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4, eps=1e-14),
        Head(4, 3),
    )


# --- kernels --------------------------------------------------------------------------------------


def test_kernel_scores_of_a_linear_net_are_those_of_the_gram_matrix_times_the_classes() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(25, 4, bias=False))
    x = batch().images.flatten(1)
    for name, scalar in SCALARS.items():
        want = float(scalar.value(4 * x @ x.T))
        proxy = ConditionNumber() if name == "cond" else KernelScore(name)
        assert proxy(net, batch(), seeded()) == pytest.approx(want)


def test_mean_gram_is_the_squared_norm_of_the_mean_gradient() -> None:
    net, data = normed_net(), batch()
    mean = torch.autograd.grad(net(data.images).sum(dim=1).mean(), list(net.parameters()))
    want = sum(float(g.square().sum()) for g in mean)
    assert KernelScore("mean")(net, data, seeded()) == pytest.approx(want)


def test_alignment_is_one_for_the_kernel_of_the_labels_and_minus_one_for_its_opposite() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1])
    same = 2.0 * (labels[:, None] == labels[None]) - 1
    assert alignment(3 * same + 8, labels) == pytest.approx(1)
    assert alignment(-same, labels) == pytest.approx(-1)
    assert alignment(torch.full((5, 5), 0.3), labels) == 0


def test_alignment_of_classes_that_stand_apart_is_high_and_of_shuffled_ones_is_not() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(25, 2, bias=False))
    labels = torch.arange(8) % 2
    images = torch.randn(8, 1, 5, 5, generator=seeded(3)) * 0.1
    images[labels == 1] += 1
    images[labels == 0] -= 1
    apart = LabelGradientAlignment()(net, Batch(images, labels), seeded())
    mixed = LabelGradientAlignment()(net, Batch(images, torch.arange(8) // 4), seeded())
    assert apart > 0.99
    assert abs(mixed) < 0.3


def test_alignment_refuses_a_batch_of_one_class() -> None:
    with pytest.raises(ProxyError, match="two or more classes"):
        alignment(torch.eye(3), torch.zeros(3))


# --- paper A's Zen and the batch-norm term -------------------------------------------------------


def test_scaling_a_convolution_adds_its_logarithm_to_the_term_of_each_batch_norm_behind() -> None:
    net = normed_net()
    before = BnTerm()(net, batch(), seeded())
    with torch.no_grad():
        net[0].weight.mul_(10)
    assert BnTerm()(net, batch(), seeded()) - before == pytest.approx(2.302585, abs=1e-6)


def test_a_network_without_batch_norm_has_the_term_zero() -> None:
    assert BnTerm()(nn.Sequential(nn.Flatten(), nn.Linear(25, 2)), batch(), seeded()) == 0


def test_zen_is_log_kernel_plus_batch_norm_term() -> None:
    net = normed_net()
    kernel = math.log(KernelScore("fro")(net, batch(), seeded()))
    term = BnTerm()(net, batch(), seeded())
    assert ZenPaperA(0.3, 0.7)(net, batch(), seeded()) == pytest.approx(0.3 * kernel + 0.7 * term)


class Logits(nn.Module):
    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)[0]


def test_zen_is_the_score_of_zen_score() -> None:
    cell = Genotype.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|")
    found = zen_score(cell, channels=2, cells=1, in_channels=1, size=(8, 8), batch_size=4, seed=5)
    torch.manual_seed(5)
    net = Logits(Network(cell, channels=2, cells=1, in_channels=1))
    data = Batch(torch.randn(4, 1, 8, 8), torch.zeros(4).long())
    assert ZenPaperA()(net, data, seeded()) == pytest.approx(found.zen)


# --- Zen-NAS --------------------------------------------------------------------------------------


def linear_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), Head(3, 2))


def test_twice_the_change_adds_log_two_for_a_linear_net() -> None:
    one, two = (ZenNas(gamma=g)(linear_net(), batch(), seeded()) for g in (0.01, 0.02))
    assert two - one == pytest.approx(math.log(2), abs=1e-9)


def test_zen_nas_of_a_convolution_without_batch_norm_is_its_response_to_noise() -> None:
    net = linear_net()
    found = ZenNas(weights="own")(net, batch(), seeded(4))
    generator = seeded(4)
    torch.randint(2**31, (), generator=generator)  # the copy's own seed
    torch.randn(6, 1, 5, 5, generator=generator)  # the pictures cancel
    change = 0.01 * torch.randn(6, 1, 5, 5, generator=generator)
    want = float(net[0](change).detach().abs().flatten(1).sum(1).mean().log())
    assert found == pytest.approx(want, rel=1e-9)


def test_weights_are_drawn_anew_so_those_at_hand_do_not_count() -> None:
    net = normed_net()
    before = ZenNas()(net, batch(), seeded())
    own = ZenNas(weights="own")(net, batch(), seeded())
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(3)
    assert ZenNas()(net, batch(), seeded()) == before
    assert ZenNas(weights="own")(net, batch(), seeded()) != own


def test_the_scale_of_a_normed_convolution_counts_once_in_zen_nas() -> None:
    """Its map is normed, so only the batch-norm term sees it: + log s."""
    net = normed_net()
    before = ZenNas(weights="own")(net, batch(), seeded())
    with torch.no_grad():
        net[3].weight.mul_(10)
    after = ZenNas(weights="own")(net, batch(), seeded())
    assert after - before == pytest.approx(math.log(10), abs=1e-6)


def test_running_variances_are_those_after_both_passes() -> None:
    net = normed_net()
    first = ZenNas(bn="running", weights="own")(net, batch(), seeded())
    with torch.no_grad():
        net[3].weight.mul_(1e6)
    second = ZenNas(bn="running", weights="own")(net, batch(), seeded())
    assert second - first < math.log(1e6)  # a moving average that begins at 1 hides some of it
    assert second - first > math.log(1e6) - 3


def test_maps_are_taken_before_pooling_and_behind_the_norm_of_the_head() -> None:
    bare, normed = Head(3, 2), Head(3, 2, norm=True)
    x = torch.randn(4, 3, 5, 5)
    for head in (bare, normed):
        with pooled_maps(head) as maps:
            head(x)
        want = x if head.last is None else head.last(x)
        torch.testing.assert_close(maps[0], want)
        assert not head._forward_pre_hooks


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="gamma"):
        ZenNas(gamma=0)
    with pytest.raises(ValueError, match="weights"):
        ZenNas(weights="best")
    with pytest.raises(ValueError, match=r"scalar='cond'.*ConditionNumber"):
        KernelScore("cond")


def test_trace_and_frobenius_norm_rank_random_cells_alike() -> None:
    """As measured on random cells: rho is above 0.98."""
    draws = torch.randint(5, (14, 6), generator=seeded(2)).tolist()
    data = Batch(torch.randn(6, 3, 8, 8, generator=seeded(1)), torch.zeros(6).long())
    columns: dict[str, list[float]] = {"fro": [], "trace": []}
    for digits in draws:
        torch.manual_seed(0)
        net = Logits(Network(genotype_of("".join(map(str, digits))), channels=4, cells=1))
        for name, column in columns.items():
            column.append(KernelScore(name)(net, data, seeded()))
    ranks = torch.stack([torch.tensor(x).argsort().argsort().double() for x in columns.values()])
    assert len(set(columns["fro"])) > 10
    assert torch.corrcoef(ranks)[0, 1] > 0.98
