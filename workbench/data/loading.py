"""Batches made on the device: no worker processes, no per-image loop, no synchronisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from workbench.data.sets import DataError
from workbench.data.streaming import Order, Stream, fits
from workbench.protocols import Batch

if TYPE_CHECKING:
    from workbench.data.sets import Augment, Data, ImageSet


class Loader:
    """Endless training batches of some of `data.train`, reshuffled every pass.

    The raw images lie on the device, or on the host where they would take too much of it; then a
    batch comes over while the one before is in use.  There it is cropped and mirrored in bulk, and
    normalised: the same bits either way.

    Every batch is full: the images left over at the end of a pass are dropped, other ones each
    pass.  The published DARTS code keeps a smaller last batch; here shapes are static, so that a
    step can be compiled or captured once.  It also draws each batch for the alphas from a fresh
    shuffle; here those come in passes too, every image once in each.

    Args:
        data: whose `train` images are served.
        indices: which of them, `(n,)`; None is all.
        batch_size: images per batch.
        seed: of the order and of the augmentation; the same on the same device is the same batches.
        device: where the batches are made.
        augment: instead of `data.augment`.
        resident: whether all images lie on `device`; None is as its free memory allows.

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
        resident: bool | None = None,
    ) -> None:
        count = len(data.train) if indices is None else _checked(indices, len(data.train))
        refuse_batches(batch_size, count, data.name)
        self._normalise = _Normalise(data, device)
        self._augment = data.augment if augment is None else augment
        order = torch.Generator().manual_seed(seed)
        # Seeded by a draw, so that order and augmentation are not one stream used twice.
        derived = int(torch.randint(2**62, (), generator=order))
        self._generator = torch.Generator(device).manual_seed(derived)
        self._order = Order(count, batch_size, device, order.get_state())
        if resident is None:
            resident = fits(count * data.train.images[0].numel(), device)
        self._labels = _part(data.train.labels, indices).to(device)
        if resident:
            self._images = _part(data.train.images, indices).to(device)
        else:
            ahead = Order(count, batch_size, torch.device("cpu"), order.get_state())
            host = None if indices is None else indices.cpu()
            self._images = Stream(data.train.images.cpu(), host, ahead, device)

    @property
    def resident(self) -> bool:
        """Whether all images lie on the device."""
        return isinstance(self._images, Tensor)

    def held(self) -> int:
        """Bytes of images and labels on the device; streamed images are on the host."""
        own = [self._labels, *([self._images] if isinstance(self._images, Tensor) else [])]
        return sum(values.numel() * values.element_size() for values in own)

    def __len__(self) -> int:
        """Batches per pass."""
        return len(self._order)

    def next(self) -> Batch:
        """The next batch: float32 `(batch_size, channels, height, width)` and its labels."""
        picks = self._order.next()
        if isinstance(self._images, Stream):
            raw = self._images.next()
        else:
            raw = self._images.index_select(0, picks)
        if self._augment.crop_padding:
            raw = _crop(raw, self._augment.crop_padding, self._generator)
        if self._augment.flip:
            raw = _mirror(raw, self._generator)
        images = self._normalise(raw)
        if self._augment.noise:
            noise = torch.empty_like(images).normal_(generator=self._generator)
            images = images.add_(noise, alpha=self._augment.noise)
        if self._augment.cutout:
            images = _cut_out(images, self._augment.cutout, self._generator)
        return Batch(images, self._labels[picks])

    def state_dict(self) -> dict[str, object]:
        """Where the loader is; with it, a loader built alike goes on bit for bit."""
        return {
            "images": self._order.count,
            "batch_size": self._order.batch_size,
            "device": self._generator.device.type,
            "position": self._order.position,
            "pass_start": self._order.pass_start,
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
        self._order.goto(order.cpu(), position)
        if isinstance(self._images, Stream):
            self._images.goto(order.cpu(), position)
        self._generator.set_state(augment.cpu())


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


def refuse_batches(batch_size: int, count: int, name: str) -> None:
    """Whether such batches can be made of `count` images of the data `name`.

    Raises:
        DataError: if not.
    """
    _check_batch_size(batch_size)
    if batch_size > count:
        raise DataError(
            f"`batch_size={batch_size}` is more than the {count} images of this part of "
            f"{name!r}; choose {count} or less, or give this part more images."
        )


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise DataError(f"`batch_size={batch_size}` must be 1 image or more.")


def _checked(indices: Tensor, count: int) -> int:
    """How many there are: a wrong index of `count` images on a device fails late and unnamed."""
    if not len(indices):
        raise DataError(
            "`indices` is empty, so there is nothing to load; give this part a larger portion of "
            "the training images."
        )
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= count:
        raise DataError(
            f"`indices` reach from {low} to {high}, but there are {count} training images; "
            "make them with split_indices(data.train.labels, ...)."
        )
    return len(indices)


def _part(values: Tensor, indices: Tensor | None) -> Tensor:
    return values if indices is None else values[indices.to(values.device)]


def _crop(raw: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Images of `raw`'s shape, shifted by up to `padding` pixels each way; what moves in is black.

    All places where a crop may start are one view of the padded images, whose first axis counts
    pixels; a crop is an entry of that view, copied row by row, with no index per pixel.
    """
    batch, channels, height, width = raw.shape
    size = (2, batch, 1)  # downwards, to the right
    shift = torch.randint(-padding, padding + 1, size, generator=generator, device=raw.device)
    wide = functional.pad(raw, (padding,) * 4)
    image, channel, row, _ = wide.stride()
    starts = wide.numel() - (channels - 1) * channel - (height - 1) * row - (width - 1)
    crops = wide.as_strided((starts, channels, height, width), (1, channel, row, 1))
    first = torch.arange(0, wide.numel(), image, device=raw.device)  # (batch,)
    top, left = (shift[..., 0] + padding).unbind()
    return crops.index_select(0, first + top * row + left)


def _mirror(raw: Tensor, generator: torch.Generator) -> Tensor:
    """Every image as it is or, with probability 1/2, with left and right changed."""
    batch = len(raw)
    mirrored = torch.rand(batch, 1, generator=generator, device=raw.device) < 0.5
    both = torch.cat((raw, raw.flip(3)))
    picks = torch.arange(batch, device=raw.device) + batch * mirrored[:, 0]
    return both.index_select(0, picks)  # of whole images, which is faster than a choice per pixel


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
