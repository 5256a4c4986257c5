from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from workbench.protocols import Batch
from workbench.zero_cost.activation_scores import (
    JacobCov,
    LinearRegions,
    Naswot,
    agreements,
    correlation_score,
    log_det,
    relu_patterns,
)

pytestmark = pytest.mark.usefixtures("float64")


def codes(*rows: str) -> torch.Tensor:
    return torch.tensor([[letter == "1" for letter in row] for row in rows])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def no_labels(images: torch.Tensor) -> Batch:
    return Batch(images, torch.zeros(len(images)).long())


def test_agreements_of_patterns_written_by_hand() -> None:
    kernel = agreements([codes("110", "100", "001"), codes("1", "0", "0")])
    want = [[4, 2, 0], [2, 4, 2], [0, 2, 4]]  # units minus Hamming distance
    assert kernel.tolist() == want
    assert log_det(kernel) == pytest.approx(math.log(4 * (16 - 4) - 2 * 8))


def test_patterns_of_opposite_pictures_of_n_units_give_n_squared() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 7, bias=False), nn.ReLU())
    x = torch.randn(1, 1, 2, 2)
    images = torch.cat([x, -x])
    assert Naswot()(net, no_labels(images), seeded()) == pytest.approx(math.log(49))


def test_pictures_of_one_pattern_give_a_low_but_finite_score() -> None:
    assert -60 < log_det(agreements([codes("10", "10")])) < -20


def test_patterns_are_taken_of_every_relu_that_runs() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), relu, nn.Linear(3, 2), relu)
    seen = relu_patterns(net, torch.randn(5, 1, 2, 2))
    assert [tuple(code.shape) for code in seen] == [(5, 3), (5, 2)]
    assert not relu._forward_pre_hooks


def test_one_unit_cuts_the_pictures_in_two_regions_and_n_lines_in_general_position_bound_them():
    cut = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False), nn.ReLU())
    batch = no_labels(torch.zeros(1, 1, 1, 1))
    assert LinearRegions(samples=50, side=1)(cut, batch, seeded()) == 2
    # n thresholds on a line make n + 1 pieces; these are where the samples are
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 4), nn.ReLU())
    with torch.no_grad():
        net[1].weight.fill_(1.0)
        net[1].bias.copy_(torch.tensor([-1.0, -0.3, 0.3, 1.0]))
    assert LinearRegions(samples=500, side=1)(net, batch, seeded()) == 5


def test_regions_are_never_more_than_the_samples() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    batch = no_labels(torch.zeros(1, 1, 3, 3))
    assert LinearRegions(samples=20)(net, batch, seeded()) == 20


@pytest.mark.parametrize("n", [2, 5])
def test_uncorrelated_slopes_give_the_closed_form(n: int) -> None:
    k = 1e-5
    rows = torch.eye(8)[:n] - torch.eye(8)[n : 2 * n] if n < 4 else torch.zeros(n, 20)
    if n >= 4:
        for row in range(n):
            rows[row, 2 * row], rows[row, 2 * row + 1] = 1.0, -1.0
    assert correlation_score(rows, k) == pytest.approx(-n * (math.log(1 + k) + 1 / (1 + k)))
    assert correlation_score(3 * rows - 7, k) == pytest.approx(correlation_score(rows, k))


def test_slopes_that_are_all_alike_give_the_other_closed_form() -> None:
    k, n = 1e-5, 3
    rows = torch.arange(1.0, 5.0).repeat(n, 1)
    want = -(math.log(n + k) + 1 / (n + k)) - (n - 1) * (math.log(k) + 1 / k)
    assert correlation_score(rows, k) == pytest.approx(want, rel=1e-6)


def test_jacobian_of_a_linear_net_is_one_row_repeated() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    images = torch.randn(3, 1, 2, 2)
    row = net[1].weight.sum(dim=0).detach()
    want = correlation_score(row.repeat(3, 1))
    assert JacobCov()(net, no_labels(images), seeded()) == pytest.approx(want, rel=1e-6)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="JacobCov"):
        JacobCov(k=0)
    with pytest.raises(ValueError, match="LinearRegions"):
        LinearRegions(samples=1)
