"""The evaluation phase: train a derived network from scratch, then look at the test split once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial

import torch

from workbench.data import Data, Loader, evaluation_batches, refuse_batches
from workbench.divergence import telling
from workbench.engine import Machine, independent_seeds
from workbench.epochs import Stopwatch
from workbench.events import EpochEnded, Evaluated, EvaluationEvent, Resumable, Resumed
from workbench.memory import told_of_memory
from workbench.snapshots import Moment, State, identity, refuse_other, taken_up
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import Cost, Network, cost
from workbench.training import Recipe as Recipe
from workbench.training import RecipeError as RecipeError
from workbench.training import Training

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
    start: State | None = None,
) -> Iterator[EvaluationEvent]:
    """Train the network of `genotype` on all training images, then measure it on the test split.

    Args:
        start: a state that a `Resumable` of the same evaluation saved, to go on there.

    Yields:
        `EpochEnded` per epoch (training figures only: the test split is not looked at), then
        `Evaluated`; `Resumable` before the first step and after every step and epoch; with
        `start`, `Resumed` is the first.

    Raises:
        GenotypeError: if the recipe's network cannot be built from this genotype.
        RecipeError: if the recipe does not fit the pictures.
        DataError: if a batch is larger than the data.
        SnapshotError: if `start` is another evaluation's.
        FloatingPointError: if the loss is no longer a finite number.
        OutOfMemory: if device or host have too little of it.
    """
    if recipe.auxiliary > 0 and min(data.size) < _AUXILIARY_SIDE:
        raise RecipeError(
            f"the auxiliary head needs pictures of {_AUXILIARY_SIDE} pixels or more, not "
            f"{data.size[0]}×{data.size[1]}; choose a recipe without it, such as digits"
        )
    refuse_batches(recipe.batch_size, len(data.train), data.name)
    machine = machine or Machine()
    machine.prepare()
    whole = Stopwatch()
    lower = {name: getattr(recipe, name) for name in ("batch_size", "channels", "cells")}
    with told_of_memory("making the network", machine, lower):
        training = _first_training(genotype, data, recipe, machine, seed)
    mine = identity({"genotype": str(genotype), **asdict(recipe)}, data, seed)
    found = _cost(genotype, data, recipe)
    if start is not None:
        refuse_other(start, mine)
        with told_of_memory("reading the saved state", machine, lower), taken_up():
            training.load_state_dict(start["training"])
            whole.go_on(start["seconds"])
        yield Resumed(training.clock)
    with told_of_memory(lambda: f"step {training.clock.step}", machine, lower, training.held):
        saving = partial(told_of_memory, "saving the state", machine, lower, training.held)
        yield from telling(_trained(training, genotype, found, whole, mine, saving))
    with told_of_memory("measuring the test split", machine, lower, training.held):
        yield from telling(_tested(training, genotype, data, found, whole))


def _trained(
    training: Training,
    genotype: Genotype,
    found: Cost,
    whole: Stopwatch,
    mine: Mapping[str, str],
    saving: Callable[[], AbstractContextManager[None]],
) -> Iterator[EvaluationEvent]:
    """The events of the training; its state is saved within `saving`."""

    def resumable(*, epoch_ended: bool) -> Iterator[Resumable]:
        moment = Moment(
            lambda: {"of": dict(mine), "training": training.state_dict(), "seconds": whole.seconds},
            saving,
        )
        yield Resumable(training.clock, moment, epoch_ended)
        moment.passes()

    if not training.begun:
        yield from resumable(epoch_ended=True)
    for scalars in training.steps():
        if scalars is not None:
            yield EpochEnded(
                training.clock, scalars, training.seconds, training.machine.memory(),
                genotype, found.parameters, found.macs,
            )  # fmt: skip
        yield from resumable(epoch_ended=scalars is not None)


def _first_training(
    genotype: Genotype, data: Data, recipe: Recipe, machine: Machine, seed: int
) -> Training:
    """The training of a new network."""
    device, seeds = machine.torch_device, independent_seeds(seed, count=3)
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
    return Training(net, loader, recipe, machine, torch.Generator(device).manual_seed(seeds[2]))


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


@torch.no_grad()
def _tested(
    training: Training, genotype: Genotype, data: Data, found: Cost, whole: Stopwatch
) -> Iterator[Evaluated]:
    """The one event of it.

    Raises:
        DivergenceError: if an output is not finite: running statistics can be, or be too large,
            where every batch of the training stayed finite.
    """
    net, machine, recipe = training.net, training.machine, training.recipe
    net.eval()
    device, classes = machine.torch_device, len(data.classes)
    import torchmetrics.classification as measures  # takes longer to import than torch does

    accuracy = measures.MulticlassAccuracy(classes, average="micro").to(device)
    precision = measures.MulticlassAveragePrecision(classes, average="macro", thresholds=None)
    precision = precision.to(device)
    confusion = measures.MulticlassConfusionMatrix(classes).to(device)
    finite = torch.ones((), dtype=torch.bool, device=device)
    for batch in evaluation_batches(data.test, data, batch_size=recipe.batch_size, device=device):
        logits = net(batch.images.to(machine.dtype))[0]
        finite &= logits.isfinite().all()
        scores = torch.softmax(logits, dim=1)
        for metric in (accuracy, precision, confusion):
            metric.update(scores, batch.labels)
    if not finite:
        raise training.diverged(
            "an output of the network on the test images became infinite or nan"
        )
    yield Evaluated(
        genotype,
        float(accuracy.compute()),
        float(precision.compute()),
        tuple(tuple(row) for row in confusion.compute().tolist()),
        found.parameters,
        found.macs,
        whole.seconds,
    )
