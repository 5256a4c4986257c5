"""Batches made on the device: no worker processes, no per-image loop, no synchronisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.data.sets import DataError
from workbench.protocols import Batch

if TYPE_CHECKING:
    from workbench.data.sets import Augment, Data, ImageSet


class Loader:
    """Endless training batches of some of `data.train`, reshuffled every pass.

    The raw images lie on the device; a batch is one gather from them (which crops and flips),
    then arithmetic.  Every batch is full: the images left over at the end of a pass are dropped,
    other ones each pass.  The published DARTS code keeps a smaller last batch; here shapes are
    static, so that a step can be compiled or captured once.  It also draws each batch for the
    alphas from a fresh shuffle; here those come in passes too, every image once in each.

    Args:
        data: whose `train` images are served.
        indices: which of them, `(n,)`; None is all.
        batch_size: images per batch.
        seed: of the order and of the augmentation; the same on the same device is the same batches.
        device: where the images are kept and the batches made.
        augment: instead of `data.augment`.

    Raises:
        DataError: if there are fewer images than `batch_size`.
    """

    def __init__(
        self,
        data: Data,
        indices: Tensor | None,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        augment: Augment | None = None,
    ) -> None:
        images = data.train if indices is None else _taken(data.train, indices)
        _check_batch_size(batch_size)
        if batch_size > len(images):
            raise DataError(
                f"`batch_size={batch_size}` is more than the {len(images)} images of this part of "
                f"{data.name!r}; choose {len(images)} or less, or give this part more images."
            )
        self._images = images.to(device)
        self._normalise = _Normalise(data, device)
        self._augment = data.augment if augment is None else augment
        self._batch_size = batch_size
        self._order_generator = torch.Generator().manual_seed(seed)
        # Seeded by a draw, so that order and augmentation are not one stream used twice.
        derived = int(torch.randint(2**62, (), generator=self._order_generator))
        self._generator = torch.Generator(device).manual_seed(derived)
        self._reshuffle()

    def __len__(self) -> int:
        """Batches per pass."""
        return len(self._images) // self._batch_size

    def next(self) -> Batch:
        """The next batch: float32 `(batch_size, channels, height, width)` and its labels."""
        if self._position == len(self):
            self._reshuffle()
        start = self._position * self._batch_size
        picks = self._order[start : start + self._batch_size]
        self._position += 1
        images = self._normalise(_crop_flip(self._images, picks, self._augment, self._generator))
        if self._augment.noise:
            noise = torch.empty_like(images).normal_(generator=self._generator)
            images = images.add_(noise, alpha=self._augment.noise)
        if self._augment.cutout:
            images = _cut_out(images, self._augment.cutout, self._generator)
        return Batch(images, self._images.labels[picks])

    def state_dict(self) -> dict[str, object]:
        """Where the loader is; with it, a loader built alike goes on bit for bit."""
        return {
            "images": len(self._images),
            "batch_size": self._batch_size,
            "device": self._generator.device.type,
            "position": self._position,
            "pass_start": self._pass_start,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on where `state` was taken.

        Raises:
            DataError: if it was taken from a loader with other images, batch size or device kind.
        """
        for name, mine in self.state_dict().items():
            if name in ("images", "batch_size", "device") and state[name] != mine:
                raise DataError(
                    f"this loader has {name} {mine!r} but the saved one had {state[name]!r}; a "
                    f"resumed loader must be built alike. Use the old {name} or start anew."
                )
        position, order, augment = state["position"], state["pass_start"], state["generator"]
        if not (
            isinstance(position, int) and isinstance(order, Tensor) and isinstance(augment, Tensor)
        ):
            raise DataError("`state` is no state of a loader; give what `state_dict()` returned.")
        self._order_generator.set_state(order.cpu())
        self._reshuffle()
        self._position = position
        self._generator.set_state(augment.cpu())

    def _reshuffle(self) -> None:
        self._pass_start = self._order_generator.get_state()
        order = torch.randperm(len(self._images), generator=self._order_generator)
        self._order = order.to(self._generator.device)
        self._position = 0


def evaluation_batches(
    images: ImageSet, data: Data, *, batch_size: int, device: torch.device
) -> Iterator[Batch]:
    """One pass over `images` in order, normalised as `data` is, the last batch maybe smaller.

    Give `data.test`, or `data.train.take(indices)` for a part of the training images; keep what is
    used often on the device with `images.to(device)`.

    Raises:
        DataError: if `batch_size` is below 1.
    """
    _check_batch_size(batch_size)
    normalise = _Normalise(data, device)
    parts = zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True)
    return (Batch(normalise(raw.to(device)), labels.to(device)) for raw, labels in parts)


class _Normalise:
    """Raw pixels `(batch, channels, height, width)` to float32 `(pixel / 255 - mean) / std`."""

    def __init__(self, data: Data, device: torch.device) -> None:
        self.mean = torch.tensor(data.mean, device=device)[:, None, None]
        self.std = torch.tensor(data.std, device=device)[:, None, None]

    def __call__(self, raw: Tensor) -> Tensor:
        return raw.float().div_(255).sub_(self.mean).div_(self.std)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise DataError(f"`batch_size={batch_size}` must be 1 image or more.")


def _taken(images: ImageSet, indices: Tensor) -> ImageSet:
    """The images at `indices`, checked: an index on a device fails late and without a name."""
    if not len(indices):
        raise DataError(
            "`indices` is empty, so there is nothing to load; give this part a larger portion of "
            "the training images."
        )
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= len(images):
        raise DataError(
            f"`indices` reach from {low} to {high}, but there are {len(images)} training images; "
            "make them with split_indices(data.train.labels, ...)."
        )
    return images.take(indices)


def _crop_flip(
    images: ImageSet, picks: Tensor, augment: Augment, generator: torch.Generator
) -> Tensor:
    """Raw images at `picks` `(batch,)`, shifted within black padding, then mirrored.

    Both only say which row and which column a pixel comes from, so one gather does the work.
    """
    raw, padding = images.images, augment.crop_padding
    if not padding and not augment.flip:
        return raw[picks]
    batch, (height, width), device = len(picks), raw.shape[2:], raw.device
    rows = torch.arange(height, device=device).expand(batch, height)
    cols = torch.arange(width, device=device).expand(batch, width)
    if padding:
        shift = torch.randint(
            -padding, padding + 1, (2, batch, 1), generator=generator, device=device
        )
        rows, cols = rows + shift[0], cols + shift[1]
    if augment.flip:
        mirrored = torch.rand(batch, 1, generator=generator, device=device) < 0.5
        cols = torch.where(mirrored, cols.flip(1), cols)
    inside_rows = (rows >= 0) & (rows < height)  # (batch, height)
    inside_cols = (cols >= 0) & (cols < width)  # (batch, width)
    pixels = raw[
        picks[:, None, None, None],
        torch.arange(raw.shape[1], device=device)[:, None, None],
        rows.clamp(0, height - 1)[:, None, :, None],
        cols.clamp(0, width - 1)[:, None, None, :],
    ]
    return pixels * (inside_rows[:, None, :, None] & inside_cols[:, None, None, :])


def _cut_out(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """`images` with a square of `side` pixels around a random pixel of each set to 0."""
    batch, (height, width), device = len(images), images.shape[2:], images.device
    inside = []
    for length in (height, width):
        centre = torch.randint(length, (batch, 1), generator=generator, device=device)
        offset = torch.arange(length, device=device) - (centre - side // 2)  # (batch, length)
        inside.append((offset >= 0) & (offset < side))
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill_(square, 0.0)
