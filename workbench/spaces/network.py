"""The derived network of a genotype: what the evaluation phase trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from workbench.spaces.darts import darts
from workbench.spaces.genotype import CellGenes, Genotype, GenotypeError
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.ops import Zero, op_factory
from workbench.spaces.skeleton import Head, Place, ResidualBlock, Stem, places, preprocess
from workbench.spaces.space import Layer

Input = Literal["small", "imagenet"]


class Network(nn.Module):
    """The network of `genotype`: affine batch norms, no batch norm behind pooling.

    Args:
        channels: of the nodes of the first cell (the DARTS stem has three times as many).
        cells: cells in the stack; for a NAS-Bench-201 genotype, cells per stage.
        auxiliary: a second classifier after two thirds of the depth, used in training only.
        hidden: widths of fully connected layers before the classifier; paper A has three.
        stem: "small" keeps the picture's size, "imagenet" divides it by 8.

    `drop_path` (0 to 1) is the probability with which a gene's output is dropped for a sample in
    training; identities are never dropped.
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        channels: int,
        cells: int,
        in_channels: int = 3,
        classes: int = 10,
        auxiliary: bool = False,
        hidden: Sequence[int] = (),
        stem: Input = "small",
    ) -> None:
        super().__init__()
        family, layers, stem_channels = _macro(genotype, channels, cells, stem)
        if stem == "imagenet" and channels < 2:
            raise GenotypeError(
                f"channels must be 2 or more with the ImageNet stem, not {channels}"
            )
        if auxiliary and family != "darts":
            raise GenotypeError("the auxiliary head belongs to DARTS networks; leave it off here")
        self.genotype = genotype
        self.drop_path = 0.0
        self.stem = Stem(in_channels, stem_channels, stem, nn.ReLU)
        self.blocks = nn.ModuleList()
        self.auxiliary: nn.Module | None = None
        width = stem_channels
        widths = (stem_channels, stem_channels)
        for index, place in enumerate(
            places(layers, widths, lambda kind: len(genotype.cell(kind).concat))
        ):
            if stem == "imagenet" and index == 0:
                place = Place(place.layer, *widths, after_reduction=True)
            kind, width = place.layer.kind, place.layer.channels
            if kind is None:
                self.blocks.append(ResidualBlock(place.c_previous, width, nn.ReLU))
                continue
            genes = genotype.cell(kind)
            self.blocks.append(DerivedCell(genes, place))
            width *= len(genes.concat)
            if auxiliary and index == 2 * cells // 3:
                self.auxiliary = _auxiliary_head(width, classes, stem)
                self.auxiliary_after = index
        self.head = Head(width, classes, norm=family == "nasbench201", hidden=hidden)

    def forward(
        self, images: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits `(batch, classes)` and, in training with an auxiliary head, that head's logits."""
        far, near = self.stem(images)
        second = None
        keep = 1.0 - self.drop_path if self.training else 1.0
        for index, block in enumerate(self.blocks):
            if isinstance(block, DerivedCell):
                out = block((far, near), keep, generator)
            else:
                out = block(near)
            far, near = near, out
            if self.training and self.auxiliary is not None and index == self.auxiliary_after:
                second = self.auxiliary(near)
        return self.head(near), second


class DerivedCell(nn.Module):
    """A cell of chosen operations."""

    def __init__(self, genes: CellGenes, place: Place) -> None:
        super().__init__()
        self.genes = genes
        channels = place.layer.channels
        self.preprocess = preprocess(place, True, nn.ReLU) if genes.inputs == 2 else nn.ModuleList()
        self.stride = 2 if place.layer.reduction else 1
        if self.stride == 2 and min(genes.concat) < genes.inputs:
            raise GenotypeError(
                f"{genes.kind}: node {min(genes.concat)} is an input, twice the size of the "
                f"others, and cannot be part of the output {list(genes.concat)}"
            )
        self.ops = nn.ModuleList(
            op_factory(gene.op, affine=True)(
                channels, self.stride if gene.src < genes.inputs else 1
            )
            for gene in genes.genes
        )
        self.zero = Zero(self.stride)

    def forward(
        self, inputs: Sequence[Tensor], keep: float, generator: torch.Generator | None
    ) -> Tensor:
        """Output of the cell for the two maps before it."""
        inputs = inputs[-self.genes.inputs :]
        states = (
            [layer(x) for layer, x in zip(self.preprocess, inputs, strict=True)]
            if self.preprocess
            else list(inputs)
        )
        for node in range(self.genes.inputs, self.genes.inputs + self.genes.nodes):
            total = None
            for gene, op in zip(self.genes.genes, self.ops, strict=True):
                if gene.dst != node:
                    continue
                out = op(states[gene.src])
                if keep < 1.0 and not isinstance(op, nn.Identity):
                    out = _drop_path(out, keep, generator)
                total = out if total is None else total + out
            states.append(self.zero(states[0]) if total is None else total)
        return torch.cat([states[node] for node in self.genes.concat], dim=1)


def _drop_path(x: Tensor, keep: float, generator: torch.Generator | None) -> Tensor:
    mask = torch.rand(len(x), 1, 1, 1, device=x.device, generator=generator) < keep
    return x * (mask / keep).to(x.dtype)


def _macro(
    genotype: Genotype, channels: int, cells: int, stem: Input
) -> tuple[str, tuple[Layer, ...], int]:
    if genotype.cells[0].inputs == 1:
        if stem != "small":
            raise GenotypeError("the ImageNet stem belongs to DARTS networks")
        space = nasbench201(channels=channels, cells_per_stage=cells)
        return space.family, _own_cells(genotype, space.layers), channels
    space = darts(channels=channels, cells=cells)
    layers = _own_cells(genotype, space.layers)
    return space.family, layers, space.stem_channels if stem == "small" else channels


def _own_cells(genotype: Genotype, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The stack with the cells of a genotype that has genes for each, such as `normal_0`.

    Reductions are taken in order.  A longer or shorter row of cells between them repeats or cuts
    the genotype's, as D-DARTS stretches its eight cells; where it has none, that of the row before.
    """
    kinds = [cell.kind for cell in genotype.cells]
    if not all(kind.rpartition("_")[2].isdigit() for kind in kinds):
        return layers
    rows, reductions = _rows_of_cells(kinds)
    stack, row, place = [], 0, 0
    for layer in layers:
        if layer.reduction:
            kind = None if layer.kind is None else reductions[row]
            row, place = row + 1, 0
        elif not rows[row]:
            raise GenotypeError(
                f"{', '.join(kinds)}: no cell to stand where the picture keeps its size; "
                "build the network as deep as the search was"
            )
        else:
            kind = rows[row][place % len(rows[row])]
            place += 1
        stack.append(Layer(kind, layer.channels, layer.reduction))
    return tuple(stack)


def _rows_of_cells(kinds: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Three rows of cells, parted by reductions, and the reductions; a third each without them."""
    reductions = [kind for kind in kinds if kind.startswith("reduce")]
    if not reductions:
        third = len(kinds) // 3
        return [list(kinds[i * third : (i + 1) * third]) for i in range(3)], []
    first, second = (kinds.index(kind) for kind in (reductions * 2)[:2])  # one cell is both
    rows = [list(kinds[:first]), list(kinds[first + 1 : second]), list(kinds[second + 1 :])]
    for index, row in enumerate(rows):
        rows[index] = row or rows[index - 1]
    return rows, reductions


def _auxiliary_head(channels: int, classes: int, stem: Input) -> nn.Module:
    """As published; on ImageNet its second batch norm is missing there, and so it is here."""
    pool = nn.AvgPool2d(5, stride=3 if stem == "small" else 2, count_include_pad=False)
    second = [nn.BatchNorm2d(768)] if stem == "small" else []
    return nn.Sequential(
        nn.ReLU(),
        pool,
        nn.Conv2d(channels, 128, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 768, 2, bias=False),
        *second,
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(768, classes),
    )


@dataclass(frozen=True)
class Cost:
    """What a network costs: weights, and multiply-accumulates of one picture (conv and linear)."""

    parameters: int
    macs: int


def cost(
    genotype: Genotype,
    *,
    channels: int,
    cells: int,
    in_channels: int = 3,
    classes: int = 10,
    auxiliary: bool = False,
    size: tuple[int, int] = (32, 32),
    stem: Input = "small",
    hidden: Sequence[int] = (),
) -> Cost:
    """Parameters (those of the auxiliary head too, if asked for) and MACs at inference.

    Built and run on torch's meta device: nothing is allocated or computed.
    """
    return _cost(
        genotype,
        tuple(size),
        channels=channels,
        cells=cells,
        in_channels=in_channels,
        classes=classes,
        auxiliary=auxiliary,
        hidden=tuple(hidden),
        stem=stem,
    )


@lru_cache(maxsize=1024)  # genotypes come again from epoch to epoch
def _cost(genotype: Genotype, size: tuple[int, int], **settings: Any) -> Cost:
    with torch.device("meta"):
        net = Network(genotype, **settings).eval()
        parameters = sum(weight.numel() for weight in net.parameters())
        _drop_norms(net)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.empty(1, settings["in_channels"], *size))
    return Cost(parameters, counter.get_total_flops() // 2)


def _drop_norms(net: nn.Module) -> None:
    """Batch norms count as no MACs, and are two thirds of the time on the meta device."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
