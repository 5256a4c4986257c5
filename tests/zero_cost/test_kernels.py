from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from workbench.zero_cost import SCALARS, gradients, log_ntk, network_log_ntk, ntk

pytestmark = pytest.mark.usefixtures("float64")


def normed_net(*, smooth: bool = False) -> nn.Sequential:
    """Two convolutions, each followed by a batch norm, and a classifier."""
    act = nn.Tanh if smooth else nn.ReLU
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3, affine=False, eps=1e-14),
        act(),
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4, affine=False, eps=1e-14),
        act(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def images(batch: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(batch, 1, 7, 7, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(3)
    return normed_net()


def weights_of(net: nn.Module) -> list[Tensor]:
    return list(net.parameters())


def kernel_of(net: nn.Module, x: Tensor) -> Tensor:
    return ntk(net(x), weights_of(net))


def test_kernel_of_a_linear_net_is_the_gram_matrix_times_the_classes() -> None:
    torch.manual_seed(0)
    net, x = nn.Linear(5, 3, bias=False), torch.randn(4, 5)
    torch.testing.assert_close(kernel_of(net, x), 3 * x @ x.T)


def test_rows_are_gradients_of_single_samples_where_samples_do_not_meet() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    x = torch.randn(4, 5)
    rows = gradients(net(x), weights_of(net))
    alone = torch.cat([gradients(net(one[None]), weights_of(net)) for one in x])
    torch.testing.assert_close(rows, alone)


def test_a_weight_that_is_not_used_has_a_gradient_of_zeros(net: nn.Sequential) -> None:
    unused = torch.ones(3, requires_grad=True)
    rows = gradients(net(images()), [*weights_of(net), unused])
    assert rows[:, -3:].abs().max() == 0
    assert rows.shape == (6, sum(w.numel() for w in net.parameters()) + 3)


def test_mean_of_the_kernel_is_the_squared_norm_of_the_mean_gradient(net: nn.Sequential) -> None:
    logits = net(images())
    mean = gradients(logits, weights_of(net)).mean(dim=0)
    value = SCALARS["mean"].value(ntk(logits, weights_of(net)))
    torch.testing.assert_close(value, mean.square().sum())


def test_kernel_is_symmetric_and_positive_semidefinite(net: nn.Sequential) -> None:
    kernel = kernel_of(net, images())
    assert torch.equal(kernel, kernel.T)
    values = torch.linalg.eigvalsh(kernel)
    assert values[0] > -1e-12 * values[-1]


def test_kernel_is_float64_of_a_float32_network(net: nn.Sequential) -> None:
    assert kernel_of(net.float(), images().float()).dtype == torch.float64


def test_permuted_batch_permutes_the_kernel_even_where_batch_norm_couples_it(
    net: nn.Sequential,
) -> None:
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    before, after = kernel_of(net, images()), kernel_of(net, images()[order])
    torch.testing.assert_close(after, before[order][:, order])


def test_batch_norm_in_training_mode_couples_the_samples(net: nn.Sequential) -> None:
    other = images()
    other[5] *= 2
    change = kernel_of(net, other)[:5, :5] - kernel_of(net, images())[:5, :5]
    assert change.abs().max() > 1e-3
    net.eval()
    change = kernel_of(net, other)[:5, :5] - kernel_of(net, images())[:5, :5]
    assert change.abs().max() < 1e-12


@pytest.mark.parametrize("n", [2, 5, 9])
def test_condition_number_of_one_to_n_on_the_diagonal_is_n(n: int) -> None:
    kernel = torch.diag(torch.arange(1.0, n + 1))
    assert SCALARS["cond"].value(kernel).item() == pytest.approx(n)
    assert SCALARS["lmin"].value(kernel).item() == pytest.approx(1.0)
    assert log_ntk(kernel, "cond").item() == pytest.approx(-math.log(n))


def test_condition_number_of_a_repeated_sample_is_huge_but_finite(net: nn.Sequential) -> None:
    x = images()
    x[3] = x[1]
    kernel = kernel_of(net, x)
    condition = SCALARS["cond"].value(kernel).item()
    assert 1e12 < condition < 1e16
    assert 0 < SCALARS["lmin"].value(kernel).item() < 1e-10 * SCALARS["trace"].value(kernel)
    noisy = kernel - 1e-9 * torch.eye(6)  # a negative eigenvalue
    assert 1e12 < SCALARS["cond"].value(noisy).item() < 1e16


@pytest.mark.parametrize("scalar", list(SCALARS))
def test_log_of_a_kernel_of_zeros_is_finite(scalar: str) -> None:
    assert math.isfinite(log_ntk(torch.zeros(4, 4), scalar))


def test_better_kernels_have_larger_logarithms_whichever_way_the_scalar_points() -> None:
    good, bad = torch.diag(torch.tensor([2.0, 3.0])), torch.diag(torch.tensor([1.0, 3.0]))
    for scalar in ("fro", "trace", "mean", "cond", "lmin"):
        assert log_ntk(good, scalar) > log_ntk(bad, scalar)


def test_only_the_scale_free_scalars_ignore_the_scale_of_the_kernel(net: nn.Sequential) -> None:
    kernel = kernel_of(net, images())
    for name, scalar in SCALARS.items():
        ratio = (scalar.value(10 * kernel) / scalar.value(kernel)).item()
        assert ratio == pytest.approx(1.0 if name in ("cond", "fro_per_trace") else 10.0)


def test_scaling_a_normed_convolution_by_ten_divides_its_share_of_the_trace_by_a_hundred(
    net: nn.Sequential,
) -> None:
    def share() -> float:
        return SCALARS["trace"].value(ntk(net(images()), [net[0].weight])).item()

    before = share()
    with torch.no_grad():
        net[0].weight.mul_(10)
    assert before / share() == pytest.approx(100)


def test_classifier_scale_multiplies_the_convolutions_shares_by_its_square(
    net: nn.Sequential,
) -> None:
    convs = [net[0].weight, net[3].weight]
    before = ntk(net(images()), convs)
    with torch.no_grad():
        net[8].weight.mul_(7)
    torch.testing.assert_close(ntk(net(images()), convs), 49 * before)


# --- the efficient objective ---------------------------------------------------------------------


def scaled(net: nn.Module, gain: Tensor) -> Callable[[Tensor], Tensor]:
    """A net with something like a mixing weight: `gain` times its input's square."""
    return lambda x: net(x + gain * x.square())


@pytest.mark.parametrize("scalar", list(SCALARS))
@pytest.mark.parametrize("smooth", [True, False])
def test_efficient_gradients_equal_those_of_the_naive_graph(scalar: str, smooth: bool) -> None:
    torch.manual_seed(1)
    net, gain = normed_net(smooth=smooth), torch.tensor(0.3, requires_grad=True)
    weights, forward = weights_of(net), scaled(net, gain)
    slow = log_ntk(ntk(forward(images()), weights, create_graph=True), scalar)
    fast = network_log_ntk(forward(images()), weights, scalar, others=[gain])
    torch.testing.assert_close(fast, slow)
    inputs = [*weights, gain]
    want = torch.autograd.grad(slow, inputs, materialize_grads=True)
    have = torch.autograd.grad(fast, inputs, materialize_grads=True)
    assert max(w.abs().max() for w in want) > 1e-3
    for h, w in zip(have, want, strict=True):
        torch.testing.assert_close(h, w, rtol=1e-6, atol=1e-9)


def test_a_gradient_in_the_mixing_weight_alone_is_the_same() -> None:
    torch.manual_seed(1)
    net, gain = normed_net(smooth=True), torch.tensor(0.3, requires_grad=True)
    weights, forward = weights_of(net), scaled(net, gain)
    slow = log_ntk(ntk(forward(images()), weights, create_graph=True), "fro")
    fast = network_log_ntk(forward(images()), weights, "fro", others=[gain])
    torch.testing.assert_close(*[torch.autograd.grad(value, gain) for value in (fast, slow)])


def test_efficient_objective_refuses_to_be_differentiated_twice(net: nn.Sequential) -> None:
    value = network_log_ntk(net(images()), weights_of(net), "fro")
    with pytest.raises(NotImplementedError, match="differentiable once"):
        torch.autograd.grad(value, net[0].weight, create_graph=True)


@pytest.mark.parametrize("scalar", ["fro", "trace", "cond"])
def test_the_mean_over_all_sign_vectors_of_the_estimated_gradient_is_the_gradient(
    scalar: str,
) -> None:
    torch.manual_seed(1)
    net, batch = normed_net(smooth=True), 4
    weights, x = weights_of(net), images(batch)
    every = torch.cartesian_prod(*[torch.tensor([-1, 1])] * batch)
    exact = network_log_ntk(net(x), weights, scalar)
    probed = network_log_ntk(net(x), weights, scalar, signs=every)
    one = network_log_ntk(net(x), weights, scalar, signs=every[:1])
    assert probed == exact
    grads = [torch.autograd.grad(v, weights, materialize_grads=True) for v in (exact, probed, one)]
    for want, have in zip(*grads[:2], strict=True):
        torch.testing.assert_close(have, want)
    assert (grads[2][0] - grads[0][0]).abs().max() > 1e-3, "one probe is an estimate"


def test_kernel_of_a_linear_net_has_no_gradient_but_its_objective_can_be_asked() -> None:
    torch.manual_seed(0)
    net, x = nn.Linear(5, 3, bias=False), torch.randn(4, 5)
    value = network_log_ntk(net(x), weights_of(net), "fro")
    (grad,) = torch.autograd.grad(value, net.weight)
    assert torch.equal(grad, torch.zeros_like(net.weight))


@pytest.mark.parametrize("scalar", ["fro", "mean"])
def test_weights_that_are_not_numbers_are_refused(net: nn.Sequential, scalar: str) -> None:
    with torch.no_grad():
        net[8].weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        network_log_ntk(net(images()), weights_of(net), scalar)
