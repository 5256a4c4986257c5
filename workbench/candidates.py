"""What a score may do with a candidate of a walk: build it, look at pictures, train it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from workbench.data import Data, Loader, evaluation_batches
from workbench.engine import Machine, independent_seeds
from workbench.protocols import Batch
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import Network
from workbench.spaces.space import Space
from workbench.training import Recipe, Training

_log = logging.getLogger(__name__)
_CANDIDATE = 3  # key of seeds that nothing else of a walk has


class CandidateBench:
    """A `Bench`: what a score may do with candidate number `index`."""

    def __init__(
        self,
        space: Space,
        data: Data,
        split: Mapping[str, Tensor],
        machine: Machine,
        seed: int,
        index: int,
    ) -> None:
        self._space, self._data, self._machine = space, data, machine
        self._weights = split["weights"]
        self._judges = split["arch"] if len(split["arch"]) else split["weights"]
        self._seeds = independent_seeds(seed, _CANDIDATE, index, count=3)
        device = machine.torch_device
        self.generator = torch.Generator(device).manual_seed(self._seeds[0])

    def network(self, genotype: Genotype) -> nn.Module:
        """An untrained network; another call draws other weights."""
        return Logits(self._network(genotype))

    def _network(self, genotype: Genotype) -> Network:
        with self._machine.seeded(self._seeds[1]):
            self._seeds[1] = int(torch.randint(2**62, ()))
            net = Network(
                genotype,
                channels=self._space.channels,
                cells=self._space.depth,
                in_channels=self._data.channels,
                classes=len(self._data.classes),
            )
        return net.to(self._machine.torch_device, self._machine.dtype)

    def pictures(self, count: int) -> Batch:
        """The first images that weights may see, not augmented."""
        batch = next(iter(self._batches(self._weights[:count], count)))
        return Batch(batch.images.to(self._machine.dtype), batch.labels)

    def noise(self, count: int) -> Batch:
        """Gaussian pictures; the labels are zeros."""
        device, dtype = self._machine.torch_device, self._machine.dtype
        shape = (count, self._data.channels, *self._data.size)
        images = torch.randn(shape, generator=self.generator, device=device, dtype=dtype)
        return Batch(images, torch.zeros(count, dtype=torch.long, device=device))

    def accuracy(self, genotype: Genotype, *, epochs: int, batch_size: int, lr: float) -> float:
        """Share of the held-out images that a network has right after a training on the others.

        0 where the training loss or an output does not stay finite: it is no candidate.
        """
        space, machine = self._space, self._machine
        recipe = Recipe(space.channels, space.depth, epochs, batch_size, lr=lr)
        net = self._network(genotype)
        loader = Loader(
            self._data, self._weights, batch_size=batch_size, seed=self._seeds[2],
            device=machine.torch_device,
        )  # fmt: skip
        try:
            for _ in Training(net, loader, recipe, machine, self.generator).epochs():
                pass
        except FloatingPointError as error:
            _log.warning("a candidate scores 0: %s (%s)", error, genotype)
            return 0.0
        right = self._right(net, batch_size)
        if right is None:
            _log.warning("a candidate scores 0: its outputs are not finite (%s)", genotype)
        return right or 0.0

    @torch.no_grad()
    def _right(self, net: Network, batch_size: int) -> float | None:
        """Share of the held-out images; None if an output is not finite."""
        net.eval()
        hits, finite = [], []
        for batch in self._batches(self._judges, batch_size):
            logits = net(batch.images.to(self._machine.dtype))[0]
            finite.append(logits.isfinite().all())
            hits.append((logits.argmax(dim=1) == batch.labels).sum())
        share = int(torch.stack(hits).sum()) / len(self._judges)
        return share if torch.stack(finite).all() else None

    def _batches(self, indices: Tensor, batch_size: int) -> Iterator[Batch]:
        images = self._data.train.take(indices)
        device = self._machine.torch_device
        return evaluation_batches(images, self._data, batch_size=batch_size, device=device)


class Logits(nn.Module):
    """A derived network without its auxiliary output, as scores want it."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, classes)`."""
        return self.net(images)[0]
