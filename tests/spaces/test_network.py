"""The derived network: what it weighs and computes, drop path, auxiliary head, stems and heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.spaces.published import (
    AMOEBANET,
    ASAP,
    DARTS_V1,
    DARTS_V2,
    FAIR_DARTS_A,
    GENOTYPES,
    NASNET,
)
from workbench.spaces.genotype import Genotype, GenotypeError
from workbench.spaces.network import Cost, DerivedCell, Network, cost

NASBENCH201 = {  # text: weights, MACs on CIFAR-10; weights on CIFAR-100
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|": (73_306, 7_783_040, 79_156),
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+"
    "|skip_connect~0|skip_connect~1|skip_connect~2|": (73_306, 7_783_040, 79_156),
    "|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+"
    "|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|": (73_306, 7_783_040, 79_156),
    "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+"
    "|nor_conv_1x1~0|nor_conv_1x1~1|nor_conv_1x1~2|": (241_306, 31_376_000, 247_156),
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
    "|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|": (1_531_546, 220_119_680, 1_537_396),
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
    "|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|": (1_288_506, 184_730_240, None),
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+"
    "|skip_connect~0|nor_conv_3x3~1|skip_connect~2|": (802_426, 113_951_360, None),
}
ALL_SKIP = list(NASBENCH201)[1]


def weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def size_of(text: str, **settings: object) -> int:
    with torch.device("meta"):
        return weights(Network(Genotype.parse(text), **settings))


def network(text: str, channels: int = 4, cells: int = 3, **settings: object) -> Network:
    torch.manual_seed(0)
    return Network(Genotype.parse(text), channels=channels, cells=cells, **settings)


# What it weighs


@pytest.mark.parametrize("name", GENOTYPES)
def test_an_evaluation_network_weighs_what_the_published_one_does(name: str) -> None:
    text, *counts = GENOTYPES[name]
    cifar = {"channels": 36, "cells": 20}
    imagenet = {"channels": 48, "cells": 14, "classes": 1000, "stem": "imagenet"}
    settings = [cifar, {**cifar, "auxiliary": True}, {**cifar, "classes": 100}, imagenet]
    for count, setting in zip(counts, settings, strict=True):
        if count is not None:
            assert size_of(text, **setting) == count


@pytest.mark.parametrize(("text", "count"), [(DARTS_V1, 232_890), (DARTS_V2, 246_106)])
def test_a_network_of_the_searchs_size_weighs_what_the_published_one_does(
    text: str, count: int
) -> None:
    assert size_of(text, channels=16, cells=8) == count


def test_a_wider_network_weighs_what_the_published_one_does() -> None:
    assert size_of(ASAP, channels=44, cells=20) == 3_757_126


@pytest.mark.parametrize(
    ("text", "cifar", "imagenet"),
    [(DARTS_V1, 500_987_520, 505_864_704), (DARTS_V2, 528_359_040, 529_911_552)],
)
def test_an_evaluation_network_costs_what_the_published_one_does(
    text: str, cifar: int, imagenet: int
) -> None:
    genotype = Genotype.parse(text)
    assert cost(genotype, channels=36, cells=20).macs == cifar
    settings = {"channels": 48, "cells": 14, "classes": 1000, "stem": "imagenet"}
    assert cost(genotype, size=(224, 224), **settings).macs == imagenet


@pytest.mark.parametrize("text", NASBENCH201)
def test_a_nasbench201_network_costs_what_the_table_says(text: str) -> None:
    count, macs, larger = NASBENCH201[text]
    genotype = Genotype.parse(text)
    assert cost(genotype, channels=16, cells=5) == Cost(count, macs)
    if larger:
        want = Cost(larger, macs + 64 * 90)
        assert cost(genotype, channels=16, cells=5, classes=100) == want


def test_the_auxiliary_head_counts_as_weights_and_not_at_inference() -> None:
    genotype = Genotype.parse(DARTS_V2)
    plain = cost(genotype, channels=36, cells=8)
    with_head = cost(genotype, channels=36, cells=8, auxiliary=True)
    assert with_head == Cost(plain.parameters + 476_426, plain.macs)


# What it computes


@pytest.mark.parametrize("text", [DARTS_V2, NASNET, AMOEBANET, FAIR_DARTS_A, *NASBENCH201])
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_any_genotype_and_size_gives_logits(text: str, size: tuple[int, int]) -> None:
    net = network(text, in_channels=1, classes=5)
    logits, second = net(torch.randn(2, 1, *size))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
    assert second is None


def test_a_node_without_genes_is_zeros_of_the_cells_size() -> None:
    text = FAIR_DARTS_A.replace("[2, 4, 5]", "range(2, 6)")
    text = text.replace("('avg_pool_3x3', 3, 0), ('dil_conv_5x5', 3, 1), ", "")
    net = network(text)
    cells = [block for block in net.blocks if isinstance(block, DerivedCell)]
    outputs = []
    for cell in cells:
        cell.register_forward_hook(lambda _module, _inputs, out: outputs.append(out))
    net(torch.randn(2, 3, 8, 8))
    assert [out.shape for out in outputs] == [(2, 16, 8, 8), (2, 32, 4, 4), (2, 64, 2, 2)]
    for out in outputs:
        node = out.chunk(4, dim=1)
        assert [bool((part == 0).all()) for part in node] == [False, True, False, False]


def test_batch_norms_have_scale_and_shift_and_pools_have_none() -> None:
    net = network(AMOEBANET)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.affine for norm in norms)
    for cell in net.blocks:
        for gene, op in zip(cell.genes.genes, cell.ops, strict=True):
            assert ("pool" in gene.op) == isinstance(op, nn.MaxPool2d | nn.AvgPool2d)


@pytest.mark.parametrize("missing", ["normal", "reduce"])
def test_a_genotype_without_a_needed_kind_is_refused(missing: str) -> None:
    whole = Genotype.parse(DARTS_V2)
    part = Genotype(tuple(cell for cell in whole.cells if cell.kind != missing))
    with pytest.raises(GenotypeError, match=f"no cell of kind '{missing}'"):
        Network(part, channels=4, cells=3)


# Drop path


def test_drop_path_never_touches_identities() -> None:
    net, x = network(ALL_SKIP, cells=1), torch.randn(4, 3, 8, 8)
    want = net(x)[0]
    net.drop_path = 0.9
    assert torch.equal(net(x)[0], want)


def test_drop_path_drops_whole_samples_and_scales_the_rest() -> None:
    net = network("|nor_conv_3x3~0|", cells=1)
    cell, x = net.blocks[0], torch.randn(64, 4, 5, 5)
    plain = cell([x], 1.0, None)
    dropped = cell([x], 0.25, torch.Generator().manual_seed(0))
    kept = dropped.flatten(1).abs().sum(dim=1) > 0
    assert 4 <= kept.sum() <= 32  # 16 expected
    torch.testing.assert_close(dropped[kept], 4 * plain[kept])
    assert (dropped[~kept] == 0).all()


@pytest.mark.parametrize("op", ["skip_connect", "max_pool_3x3", "sep_conv_3x3"])
def test_drop_path_drops_everything_else_in_a_reduction_cell(op: str) -> None:
    genes = f"[('{op}', 0), ('{op}', 1)]"
    net = network(f"Genotype(normal={genes}, reduce={genes})", cells=2)
    cell = net.blocks[1]
    assert cell.stride == 2
    inputs = [torch.randn(2, 12, 8, 8), torch.randn(2, 8, 4, 4)]
    assert cell(inputs, 1.0, None).abs().sum() > 0
    gone = cell(inputs, 1e-9, torch.Generator().manual_seed(0))
    assert (gone == 0).all()


def test_drop_path_is_repeatable_and_in_training_only() -> None:
    net, x = network(DARTS_V2), torch.randn(8, 3, 8, 8)
    net.drop_path = 0.5
    first, again, other = (net(x, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    net.eval()
    quiet = net(x)[0]
    net.drop_path = 0.0
    assert torch.equal(net(x)[0], quiet)


# Heads and stems


def test_the_auxiliary_head_speaks_in_training_only() -> None:
    net, x = network(DARTS_V2, auxiliary=True, classes=7), torch.randn(2, 3, 32, 32)
    logits, second = net(x)
    assert logits.shape == second.shape == (2, 7)
    assert net.eval()(x)[1] is None
    assert network(DARTS_V2).train()(x)[1] is None


@pytest.mark.parametrize(("cells", "after"), [(20, 13), (8, 5), (3, 2)])
def test_the_auxiliary_head_stands_after_two_thirds(cells: int, after: int) -> None:
    with torch.device("meta"):
        net = Network(Genotype.parse(DARTS_V2), channels=4, cells=cells, auxiliary=True)
    assert net.auxiliary_after == after


def test_the_auxiliary_head_of_imagenet_lacks_a_batch_norm_as_published() -> None:
    norms = {}
    for stem in ("small", "imagenet"):
        net = network(DARTS_V2, auxiliary=True, stem=stem)
        norms[stem] = sum(isinstance(m, nn.BatchNorm2d) for m in net.auxiliary.modules())
    assert norms == {"small": 2, "imagenet": 1}


def test_hidden_widths_make_a_deeper_classifier() -> None:
    plain, deep = network(DARTS_V2), network(DARTS_V2, hidden=(32, 16, 8))
    linear = [m for m in deep.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [
        (64, 32),
        (32, 16),
        (16, 8),
        (8, 10),
    ]
    assert sum(isinstance(m, nn.ReLU) for m in deep.head.modules()) == 3
    assert sum(isinstance(m, nn.Linear) for m in plain.modules()) == 1
    assert deep(torch.randn(2, 3, 8, 8))[0].shape == (2, 10)


def test_the_imagenet_stem_divides_the_picture_by_eight() -> None:
    net = network(DARTS_V2, stem="imagenet")
    far, near = net.stem(torch.randn(2, 3, 64, 64))
    assert (far.shape[2:], near.shape[2:]) == ((16, 16), (8, 8))
    assert net(torch.randn(2, 3, 64, 64))[0].shape == (2, 10)


def test_what_nasbench201_networks_lack_is_refused() -> None:
    with pytest.raises(GenotypeError, match="auxiliary"):
        network(ALL_SKIP, auxiliary=True)
    with pytest.raises(GenotypeError, match="ImageNet stem"):
        network(ALL_SKIP, stem="imagenet")


def test_counting_the_cost_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    want = torch.rand(3)
    torch.manual_seed(0)
    cost(Genotype.parse(DARTS_V2), channels=4, cells=3)
    assert torch.equal(torch.rand(3), want)
