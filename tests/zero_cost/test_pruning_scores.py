from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector

from workbench.protocols import Batch
from workbench.zero_cost.pruning_scores import (
    Fisher,
    GradNorm,
    Grasp,
    L2Norm,
    Plain,
    Snip,
    Synflow,
)

pytestmark = pytest.mark.usefixtures("float64")


def score(proxy: object, net: nn.Module, batch: Batch) -> float:
    return proxy(net, batch, torch.Generator().manual_seed(0))


def smooth_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(2 * 4, 3, bias=False),
    )


def batch() -> Batch:
    images = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.tensor([0, 1, 2, 0, 1]))


def gradients() -> tuple[list[Tensor], list[Tensor]]:
    net, data = smooth_net(), batch()
    weights = list(net.parameters())
    slopes = torch.autograd.grad(functional.cross_entropy(net(data.images), data.labels), weights)
    return [weight.detach() for weight in weights], list(slopes)


def test_snip_plain_and_gradient_norm_are_sums_over_weights_and_gradients() -> None:
    weights, slopes = gradients()
    pairs = list(zip(weights, slopes, strict=True))
    net = smooth_net()
    assert score(Snip(), net, batch()) == pytest.approx(
        sum(float((w * g).abs().sum()) for w, g in pairs)
    )
    assert score(Plain(), net, batch()) == pytest.approx(
        sum(float((w * g).sum()) for w, g in pairs)
    )
    assert score(GradNorm(), net, batch()) == pytest.approx(sum(float(g.norm()) for g in slopes))
    assert score(L2Norm(), net, batch()) == pytest.approx(sum(float(w.norm()) for w in weights))


def test_biases_and_batch_norms_do_not_count() -> None:
    with_bias = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    before = score(L2Norm(), with_bias, batch())
    with torch.no_grad():
        with_bias[0].bias.fill_(9)
        with_bias[1].weight.fill_(9)
    assert score(L2Norm(), with_bias, batch()) == before


def test_grasp_is_the_exact_hessian_product() -> None:
    net, data = smooth_net(), batch()
    sizes = [w.shape for w in net.parameters()]
    names = [name for name, _ in net.named_parameters()]

    def loss(vector: Tensor) -> Tensor:
        parts = vector.split([size.numel() for size in sizes])
        state = {n: p.reshape(s) for n, p, s in zip(names, parts, sizes, strict=True)}
        logits = torch.func.functional_call(net, state, (data.images,))
        return functional.cross_entropy(logits, data.labels)

    theta = parameters_to_vector(net.parameters()).detach()
    hessian = torch.autograd.functional.hessian(loss, theta)
    slope = torch.func.grad(loss)(theta)
    want = -float(theta @ hessian @ slope)
    assert abs(want) > 1e-4
    assert score(Grasp(), net, data) == pytest.approx(want, rel=1e-9)


def test_fisher_of_one_convolution_by_hand() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten(), Summed())
    data = batch()
    maps = net[0](data.images).detach().requires_grad_()
    loss = functional.cross_entropy(net[2](net[1](maps)), data.labels)
    (slope,) = torch.autograd.grad(loss, maps)
    maps, total = maps.detach(), 0.0
    for picture in range(5):
        for channel in range(2):
            total += float((maps[picture, channel] * slope[picture, channel]).sum()) ** 2
    want = total / 5 / 2
    assert want > 1e-6
    assert score(Fisher(), net, data) == pytest.approx(want)


class Summed(nn.Module):
    """Three logits of eight numbers, without a weight."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, :3].sum(1), x[:, 3:6].sum(1), x[:, 6:].sum(1)], dim=1)


def test_fisher_is_not_fooled_by_a_relu_in_place() -> None:
    nets = []
    for inplace in (False, True):
        torch.manual_seed(0)
        nets.append(
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace), nn.Flatten(), nn.Linear(8, 3))
        )
    assert score(Fisher(), nets[0], batch()) == score(Fisher(), nets[1], batch()) > 0


def chain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False))


def test_synflow_of_a_linear_chain_is_layers_times_the_product_of_absolute_weights() -> None:
    net, data = chain(), Batch(torch.randn(2, 1, 2, 2), torch.zeros(2).long())
    flow = torch.ones(4)
    for layer in net[1:]:
        flow = layer.weight.detach().abs() @ flow
    assert score(Synflow(), net, data) == pytest.approx(2 * float(flow.sum()))


def test_synflow_is_blind_to_signs_pictures_and_batch_norms() -> None:
    net = smooth_net()
    flipped = smooth_net()
    with torch.no_grad():
        flipped[0].weight.neg_()
    normed = nn.Sequential(net[0], nn.BatchNorm2d(2), *net[1:])
    other = Batch(100 * batch().images, batch().labels)
    want = score(Synflow(), net, batch())
    assert score(Synflow(), flipped, batch()) == want
    assert score(Synflow(), net, other) == want
    assert score(Synflow(), normed, batch()) == want


def test_synflow_is_counted_in_float64_where_float32_would_overflow() -> None:
    layers = [nn.Linear(4, 4, bias=False) for _ in range(30)]
    for layer in layers:
        nn.init.constant_(layer.weight, 100.0)
    net = nn.Sequential(nn.Flatten(), *layers).float()
    data = Batch(torch.zeros(1, 1, 2, 2, dtype=torch.float32), torch.zeros(1).long())
    assert score(Synflow(), net, data) == pytest.approx(30 * 4 * 400.0**30, rel=1e-9)
