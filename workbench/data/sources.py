"""Where images come from: embedded digits, CIFAR, or a folder of the user's own."""

from __future__ import annotations

import difflib
import os
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError
from typing import TYPE_CHECKING

import torch

from workbench.data.cifar_files import read_arrays, read_split, unpack
from workbench.data.folder import check_folder, read_folder
from workbench.data.sets import Augment, Data, DataError, ImageSet, split_indices
from workbench.limits import PIXELS, path_fault, shown

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torchvision.datasets import CIFAR10

_NAMES = ("digits", "cifar10", "cifar100", "folder:PATH")
_CIFAR10_MEAN = (0.49139968, 0.48215827, 0.44653124)
_CIFAR10_STD = (0.24703233, 0.24348505, 0.26158768)
_CIFAR100_MEAN = (0.5071, 0.4867, 0.4408)
_CIFAR100_STD = (0.2675, 0.2565, 0.2761)
_TEST_SHARE = 0.2
_TEST_SEED = 0  # part of the data's definition: every search is tested on the same images


def load(
    name: str,
    *,
    root: Path | str | None = None,
    download: bool = True,
    size: int | None = None,
    grey: bool = False,
    skip_unreadable: bool = False,
) -> Data:
    """The images called `name`, in memory.

    - `digits`: 1,797 grey 8x8 handwritten digits that come with scikit-learn.
    - `cifar10`, `cifar100`: the published files, checked by md5.
    - `folder:PATH`: `PATH/train/CLASS/*` with `PATH/test/CLASS/*`, or `PATH/CLASS/*`; which files
      are read, and how, is told in `workbench.data.folder`.

    Without a test part a fifth of every class, always the same, becomes the test split.

    Args:
        root: where CIFAR files are kept; by default `$WORKBENCH_DATA` or `~/.cache/workbench`.
        download: whether CIFAR files that are missing may be fetched.
        size: side in pixels of the images of a folder, 32 by default.
        grey: make the images of a folder grey; they also are when every file is.
        skip_unreadable: leave out files of a folder that cannot be decoded, with one warning.

    Raises:
        DataError: if the name is unknown, files are missing or damaged, or a folder is no data.
    """
    check(name, size=size, grey=grey, skip_unreadable=skip_unreadable)
    if name.startswith("folder:"):
        return _folder(name, 32 if size is None else size, grey, skip_unreadable)
    if name == "digits":
        return _digits()
    return _cifar(name, root, download)


def check(
    name: str, *, size: int | None = None, grey: bool = False, skip_unreadable: bool = False
) -> None:
    """What `load` refuses before it reads an image; files that are missing it finds later.

    Raises:
        DataError: if the name is unknown, a folder missing, or a setting a folder's only.
    """
    if name.startswith("folder:"):
        path = name.removeprefix("folder:")
        if not path:
            raise DataError(
                "'folder:' names no folder; write folder:PATH, 'folder:.' for this one."
            )
        if fault := path_fault(path):
            raise DataError(f"the folder of images {fault}: {shown(path)}; choose another path.")
        if size is not None and not 1 <= size <= PIXELS:
            raise DataError(f"`size={size}` must be 1 to {PIXELS:,} pixels; 32 is usual.")
        check_folder(Path(path).expanduser())
        return
    if name not in _NAMES:
        raise DataError(f"there are no images called {name!r}. Choose {_suggest(name)}")
    if size is not None or grey or skip_unreadable:
        raise DataError(
            "`size`, `grey` and `skip_unreadable` are for images of a folder; "
            f"{name!r} is used as published. Leave them out."
        )


def _suggest(name: str) -> str:
    names = f"one of {', '.join(_NAMES)}"
    if Path(name).expanduser().is_dir():
        return f"'folder:{name}' for your own images there, or {names}."
    near = difflib.get_close_matches(name.lower(), _NAMES, n=1)
    return f"{names}; did you mean {near[0]!r}?" if near else f"{names}."


def _digits() -> Data:
    from sklearn.datasets import load_digits  # a second of import that other data does without

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).mul(255 / 16).round().to(torch.uint8).reshape(-1, 1, 8, 8)
    train, test = _hold_out(ImageSet(images, torch.from_numpy(labels).long()))
    mean, std = _statistics(train.images)
    # Digits fill their 8x8 frame and are not symmetric: shifts of one pixel, no mirror image.
    augment = Augment(crop_padding=1)
    return Data("digits", tuple("0123456789"), train, test, mean, std, augment)


def _folder(name: str, size: int, grey: bool, skip_unreadable: bool) -> Data:
    path = Path(name.removeprefix("folder:")).expanduser()
    classes, train, test, left_out = read_folder(path, size, grey, skip_unreadable)
    if test is None:
        train, test = _hold_out(train)
    mean, std = _statistics(train.images)
    augment = Augment(crop_padding=size // 8, flip=True)  # as CIFAR: 4 pixels of 32
    return Data(name, classes, train, test, mean, std, augment, left_out)


def _hold_out(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Training and test images: the same ones in every run, a fifth of every class for the test."""
    train, test = split_indices(images.labels, 1 - _TEST_SHARE, _TEST_SEED)
    return images.take(train), images.take(test)


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of pixels scaled to [0, 1].

    From 256 counts per channel, which are exact and need no copy in floating point.  A channel
    of one value gets deviation 1, so that it is normalised to 0.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        share = channel.flatten().bincount(minlength=256).double() / channel.numel()
        mean.append(float(share @ values))
        std.append(float((share @ (values - mean[-1]).square()).sqrt()) or 1.0)
    return tuple(mean), tuple(std)


def _cifar(name: str, root: Path | str | None, download: bool) -> Data:
    from torchvision.datasets import CIFAR10, CIFAR100  # slow to import

    root = Path(root or os.environ.get("WORKBENCH_DATA", "~/.cache/workbench")).expanduser()
    kind = CIFAR10 if name == "cifar10" else CIFAR100
    _ensure_cifar(kind, root, download)
    folder = root / kind.base_folder
    # not torchvision's reader: it unpickles, which executes what a file says
    train, test = (
        _set(*read_split(folder, [name for name, _ in files]))
        for files in (kind.train_list, kind.test_list)
    )
    mean, std = (
        (_CIFAR10_MEAN, _CIFAR10_STD) if kind is CIFAR10 else (_CIFAR100_MEAN, _CIFAR100_STD)
    )
    names = read_arrays(folder / kind.meta["filename"]).get(kind.meta["key"])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{folder / kind.meta['filename']} names no classes; fetch it again.")
    return Data(name, tuple(names), train, test, mean, std, Augment(crop_padding=4, flip=True))


def _set(pixels: np.ndarray, labels: list[int]) -> ImageSet:
    return ImageSet(torch.from_numpy(pixels), torch.tensor(labels, dtype=torch.int64))


def _ensure_cifar(kind: type[CIFAR10], root: Path, download: bool) -> None:
    """See to it that the published files lie under `root`, or say what to put where."""
    from torchvision.datasets.utils import check_integrity, download_url

    fault = _fault(kind, root)
    if fault is None:
        return
    archive = root / kind.filename
    remedy = (
        f"Put {kind.filename} (md5 {kind.tgz_md5}), from {kind.url}, in {root}; "
        "it is unpacked on the next call"
    )
    if not download and not check_integrity(archive, kind.tgz_md5):
        damaged = f", and {archive} has another md5 than published" if archive.exists() else ""
        raise DataError(f"{fault}{damaged}, and `download` is off. {remedy}, or turn it on.")
    try:
        # An intact archive is only unpacked; the network is not asked.
        download_url(kind.url, str(root), filename=kind.filename, md5=kind.tgz_md5)
        files = [*kind.train_list, *kind.test_list, [kind.meta["filename"], ""]]
        unpack(archive, root, [f"{kind.base_folder}/{name}" for name, _ in files])
    except DataError:
        raise
    except (OSError, RuntimeError, HTTPException, TarError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{fault}, and fetching it failed ({reason}). {remedy}.") from error
    fault = _fault(kind, root)
    if fault is not None:
        raise DataError(f"{fault}, although the archive was unpacked. Delete it and try again.")


def _fault(kind: type[CIFAR10], root: Path) -> str | None:
    """The first file of a CIFAR set that is missing or is not the published one."""
    from torchvision.datasets.utils import check_integrity

    files = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
    for name, md5 in files:
        path = root / kind.base_folder / name
        if not path.is_file():
            return f"{path} is {'no file' if path.exists() else 'missing'}"
        try:
            intact = check_integrity(path, md5)
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        if not intact:
            return f"{path} is damaged (its md5 is not {md5})"
    return None
