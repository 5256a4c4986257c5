"""The family of separable convolutions: names, what they build, and its morphisms."""

from __future__ import annotations

import re
from itertools import pairwise, product

import pytest
import torch
from torch import nn

from workbench.parts.edges import WeightedSum
from workbench.parts.morphisms import DARTS_LIKE, DEPTH_RESTRICTED, UNRESTRICTED
from workbench.spaces.darts import darts
from workbench.spaces.genotype import KNOWN_OPS, CellGenes, Gene, Genotype, GenotypeError
from workbench.spaces.morph_ops import Limits, Separable, separable
from workbench.spaces.network import Network, cost
from workbench.spaces.ops import op_factory
from workbench.spaces.supernet import Supernet

FAMILY = [
    Separable(kernel, dilation, widths)
    for kernel, dilation, widths in product(
        (1, 3, 5, 7), (1, 2), ((), (1,), (2,), (1, 1), (3, 1), (1, 2, 9), (1,) * 8)
    )
    if kernel > 1 or dilation == 1
]


def weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


# Names


@pytest.mark.parametrize("what", FAMILY, ids=lambda what: what.name)
def test_a_name_says_everything(what: Separable) -> None:
    assert separable(what.name) == what
    assert re.fullmatch(r"\w+", what.name), "it stands in genotype texts and names a module"


def test_every_operation_has_a_name_of_its_own() -> None:
    assert len({what.name for what in FAMILY}) == len(FAMILY)


def test_published_names_are_members_or_no_separable_convolutions() -> None:
    published = {op: separable(op) for op in KNOWN_OPS}
    assert {op: what for op, what in published.items() if what} == {
        "sep_conv_3x3": Separable(3, 1, (1,)),
        "sep_conv_5x5": Separable(5, 1, (1,)),
        "sep_conv_7x7": Separable(7, 1, (1,)),
        "dil_conv_3x3": Separable(3, 2),
        "dil_conv_5x5": Separable(5, 2),
    }


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("sep_conv_9x9", "a kernel's side is 1, 3, 5 or 7, not 9"),
        ("sep_conv_4x4", "a kernel's side is 1, 3, 5 or 7, not 4"),
        ("sep_conv_3x5", "has a square kernel"),
        ("sep_conv_3x3_d3", "a dilation is 1 or 2, not 3"),
        ("sep_conv_1x1_d2", "a kernel of side 1 has nothing to dilate"),
        ("sep_conv_3x3_x0", "1 to 9 convolutions can be stacked, not 0"),
        ("sep_conv_3x3_x10", "1 to 9 convolutions can be stacked, not 10"),
        ("sep_conv_3x3_x3_w2", "3 convolutions have 2 inner widths, not 1"),
        ("sep_conv_3x3_w10", "inner widths are 1 to 9 times"),
        ("sep_conv_3x3_x2", "is written 'sep_conv_3x3'"),
        ("sep_conv_3x3_w1", "is written 'sep_conv_3x3'"),
        ("sep_conv_3x3_d1", "is written 'sep_conv_3x3'"),
        ("sep_conv_03x03", "is written 'sep_conv_3x3'"),
        ("sep_conv_5x5_d2_x1", "is written 'dil_conv_5x5'"),
        ("dil_conv_3x3_x2", "is written 'sep_conv_3x3_d2'"),
        ("sep_conv_3x3_w2_x2", "is no separable convolution"),
        ("sep_conv", "is no separable convolution"),
        ("sep_conv_3x3 ", "is no separable convolution"),
    ],
)
def test_another_spelling_is_refused_everywhere(name: str, rule: str) -> None:
    with pytest.raises(GenotypeError, match=f"'{name}'.*{re.escape(rule)}"):
        separable(name)
    with pytest.raises(GenotypeError, match=re.escape(rule)):
        op_factory(name, affine=False)
    with pytest.raises(GenotypeError, match=rf"normal:0→2 has op '{name}'.*{re.escape(rule)}"):
        CellGenes("normal", 2, 1, (Gene(name, 0, 2),), (2,))


def test_an_operation_nobody_knows_is_refused() -> None:
    assert separable("conv_3x3") is None
    with pytest.raises(GenotypeError, match="there is no operation 'conv_3x3'; choose of none, "):
        op_factory("conv_3x3", affine=False)
    with pytest.raises(GenotypeError, match="no separable convolution of another shape either"):
        CellGenes("normal", 2, 1, (Gene("conv_3x3", 0, 2),), (2,))


# What they build


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("what", FAMILY, ids=lambda what: what.name)
def test_an_operation_weighs_and_reaches_what_its_name_says(what: Separable, stride: int) -> None:
    c, op = 3, op_factory(what.name, affine=False)(3, stride)
    channels = [c, *(width * c for width in what.widths), c]
    assert weights(op) == sum(a * what.kernel**2 + a * b for a, b in pairwise(channels))
    assert op(torch.randn(2, c, 7, 6)).shape == (2, c, -(-7 // stride), -(-6 // stride))


def test_every_unit_dilates_and_only_the_first_strides() -> None:
    op = op_factory("sep_conv_3x3_d2_x3", affine=False)(2, 2)
    depthwise = [m for m in op.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert [m.dilation for m in depthwise] == [(2, 2)] * 3
    assert [m.stride for m in depthwise] == [(2, 2), (1, 1), (1, 1)]


def test_a_genotype_of_the_family_is_read_written_built_and_counted() -> None:
    text = (
        "Genotype(normal=[('sep_conv_5x5_w2', 0), ('sep_conv_3x3_x1', 1)], "
        "normal_concat=range(2, 3), reduce=[('dil_conv_7x7', 0), ('sep_conv_3x3_d2_x3_w2_1', 1)], "
        "reduce_concat=range(2, 3))"
    )
    genotype = Genotype.parse(text)
    assert str(genotype) == text
    assert Genotype.from_json(genotype.to_json()) == genotype
    net = Network(genotype, channels=4, cells=3)
    assert net(torch.randn(2, 3, 8, 8))[0].shape == (2, 10)
    assert cost(genotype, channels=4, cells=3).parameters == weights(net)


def test_nasbench201_texts_take_the_family_too() -> None:
    text = "|sep_conv_3x3_x3_w2_1~0|+|dil_conv_3x3~0|sep_conv_1x1_x1~1|"
    assert str(Genotype.parse(text)) == text


def test_a_supernet_has_them_on_its_edges() -> None:
    space = darts(channels=2, cells=3, nodes=1, ops=("skip_connect", "sep_conv_3x3_w3"))
    net = Supernet(space, edge=WeightedSum)
    out = net(torch.randn(2, 3, 8, 8), net.uniform_mixtures())
    out.sum().backward()
    assert net.blocks[0].edges[0].ops["sep_conv_3x3_w3"][1].weight.grad.abs().sum() > 0


# Morphisms


def test_the_six_morphisms_of_an_operation() -> None:
    found = Separable(5, 1, (2, 1)).morphs(UNRESTRICTED)
    assert found == {
        "grow": Separable(7, 1, (2, 1)),
        "shrink": Separable(3, 1, (2, 1)),
        "dilate": Separable(5, 2, (2, 1)),
        "insert": Separable(5, 1, (2, 1, 1)),
        "widen": Separable(5, 1, (2, 2)),
    }
    assert Separable(5, 2).morphs(UNRESTRICTED)["contract"] == Separable(5)


def test_a_single_pixel_is_not_dilated_and_a_dilated_kernel_shrinks_to_3() -> None:
    assert set(Separable(1).morphs(UNRESTRICTED)) == {"grow", "insert"}
    assert "shrink" not in Separable(3, 2).morphs(UNRESTRICTED)
    assert Separable(3).morphs(UNRESTRICTED)["shrink"] == Separable(1)


def reachable(limits: Limits) -> set[str]:
    """Everything morphisms make of the single 3x3 convolution."""
    found, todo = set(), [Separable(3)]
    while todo:
        what = todo.pop()
        if what.name not in found:
            found.add(what.name)
            todo += what.morphs(limits).values()
    return found


def test_the_darts_like_family_and_three_other_primitives_are_the_15_published_candidates() -> None:
    found = reachable(DARTS_LIKE)
    assert len(found) + len(("max_pool_3x3", "avg_pool_3x3", "skip_connect")) == 15
    assert {"sep_conv_3x3", "sep_conv_7x7", "dil_conv_5x5", "sep_conv_7x7_d2"} <= found


def test_the_depth_restricted_family_has_at_most_one_inner_width_of_at_most_5() -> None:
    shapes = [separable(name) for name in reachable(DEPTH_RESTRICTED)]
    assert {what.widths for what in shapes} == {(), (1,), (2,), (3,), (4,), (5,)}
    assert {what.kernel for what in shapes} == {1, 3, 5, 7}


def test_the_total_bounds_insertion_and_widening() -> None:
    limits = Limits(inserted=2, widest=3, total=3)
    assert "insert" in Separable(3, 1, (2,)).morphs(limits)
    assert not {"insert", "widen"} & set(Separable(3, 1, (2, 1)).morphs(limits))
    assert not {"insert", "widen"} & set(Separable(3, 1, (3,)).morphs(limits))


@pytest.mark.parametrize(
    "arguments",
    [
        {"smallest": 2},
        {"smallest": 5, "largest": 3},
        {"dilation": 3},
        {"inserted": 9},
        {"widest": 0},
        {"total": -1},
    ],
)
def test_impossible_limits_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="`Limits"):
        Limits(**arguments)
