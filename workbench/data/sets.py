"""Images and labels as values, what training does to them, and how they are split."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from torch import Tensor

from workbench.errors import WorkbenchError

_NAMED = 20  # files left out that a record names


class DataError(WorkbenchError):
    """Images that cannot be used, or a request for images that cannot be met."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Raw images, uint8 `(n, channels, height, width)`, and their classes, int64 `(n,)`."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise DataError(
                "`images` must be uint8 (n, channels, height, width); these are "
                f"{self.images.dtype} {tuple(self.images.shape)}. Keep raw 0..255 pixels; "
                "the loader normalises."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"`labels` must be int64 ({len(self.images)},), one per image; these are "
                f"{self.labels.dtype} {tuple(self.labels.shape)}."
            )
        if not self.images.numel():
            raise DataError(
                f"`images` is empty, shape {tuple(self.images.shape)}; give one image or more."
            )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> ImageSet:
        """The images at `indices` `(m,)`, in that order."""
        indices = indices.to(self.images.device)
        return ImageSet(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> ImageSet:
        """The same images on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Augment:
    """What happens to a training batch, in this order; the default is nothing.

    Args:
        crop_padding: pixels of black around the image before a random crop of its own size.
        flip: mirror left and right with probability 1/2.
        noise: standard deviation of Gaussian noise added to the normalised image.
        cutout: side in pixels of a square set to 0 after normalisation; its centre is anywhere
            in the image and what reaches over the border is cut off.

    DeVries and Taylor, Cutout, arXiv:1708.04552, as in the evaluation phase of DARTS.  Differs:
    an odd side is kept, the published code rounds it down to an even one.
    """

    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("crop_padding", self.crop_padding), ("cutout", self.cutout)):
            if value < 0:
                raise DataError(f"`Augment({name}={value})` must be 0 pixels or more; 0 is off.")
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise DataError(f"`Augment(noise={self.noise})` must be a number from 0; 0 is off.")


@dataclass(frozen=True)
class Data:
    """A named set of images with its test split, which no search may look at.

    Args:
        mean: per channel, of raw pixels scaled to [0, 1].
        std: per channel, likewise; images are normalised to `(pixel / 255 - mean) / std`.
        augment: the default augmentation of training batches.
        left_out: the files that could not be read and are not among the images.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augment
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        train, test = self.train.images.shape[1:], self.test.images.shape[1:]
        if train != test:
            raise DataError(
                f"`test` images are {tuple(test)} but `train` images {tuple(train)} (channels, "
                "height, width); resize or convert one of them."
            )
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise DataError(
                f"`mean` and `std` need {self.channels} numbers, one per channel; got "
                f"{len(self.mean)} and {len(self.std)}."
            )
        if not all(math.isfinite(m) for m in self.mean) or not all(s > 0 for s in self.std):
            raise DataError(
                f"`mean` {self.mean} must be finite and `std` {self.std} above 0; take them from "
                "the training images."
            )
        for split, images in (("train", self.train), ("test", self.test)):
            low, high = int(images.labels.min()), int(images.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"`{split}` has labels {low}..{high}; with {len(self.classes)} classes they "
                    f"must be in 0..{len(self.classes) - 1}. Name every class or renumber."
                )

    @property
    def channels(self) -> int:
        """Channels of an image: 1 grey, 3 colour."""
        return self.train.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return self.train.images.shape[2], self.train.images.shape[3]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of shapes, pixels and labels of both splits; equal for equal images only."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            digest.update(repr(tuple(part.images.shape)).encode())
            for values in (part.images, part.labels):
                digest.update(values.cpu().contiguous().numpy().data)
        return digest.hexdigest()


def describe(data: Data) -> dict[str, object]:
    """What a run records about `data`: names and numbers that JSON can hold, no images.

    `left_out` counts the files that could not be read; the first of them are named.
    """
    return {
        "name": data.name,
        "classes": list(data.classes),
        "channels": data.channels,
        "size": list(data.size),
        "train_images": len(data.train),
        "test_images": len(data.test),
        "mean": list(data.mean),
        "std": list(data.std),
        "augment": asdict(data.augment),
        "left_out": len(data.left_out),
        "left_out_first": list(data.left_out[:_NAMED]),
        "fingerprint": data.fingerprint,
    }


def split_indices(labels: Tensor, portion: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split a training set in two, at random and class by class.

    A class of n images gives `floor(portion n + 1/2)` to the first part.  Depends only on the
    arguments.

    Args:
        labels: `(n,)`, int64.
        portion: share of every class that trains the weights; 1 leaves the architecture none.
        seed: picks the images.

    Returns:
        Indices for the weights and for the architecture, disjoint, together all, ascending.

    Raises:
        DataError: if `portion` is outside (0, 1], or so extreme that a part would be empty.

    Differs from the published DARTS code, which cuts the training set in two by position.
    """
    if not 0 < portion <= 1:
        raise DataError(
            f"`portion={portion}` must be above 0 and at most 1, the share of the training images "
            "that trains the weights; 0.5 is usual."
        )
    labels = labels.cpu()
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = labels.bincount()
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    quota = (counts.double() * portion + 0.5).floor().long().repeat_interleave(counts)
    first, second = by_class[rank < quota].sort().values, by_class[rank >= quota].sort().values
    if not len(first) or (portion < 1 and not len(second)):
        raise DataError(
            f"`portion={portion}` of {len(labels)} images leaves a part without images "
            f"({len(first)} and {len(second)}); choose a portion nearer 0.5, or 1 for one part."
        )
    return first, second
