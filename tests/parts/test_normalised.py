"""Edges that see their input at one scale."""

from __future__ import annotations

import pytest
import torch

from workbench.parts.edges import WeightedSum
from workbench.parts.normalised import NodeNorm
from workbench.spaces.ops import op_factory

MODES = pytest.mark.parametrize("mode", ["batch", "layer", "l2"])


def built(mode: str, *ops: str, stride: int = 1) -> torch.nn.Module:
    factories = {op: op_factory(op, affine=False) for op in ops or ("skip_connect",)}
    return NodeNorm(WeightedSum, mode)(factories, 4, stride)


@pytest.mark.usefixtures("float64")
@MODES
def test_an_edge_does_not_see_the_scale_of_its_input(mode) -> None:
    edge, row = built(mode, "skip_connect", "dil_conv_3x3", "max_pool_3x3"), torch.rand(3)
    x = torch.randn(8, 4, 6, 6)
    torch.testing.assert_close(edge(100 * x, row, 0.0), edge(x, row, 0.0), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("mode", "over"), [("batch", (0, 2, 3)), ("layer", (1, 2, 3))])
def test_a_standardised_input_has_mean_0_and_variance_1(mode, over) -> None:
    y = built(mode)(3 + 7 * torch.randn(8, 4, 6, 6), torch.ones(1), 0.0)
    torch.testing.assert_close(y.mean(dim=over), torch.zeros(y.mean(dim=over).shape))
    assert (y.var(dim=over, unbiased=False) - 1).abs().max() < 1e-4


@pytest.mark.usefixtures("float64")
def test_l2_keeps_directions_and_makes_all_pictures_equally_large() -> None:
    x = torch.randn(8, 4, 6, 6) * torch.arange(1, 9)[:, None, None, None]
    y = built("l2")(x, torch.ones(1), 0.0)
    assert (y.square().mean(dim=(1, 2, 3)) - 1).abs().max() < 1e-4
    cosine = torch.nn.functional.cosine_similarity(x.flatten(1), y.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(8))


@MODES
def test_it_has_the_weights_of_its_edge_and_drops_as_it_does(mode) -> None:
    edge = built(mode, "dil_conv_3x3", "sep_conv_3x3", stride=2)
    plain = WeightedSum(
        {op: op_factory(op, affine=False) for op in ("dil_conv_3x3", "sep_conv_3x3")}, 4, 2
    )
    count = [sum(weight.numel() for weight in net.parameters()) for net in (edge, plain)]
    assert count[0] == count[1]
    x = torch.randn(8, 4, 6, 6)
    masked = edge(x, torch.tensor([0.0, 0.7]), 0.0)
    edge.drop([False, True])
    assert torch.equal(edge(x, torch.tensor([0.0, 0.7]), 0.0), masked)
    assert not any("dil" in name for name, _ in edge.named_parameters())


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="batch, layer, l2"):
        NodeNorm(WeightedSum, "group")
