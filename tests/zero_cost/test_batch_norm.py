from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from workbench.zero_cost import batch_norm_variances, bn_term

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3, affine=False),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4, affine=False),
        nn.Flatten(),
        nn.Linear(36, 2),
    )


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 1, 7, 7, generator=torch.Generator().manual_seed(1))


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def term(net: nn.Module, images: Tensor, **options: str) -> Tensor:
    with batch_norm_variances(net, **options) as variances:
        net(images)
    return bn_term(variances)


def test_term_is_the_sum_of_log_root_mean_variances(net: nn.Sequential, images: Tensor) -> None:
    total = 0.0
    for x in (net[:1](images), net[:4](images)):
        variances = [x[:, channel].var(correction=0) for channel in range(x.shape[1])]
        total += math.log(math.sqrt(sum(float(v.detach()) for v in variances) / x.shape[1] + 1e-5))
    assert term(net, images).item() == pytest.approx(total)


@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize("scale", [10.0, 0.1])
def test_scaling_a_convolution_adds_the_logarithm_of_the_scale(
    net: nn.Sequential, images: Tensor, layer: int, scale: float
) -> None:
    for norm in (net[1], net[4]):
        norm.eps = 1e-12
    before = term(net, images)
    with torch.no_grad():
        net[layer].weight.mul_(scale)
    assert (term(net, images) - before).item() == pytest.approx(math.log(scale), abs=1e-7)


def test_network_without_batch_norm_has_a_term_of_zero(images: Tensor) -> None:
    assert term(nn.Conv2d(1, 3, 3), images).item() == 0.0


def test_layer_that_sees_a_constant_map_counts_its_eps(images: Tensor) -> None:
    net = nn.BatchNorm2d(1)
    assert term(net, 0 * images).item() == pytest.approx(0.5 * math.log(1e-5))


def test_only_batch_norms_that_run_count(images: Tensor) -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.BatchNorm2d(1), nn.BatchNorm2d(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(self.used(x))

    with batch_norm_variances(net := Idle()) as variances:
        net(images)
    assert len(variances) == 2


def test_term_is_differentiable_in_the_weights(net: nn.Sequential, images: Tensor) -> None:
    def of(weight: Tensor) -> Tensor:
        with batch_norm_variances(net) as variances:
            torch.func.functional_call(net, {"0.weight": weight}, (images,))
        return bn_term(variances)

    weight = net[0].weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(of, weight)


def test_running_source_reads_the_average_that_zen_nas_reads(
    net: nn.Sequential, images: Tensor
) -> None:
    have = term(net, images, source="running")
    want = sum(0.5 * math.log(float(norm.running_var.mean()) + 1e-5) for norm in (net[1], net[4]))
    assert have.item() == pytest.approx(want)
    assert not have.requires_grad
    assert have.item() != pytest.approx(term(net, images).item(), abs=1e-3)


def test_running_source_needs_running_statistics(images: Tensor) -> None:
    net = nn.BatchNorm2d(1, track_running_stats=False)
    with pytest.raises(ValueError, match="track statistics"), batch_norm_variances(net, "running"):
        pass


def test_hooks_change_no_output_and_are_gone_at_the_end(net: nn.Sequential, images: Tensor) -> None:
    plain = net(images)
    with batch_norm_variances(net):
        assert hooks(net) == 2
        assert torch.equal(net(images), plain)
    assert hooks(net) == 0


def test_hooks_are_gone_after_an_error(net: nn.Sequential) -> None:
    with pytest.raises(RuntimeError), batch_norm_variances(net):
        net(torch.zeros(2, 5, 7, 7))
    assert hooks(net) == 0
