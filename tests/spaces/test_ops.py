"""The op table: what each operation computes and weighs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workbench.bilevel import frozen_statistics
from workbench.spaces.genotype import KNOWN_OPS
from workbench.spaces.ops import OPS, FactorizedReduce, Noise, Zero, op_factory

# operation: weights at 16 channels with batch norms without and with scale and shift
WEIGHTS = {
    "none": (0, 0),
    "max_pool_3x3": (0, 0),
    "avg_pool_3x3": (0, 0),
    "skip_connect": (0, 0),
    "noise": (0, 0),
    "sep_conv_3x3": (800, 864),
    "sep_conv_5x5": (1312, 1376),
    "sep_conv_7x7": (2080, 2144),
    "dil_conv_3x3": (400, 432),
    "dil_conv_5x5": (656, 688),
    "conv_7x1_1x7": (3584, 3616),
    "nor_conv_1x1": (256, 288),
    "nor_conv_3x3": (2304, 2336),
}


def weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_the_table_and_the_genotypes_know_the_same_operations() -> None:
    assert set(OPS) == set(KNOWN_OPS) == set(WEIGHTS)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPS)
def test_an_operation_weighs_what_the_published_one_does(name: str, stride: int) -> None:
    want = (256, 288) if (name, stride) == ("skip_connect", 2) else WEIGHTS[name]
    search = op_factory(name, affine=False, pool_norm=True)(16, stride)
    assert (weights(search), weights(op_factory(name, affine=True)(16, stride))) == want


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (7, 6), (6, 5), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPS)
def test_every_operation_rounds_odd_sizes_up(name: str, stride: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 4, *size)
    out = op_factory(name, affine=False, pool_norm=True)(4, stride).eval()(x)
    assert out.shape == (2, 4, *(-(-side // stride) for side in size))


@pytest.mark.parametrize("name", OPS)
def test_an_operation_leaves_its_input_alone(name: str) -> None:
    x = torch.randn(2, 4, 6, 6)
    before = x.clone()
    op_factory(name, affine=True)(4, 2)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("stride", [1, 2])
def test_none_is_zero_and_has_no_gradient_whatever_comes_in(stride: int) -> None:
    x = torch.full((2, 3, 5, 5), torch.nan, requires_grad=True)
    out = Zero(stride)(x)
    side = -(-5 // stride)
    assert torch.equal(out, torch.zeros(2, 3, side, side))
    assert not out.requires_grad


@pytest.mark.parametrize("size", [(6, 6), (5, 5), (5, 6), (4, 7)])
def test_factorized_reduce_takes_even_pixels_and_their_lower_right_neighbours(
    size: tuple[int, int],
) -> None:
    reduce = FactorizedReduce(2, 4, affine=False, activation=nn.ReLU)
    reduce.norm = nn.Identity()
    for half in (reduce.even, reduce.odd):
        nn.init.eye_(half.weight.data[:, :, 0, 0])
    x = torch.rand(1, 2, *size)
    bigger = nn.functional.pad(x, (0, 1, 0, 1))
    rows, columns = (torch.arange(0, side, 2) for side in size)
    want = torch.cat(
        [x[:, :, rows][:, :, :, columns], bigger[:, :, rows + 1][:, :, :, columns + 1]], dim=1
    )
    assert torch.equal(reduce(x), want)
    assert torch.equal(reduce(-x), torch.zeros_like(want)), "ReLU comes first"


def test_average_pooling_does_not_count_its_padding() -> None:
    x = torch.ones(1, 2, 5, 5)
    for stride in (1, 2):
        out = op_factory("avg_pool_3x3", affine=False)(2, stride)(x)
        assert torch.equal(out, torch.ones_like(out))


@pytest.mark.parametrize("name", OPS)
def test_only_pools_get_a_batch_norm_of_their_own_and_it_has_no_scale(name: str) -> None:
    plain = op_factory(name, affine=False)(4, 1)
    normed = op_factory(name, affine=False, pool_norm=True)(4, 1)
    count = [sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) for net in (plain, normed)]
    assert count[1] - count[0] == ("pool" in name)
    assert not any(m.affine for m in normed.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("name", [op for op in OPS if "conv" in op])
def test_a_convolution_comes_between_its_activation_and_a_batch_norm(name: str) -> None:
    op = op_factory(name, affine=False, activation=nn.Softplus)(4, 2)
    kinds = [type(module) for module in op.children()]
    assert kinds[0] is nn.Softplus
    assert kinds[-1] is nn.BatchNorm2d
    assert nn.ReLU not in kinds
    assert all(m.bias is None for m in op.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(("kernel", "reach"), [("3x3", 2), ("5x5", 4)])
def test_a_dilated_convolution_reaches_twice_as_far(kernel: str, reach: int) -> None:
    op = op_factory(f"dil_conv_{kernel}", affine=False)(1, 1).eval()
    for module in op.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
    x = torch.zeros(1, 1, 13, 13)
    x[0, 0, 6, 6] = 1.0
    touched = op(x)[0, 0].nonzero().sub(6)
    assert touched.abs().max() == reach
    assert (touched % 2 == 0).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_noise_is_standard_normal_new_at_every_call_and_its_seeds_own(stride: int) -> None:
    torch.manual_seed(3)
    noise = op_factory("noise", affine=False)(8, stride)
    before = torch.get_rng_state()
    x = torch.full((16, 8, 16, 16), torch.nan)
    first, second = noise(x), noise(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    assert abs(float(first.mean())) < 4 / first.numel() ** 0.5
    assert abs(float(first.var()) - 1) < 4 * (2 / first.numel()) ** 0.5
    torch.manual_seed(3)
    again = op_factory("noise", affine=False)(8, stride)
    assert torch.equal(again(x), first)
    torch.manual_seed(4)
    assert not torch.equal(op_factory("noise", affine=False)(8, stride)(x), first)


def test_noise_goes_on_from_its_state() -> None:
    one, other = Noise(1), Noise(1)
    x = torch.zeros(2, 3, 4, 4)
    one(x)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(x), one(x))


def test_frozen_statistics_put_the_noise_back() -> None:
    noise, x = Noise(2), torch.zeros(2, 3, 5, 5)
    with frozen_statistics(noise):
        within = noise(x)
    assert torch.equal(noise(x), within)
    assert not torch.equal(noise(x), within)


def test_a_factorised_reduction_hands_no_strided_convolution_to_the_library():
    """OneDNN 3.12 on AVX2 writes past the gradient of such maps, channels last, of 4 channels."""
    module = op_factory("skip_connect", affine=False)(4, 2)
    convolutions = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [conv.stride for conv in convolutions] == [(1, 1), (1, 1)]
    x = torch.randn(2, 4, 7, 8, dtype=torch.float64)
    module = module.double()
    even, odd = (conv.weight for conv in convolutions)
    x_relu = torch.relu(x)
    shifted = torch.nn.functional.pad(x_relu[:, :, 1:, 1:], (0, 0, 0, 1))
    want = torch.cat(
        [torch.nn.functional.conv2d(m, w, stride=2) for m, w in ((x_relu, even), (shifted, odd))], 1
    )
    got = []
    module.norm.register_forward_pre_hook(lambda _, args: got.append(args[0]))
    module(x)
    torch.testing.assert_close(got[0], want)
