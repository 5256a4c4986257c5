"""The user's own images: one folder per class.

Read are files directly in a class folder whose name ends in one of `EXTENSIONS` (in any case) and
does not start with a dot; all else is ignored.  An image is turned upright by its EXIF tag, its
centre square is cut out, and that is resized with antialiasing (bilinear): the same pixels as
resizing the shorter side and cutting out the centre.  Transparency is dropped; 16-bit grey keeps
its upper 8 bits; of several frames the first is read.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from workbench.data.sets import DataError, ImageSet

EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm",
)  # fmt: skip
FEWEST = 4  # images of a class that is to be split for weights, architecture and test
_LAYOUTS = "Use PATH/CLASS/*.png, or PATH/train/CLASS/*.png with PATH/test/CLASS/*.png"
_SHOW_PROGRESS_ABOVE = 200  # files
_UNREADABLE = (  # what Pillow raises on damaged files
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class _File(NamedTuple):
    path: Path
    split: str
    label: int


def read_folder(
    path: Path, size: int, grey: bool, skip_unreadable: bool
) -> tuple[tuple[str, ...], ImageSet, ImageSet | None]:
    """Classes, training images and test images of a folder; None for test images that it lacks.

    Images are `(n, 1 or 3, size, size)`: one channel if `grey` or if every file is grey.

    Raises:
        DataError: if the folder is missing or is no data set, or a file cannot be decoded.
    """
    check_folder(path)
    has_test = (path / "train").is_dir() and (path / "test").is_dir()
    splits = {"train": path / "train", "test": path / "test"} if has_test else {"train": path}
    classes = _classes(splits)
    files = [file for split, top in splits.items() for file in _files(split, top, classes)]
    _check_counts(files, splits, classes)
    arrays = _read(files, size, grey)
    files, arrays = _readable(files, arrays, skip_unreadable)
    _check_counts(files, splits, classes)
    images = _stack(arrays)
    labels = torch.tensor([file.label for file in files])
    is_train = torch.tensor([file.split == "train" for file in files])
    train = ImageSet(images[is_train], labels[is_train])
    return classes, train, ImageSet(images[~is_train], labels[~is_train]) if has_test else None


def check_folder(path: Path) -> None:
    """Whether the folder is there.

    Raises:
        DataError: if it is not.
    """
    if not path.is_dir():
        raise DataError(
            f"there is no folder {str(path)!r}. Write folder:PATH with the path of a folder that "
            f"exists. {_LAYOUTS}."
        )


def _classes(splits: dict[str, Path]) -> tuple[str, ...]:
    """Names of the class folders, sorted; the same ones in every split."""
    names = {
        split: sorted(p.name for p in top.iterdir() if p.is_dir() and not p.name.startswith("."))
        for split, top in splits.items()
    }
    train = names["train"]
    if len(train) < 2:
        raise DataError(
            f"{str(splits['train'])!r} holds {len(train)} class folder(s) ({', '.join(train)}); "
            f"there must be 2 or more. {_LAYOUTS}."
        )
    if names.get("test", train) != train:
        odd = sorted(set(train) ^ set(names["test"]))
        raise DataError(
            f"{str(splits['train'].parent)!r} has other classes in train than in test; "
            f"{', '.join(odd)} must be in both. Add or remove the folder(s)."
        )
    return tuple(train)


def _files(split: str, top: Path, classes: Sequence[str]) -> list[_File]:
    return [
        _File(path, split, label)
        for label, name in enumerate(classes)
        for path in sorted((top / name).iterdir())
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    ]


def _check_counts(files: Sequence[_File], splits: dict[str, Path], classes: Sequence[str]) -> None:
    """Every class needs images to train on and to test with."""
    for split, top in splits.items():
        fewest = FEWEST if split == "train" else 1
        labels = [file.label for file in files if file.split == split]
        for label, name in enumerate(classes):
            count = labels.count(label)
            if count < fewest:
                raise DataError(
                    f"class folder {str(top / name)!r} has {count} readable image(s) "
                    f"({' '.join(EXTENSIONS)}); {fewest} or more are needed. "
                    f"Add images or remove the folder. {_LAYOUTS}."
                )


def _read(files: Sequence[_File], size: int, grey: bool) -> list[Tensor | Exception]:
    """Every file as `(1 or 3, size, size)`, or why it could not be read; threads decode."""
    Image.init()  # finding Pillow's plugins is not safe in threads
    pool = ThreadPoolExecutor()
    try:
        done = pool.map(partial(_decode, size=size, grey=grey), [file.path for file in files])
        quiet = None if len(files) > _SHOW_PROGRESS_ABOVE else True  # None: if not a terminal
        return list(tqdm(done, desc="images", total=len(files), unit="file", disable=quiet))
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(path: Path, *, size: int, grey: bool) -> Tensor | Exception:
    try:
        with Image.open(path) as image:
            image.draft(None, (2 * size, 2 * size))  # JPEG decodes large photos at a coarser scale
            small = ImageOps.fit(_eight_bit(image, grey), (size, size), Image.Resampling.BILINEAR)
    except _UNREADABLE as error:
        return error
    pixels = torch.from_numpy(np.array(small))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)


def _eight_bit(image: Image.Image, grey: bool) -> Image.Image:
    """`image` upright, as grey `L` or as `RGB`."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range; save it as 8 bit")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    return image.convert("L" if grey or image.mode in ("1", "L", "LA", "La") else "RGB")


def _readable(
    files: Sequence[_File], arrays: Sequence[Tensor | Exception], skip_unreadable: bool
) -> tuple[list[_File], list[Tensor]]:
    """The files that could be decoded, and their pixels; the others are an error or a warning."""
    pairs = list(zip(files, arrays, strict=True))
    good = [(file, array) for file, array in pairs if isinstance(array, Tensor)]
    bad = [f"{file.path} ({error})" for file, error in pairs if isinstance(error, Exception)]
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        fact = f"{len(bad)} of {len(files)} images cannot be read: {', '.join(bad[:5])}{more}."
        if not skip_unreadable:
            raise DataError(f"{fact} Repair or remove them, or set skip_unreadable.")
        warnings.warn(f"{fact} They are left out.", stacklevel=5)
    return [file for file, _ in good], [array for _, array in good]


def _stack(arrays: Sequence[Tensor]) -> Tensor:
    """`(n, channels, size, size)`; grey images among coloured ones get three equal channels."""
    channels = max(len(array) for array in arrays)
    return torch.stack([array.expand(channels, -1, -1) for array in arrays])
