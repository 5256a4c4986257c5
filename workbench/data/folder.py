"""The user's own images: one folder per class.

Read are files directly in a class folder whose name ends in one of `EXTENSIONS` (in any case) and
does not start with a dot; all else is ignored.  An image is turned upright by its EXIF tag, its
centre square is cut out, and that is resized with antialiasing (bilinear): the same pixels as
resizing the shorter side and cutting out the centre.  Which files are an error and which are read
with a note is told in `workbench.data.decoding`.  Two more notes are about several files: the same
bytes in two classes (one of the labels is wrong), and the same bytes in train and test.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from workbench.data.decoding import SUFFIXES, Decoded, decode
from workbench.data.sets import DataError, ImageSet
from workbench.limits import printable

EXTENSIONS = tuple(SUFFIXES)
FEWEST = 4  # images of a class that is to be split for weights, architecture and test
_LAYOUTS = "Use PATH/CLASS/*.png, or PATH/train/CLASS/*.png with PATH/test/CLASS/*.png"
_SHOW_PROGRESS_ABOVE = 200  # files
SHOWN = 5  # files that a message names
_log = logging.getLogger(__name__)


class _File(NamedTuple):
    path: Path
    split: str
    label: int


class Finding(NamedTuple):
    """One thing about one file: `kind` is "error" or "note", `path` is below the folder."""

    path: str
    kind: str
    text: str


class Folder(NamedTuple):
    """What a folder holds.

    Args:
        classes: names of the class folders, sorted.
        train: the training images.
        test: the test images; None of a folder that has no test part.
        left_out: the files that could not be read, paths below the folder.
    """

    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet | None
    left_out: tuple[str, ...]


def read_folder(path: Path, size: int, grey: bool, skip_unreadable: bool) -> Folder:
    """Classes, training images and test images of a folder.

    Images are `(n, 1 or 3, size, size)`: one channel if `grey` or if every file is grey.

    Raises:
        DataError: if the folder is missing or is no data set, or a file cannot be decoded.
    """
    splits, classes, files = _listed(path)
    _check_counts(files, splits, classes)
    read = _read(files, size, grey)
    findings = _findings(path, files, read, classes)
    _tell(path, findings, len(files), skip_unreadable)
    good = [(f, one.pixels) for f, one in zip(files, read, strict=True) if one.pixels is not None]
    files = [file for file, _ in good]
    _check_counts(files, splits, classes)
    images = _stack([pixels for _, pixels in good])
    labels = torch.tensor([file.label for file in files])
    is_train = torch.tensor([file.split == "train" for file in files])
    train = ImageSet(images[is_train], labels[is_train])
    test = ImageSet(images[~is_train], labels[~is_train]) if "test" in splits else None
    left_out = tuple(found.path for found in findings if found.kind == "error")
    return Folder(classes, train, test, left_out)


def inspect_folder(path: Path, size: int = 32) -> tuple[int, list[Finding]]:
    """How many image files a folder holds, and everything about them that is an error or a note.

    Raises:
        DataError: if the folder is missing or has no two class folders.
    """
    _, classes, files = _listed(path)
    return len(files), _findings(path, files, _read(files, size, False), classes)


def _listed(path: Path) -> tuple[dict[str, Path], tuple[str, ...], list[_File]]:
    """The splits of a folder, its classes and its files."""
    check_folder(path)
    try:
        has_test = (path / "train").is_dir() and (path / "test").is_dir()
        splits = {"train": path / "train", "test": path / "test"} if has_test else {"train": path}
        classes = _classes(splits)
        files = [file for split, top in splits.items() for file in _files(split, top, classes)]
    except OSError as error:
        raise DataError(
            f"{str(error.filename or path)!r} cannot be listed ({error.strerror}); all of a data "
            "set must be readable. Change its permissions, or remove it."
        ) from error
    return splits, classes, files


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
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
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


def _read(files: Sequence[_File], size: int, grey: bool) -> list[Decoded]:
    """What became of every file; threads decode."""
    Image.init()  # finding Pillow's plugins is not safe in threads
    pool = ThreadPoolExecutor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is a note
        try:
            done = pool.map(partial(decode, size=size, grey=grey), [file.path for file in files])
            quiet = None if len(files) > _SHOW_PROGRESS_ABOVE else True  # None: if not a terminal
            return list(tqdm(done, desc="images", total=len(files), unit="file", disable=quiet))
        finally:
            pool.shutdown(cancel_futures=True)


def _findings(
    top: Path, files: Sequence[_File], read: Sequence[Decoded], classes: Sequence[str]
) -> list[Finding]:
    """Errors and notes in the order of the files, paths below `top`."""
    by_digest: dict[bytes, list[_File]] = {}
    for file, one in zip(files, read, strict=True):
        if one.pixels is not None:
            by_digest.setdefault(one.digest, []).append(file)
    out = []
    for file, one in zip(files, read, strict=True):
        path = file.path.relative_to(top).as_posix()
        if one.error:
            out.append(Finding(path, "error", one.error))
        twins = by_digest.get(one.digest, ())
        notes = [*one.notes, *_twin_notes(file, twins, top, classes)]
        out += [Finding(path, "note", note) for note in notes]
    return out


def _twin_notes(
    file: _File, twins: Sequence[_File], top: Path, classes: Sequence[str]
) -> Iterator[str]:
    """Whether the same bytes are also of another class, or in the other split.

    What stands before the colon is counted where not every file is listed.
    """
    for twin in twins:
        where = twin.path.relative_to(top).as_posix()
        if twin.label != file.label:
            yield f"mislabelled: the same bytes are of class {classes[twin.label]} ({where})"
            return
        if twin.split != file.split:
            yield f"in both splits: the same bytes are in {twin.split} too ({where})"
            return


def _tell(top: Path, findings: Sequence[Finding], total: int, skip_unreadable: bool) -> None:
    """Errors are refused, or a warning; of notes the count of each kind is logged."""
    errors = [found for found in findings if found.kind == "error"]
    notes = Counter(
        found.text.partition(":")[0] for found in findings if found.kind == "note"
    ).most_common()
    every = f"`workbench check folder:{top}` lists every file"
    if notes:
        kinds = ", ".join(f"{count} {what}" for what, count in notes)
        _log.warning("%s: images that were changed or look wrong: %s; %s", top, kinds, every)
    if not errors:
        return
    first = ", ".join(
        f"{printable(str(top / found.path))} ({found.text})" for found in errors[:SHOWN]
    )
    more = f" and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
    fact = f"{len(errors)} of {total} images cannot be read: {first}{more}."
    if not skip_unreadable:
        raise DataError(f"{fact} Repair or remove them, or set skip_unreadable; {every}.")
    warnings.warn(f"{fact} They are left out; {every}.", stacklevel=5)


def _stack(arrays: Sequence[Tensor]) -> Tensor:
    """`(n, channels, size, size)`; grey images among coloured ones get three equal channels."""
    channels = max(len(array) for array in arrays)
    return torch.stack([array.expand(channels, -1, -1) for array in arrays])
