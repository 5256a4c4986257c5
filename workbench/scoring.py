"""Training-free scores of genotypes: their networks at first weights, on pictures or noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from workbench.candidates import Logits
from workbench.data import Augment, Data, Loader
from workbench.engine import Machine, independent_seeds
from workbench.errors import WorkbenchError
from workbench.genotype_files import Given
from workbench.protocols import Batch, Pictures, Proxy
from workbench.score_config import ScoreConfig
from workbench.settings import ConfigError
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import Network

_NOISE_SIDE, _NOISE_CHANNELS, _NOISE_CLASSES = 32, 3, 10  # those of CIFAR-10


@dataclass(frozen=True)
class Scored:
    """A genotype and its scores; `errors` are standard errors of the mean, none of one repeat."""

    genotype: Genotype
    scores: Mapping[str, float]
    errors: Mapping[str, float]


def score(given: Sequence[Given], config: ScoreConfig) -> Iterator[Scored]:
    """Score one genotype after the other; all of them on the same pictures and noise.

    Raises:
        ConfigError: if a setting does not fit; a genotype of a file is named by its line.
    """
    proxies, data = config.build_proxies(), config.build_data()
    machine = Machine(config.device, threads=config.threads)
    machine.prepare()
    seeds = [independent_seeds(config.seed, repeat, count=3) for repeat in range(config.repeats)]
    try:
        rounds = [(s[0], _batches(config, data, machine.torch_device, s[1:])) for s in seeds]
    except WorkbenchError as error:
        raise ConfigError(f"data: {error}") from error
    classes = _NOISE_CLASSES if data is None else len(data.classes)
    for one in given:
        cells = config.cells or (5 if one.genotype.is_nasbench201 else 8)
        size = {"channels": config.channels, "cells": cells, "classes": classes}
        try:
            rows = [
                network_scores(one.genotype, proxies, batches, **size, seed=seed)
                for seed, batches in rounds
            ]
        except WorkbenchError as error:
            raise ConfigError(f"{one.where}: {error}" if one.where else str(error)) from error
        yield Scored(one.genotype, *_means(rows))


def network_scores(
    genotype: Genotype,
    proxies: Mapping[str, Proxy],
    batches: Mapping[Pictures, Batch],
    *,
    channels: int,
    cells: int,
    classes: int,
    seed: int = 0,
) -> dict[str, float]:
    """The scores of a genotype's network at weights of `seed`, each on the pictures it asks for.

    Args:
        batches: what "data" and "gaussian" stand for, on the device that is to compute.
    """
    images = batches["data"].images
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = Network(
            genotype,
            channels=channels,
            cells=cells,
            in_channels=images.shape[1],
            classes=classes,
        )
    logits = Logits(net.to(images.device))
    out = {}
    for name, proxy in proxies.items():
        generator = torch.Generator(images.device).manual_seed(seed)
        out[name] = proxy(logits, batches[proxy.pictures], generator)
    return out


def _batches(
    config: ScoreConfig, data: Data | None, device: torch.device, seeds: Sequence[int]
) -> dict[Pictures, Batch]:
    """A batch of the data, not augmented, and one of noise of the same shape."""
    generator = torch.Generator().manual_seed(seeds[1])
    if data is None:
        side = config.image_size or _NOISE_SIDE
        images = torch.randn(config.batch_size, _NOISE_CHANNELS, side, side, generator=generator)
        noise = Batch(images.to(device), torch.zeros(len(images)).long().to(device))
        return {"data": noise, "gaussian": noise}
    batch = Loader(
        data, None, batch_size=config.batch_size, seed=seeds[0], device=device, augment=Augment()
    ).next()
    noise = torch.randn(batch.images.shape, generator=generator).to(device)
    return {"data": batch, "gaussian": Batch(noise, batch.labels)}


def _means(rows: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Means, and their standard errors where there is more than one row."""
    count = len(rows)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    means = {name: math.fsum(column) / count for name, column in columns.items()}
    if count == 1:
        return means, {}
    spread = {
        name: math.sqrt(math.fsum((x - means[name]) ** 2 for x in column) / (count - 1) / count)
        for name, column in columns.items()
    }
    return means, spread
