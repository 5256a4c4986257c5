"""The evaluation phase: train a derived network from scratch, then look at the test split once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAveragePrecision,
    MulticlassConfusionMatrix,
)

from workbench.data import Data, Loader, evaluation_batches
from workbench.engine import Machine, independent_seeds
from workbench.errors import WorkbenchError
from workbench.events import EpochEnded, Evaluated, EvaluationEvent
from workbench.protocols import Clock
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import Cost, Network, cost


class RecipeError(WorkbenchError):
    """A recipe that cannot be, or does not fit the pictures."""


@dataclass(frozen=True)
class Recipe:
    """How a derived network is trained.  SGD, cosine from `lr` to 0, gradient norm at most `clip`.

    Args:
        channels: of the first cell's nodes.
        cells: in the stack; cells per stage for a NAS-Bench-201 genotype.
        auxiliary: weight of the auxiliary classifier's loss, 0 for none.
        drop_path: probability at the last epoch; it rises linearly from 0.
        cutout: side in pixels of the square taken out of a training picture, 0 for none; crop and
            flip are the data's own, noise belongs to the search phase.
        hidden: widths of fully connected layers before the classifier.
    """

    channels: int
    cells: int
    epochs: int
    batch_size: int
    lr: float = 0.025
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0
    auxiliary: float = 0.0
    drop_path: float = 0.0
    cutout: int = 0
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("channels", "cells", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise RecipeError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.drop_path < 1:
            raise RecipeError(f"`drop_path` must be in [0, 1), not {self.drop_path}")


# Small enough for two CPU cores: 8×8 pictures are learnt in a minute.
DIGITS = Recipe(channels=12, cells=3, epochs=12, batch_size=64, lr=0.05, drop_path=0.1)

# Liu et al., DARTS, arXiv:1806.09055: the published CIFAR recipe.
CIFAR = Recipe(
    channels=36, cells=20, epochs=600, batch_size=96, auxiliary=0.4, drop_path=0.2, cutout=16
)

_AUXILIARY_SIDE = 29  # halved twice, rounded up, that leaves the 8 its pooling needs

# Paper A puts four fully connected layers on top; it gives no widths, these are ours.
FOUR_LAYER_HEAD = (256, 256, 256)


def evaluate(
    genotype: Genotype,
    data: Data,
    recipe: Recipe,
    *,
    machine: Machine | None = None,
    seed: int = 0,
) -> Iterator[EvaluationEvent]:
    """Train the network of `genotype` on all training images, then measure it on the test split.

    Yields:
        `EpochEnded` per epoch (training figures only: the test split is not looked at), then
        `Evaluated`.

    Raises:
        GenotypeError: if the recipe's network cannot be built from this genotype.
        RecipeError: if the recipe does not fit the pictures.
        DataError: if a batch is larger than the data.
        FloatingPointError: if the loss is no longer a finite number at the end of an epoch.
    """
    machine = machine or Machine()
    machine.prepare()
    if recipe.auxiliary > 0 and min(data.size) < _AUXILIARY_SIDE:
        raise RecipeError(
            f"the auxiliary head needs pictures of {_AUXILIARY_SIDE} pixels or more, not "
            f"{data.size[0]}×{data.size[1]}; choose a recipe without it, such as digits"
        )
    device, started = machine.torch_device, time.perf_counter()
    seeds = independent_seeds(seed, count=3)
    with machine.seeded(seeds[0]):
        net = _network(genotype, data, recipe).to(device, machine.dtype)
    loader = Loader(
        data,
        None,
        batch_size=recipe.batch_size,
        seed=seeds[1],
        device=device,
        augment=replace(data.augment, cutout=recipe.cutout, noise=0.0),
    )
    generator = torch.Generator(device).manual_seed(seeds[2])
    found = _cost(genotype, data, recipe)
    began = time.perf_counter()
    for epoch, scalars in enumerate(training(net, loader, recipe, machine, generator)):
        step = (epoch + 1) * len(loader)
        clock = Clock(0, epoch, recipe.epochs, step - 1, recipe.epochs * len(loader))
        seconds = time.perf_counter() - began
        yield EpochEnded(
            clock, scalars, seconds, machine.memory(), genotype, found.parameters, found.macs
        )
        began = time.perf_counter()
    yield _tested(net, genotype, data, recipe, machine, found, started)


def _network(genotype: Genotype, data: Data, recipe: Recipe) -> Network:
    return Network(
        genotype,
        channels=recipe.channels,
        cells=recipe.cells,
        in_channels=data.channels,
        classes=len(data.classes),
        auxiliary=recipe.auxiliary > 0,
        hidden=recipe.hidden,
    )


def _cost(genotype: Genotype, data: Data, recipe: Recipe) -> Cost:
    """Without the auxiliary head, as the field counts."""
    return cost(
        genotype,
        channels=recipe.channels,
        cells=recipe.cells,
        in_channels=data.channels,
        classes=len(data.classes),
        size=data.size,
        hidden=recipe.hidden,
    )


def training(
    net: Network, loader: Loader, recipe: Recipe, machine: Machine, generator: torch.Generator
) -> Iterator[dict[str, float]]:
    """Train `net` as `recipe` says; what each epoch measured, and its learning rate.

    Raises:
        FloatingPointError: if the loss is no longer a finite number at the end of an epoch.
    """
    optimizer = torch.optim.SGD(
        net.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    for epoch in range(recipe.epochs):
        net.drop_path = recipe.drop_path * epoch / recipe.epochs
        lr = recipe.lr * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
        for group in optimizer.param_groups:
            group["lr"] = lr
        yield {**_train_epoch(net, loader, optimizer, recipe, machine, generator), "lr": lr}


def _train_epoch(
    net: Network,
    loader: Loader,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    machine: Machine,
    generator: torch.Generator,
) -> dict[str, float]:
    net.train()
    losses, hits = [], []
    for _ in range(len(loader)):
        batch = loader.next()
        logits, auxiliary = net(batch.images.to(machine.dtype), generator)
        loss = functional.cross_entropy(logits, batch.labels)
        losses.append(loss.detach())
        hits.append((logits.detach().argmax(dim=1) == batch.labels).float().mean())
        if auxiliary is not None:
            loss = loss + recipe.auxiliary * functional.cross_entropy(auxiliary, batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
        optimizer.step()
    loss = float(torch.stack(losses).mean())
    if not math.isfinite(loss):
        raise FloatingPointError(f"the training loss became {loss}; lower the learning rate")
    return {
        "loss_train": loss,
        "accuracy_train": float(torch.stack(hits).mean()),
    }


@torch.no_grad()
def _tested(
    net: Network,
    genotype: Genotype,
    data: Data,
    recipe: Recipe,
    machine: Machine,
    found: Cost,
    started: float,
) -> Evaluated:
    net.eval()
    device, classes = machine.torch_device, len(data.classes)
    accuracy = MulticlassAccuracy(classes, average="micro").to(device)
    precision = MulticlassAveragePrecision(classes, average="macro", thresholds=None).to(device)
    confusion = MulticlassConfusionMatrix(classes).to(device)
    for batch in evaluation_batches(data.test, data, batch_size=recipe.batch_size, device=device):
        scores = torch.softmax(net(batch.images.to(machine.dtype))[0], dim=1)
        for metric in (accuracy, precision, confusion):
            metric.update(scores, batch.labels)
    return Evaluated(
        genotype,
        float(accuracy.compute()),
        float(precision.compute()),
        tuple(tuple(row) for row in confusion.compute().tolist()),
        found.parameters,
        found.macs,
        time.perf_counter() - started,
    )
