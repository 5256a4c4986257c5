"""The published files of CIFAR, read without executing anything that stands in them.

They are pickles, and a pickle is a program: unpacking one may call any function.  Here only what
the published files name may be called, which makes arrays, lists, dictionaries and texts.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np

from workbench.data.sets import DataError
from workbench.limits import ARCHIVE_MEMBER, read_bytes, shown


def _encoded(text: str, encoding: str) -> bytes:
    """`codecs.encode` as far as old pickles use it: bytes that were written as Latin-1 text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding!r}")
    return text.encode(encoding)


_ARRAYS: Mapping[tuple[str, str], object] = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # pyright: ignore
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # pyright: ignore
    ("_codecs", "encode"): _encoded,
}


class _OnlyArrays(pickle.Unpickler):
    """Finds the few names that an array is written with, and no other."""

    def find_class(self, module_name: str, global_name: str) -> object:
        """What a pickle may call."""
        try:
            return _ARRAYS[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it would call {module_name}.{global_name}") from None


def read_arrays(path: Path) -> dict[str, object]:
    """A published file: a dictionary of arrays, lists and texts by name.

    Raises:
        DataError: if it names anything else, or is no such file; nothing of it was executed then.
    """
    content = read_bytes(path, ARCHIVE_MEMBER, "data file", DataError)
    try:
        found = _OnlyArrays(io.BytesIO(content), encoding="latin1").load()
    # what a damaged or hostile pickle can raise; the unpickler runs nothing but `_ARRAYS`
    except (
        pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, EOFError,
        ArithmeticError, MemoryError, RecursionError, AssertionError, ImportError,
    ) as error:  # fmt: skip
        raise DataError(
            f"{path} is refused: {shown(str(error))}. A file of CIFAR holds arrays, lists and "
            "texts alone; fetch the published one again."
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no dictionary, as files of CIFAR do; fetch it again.")
    return found


def read_split(folder: Path, names: Collection[str]) -> tuple[np.ndarray, list[int]]:
    """Pixels `(images, 3, 32, 32)` uint8 and labels of files that follow each other.

    Raises:
        DataError: as `read_arrays`, or if a file holds no such pixels and labels.
    """
    pixels, labels = [], []
    for name in names:
        found = read_arrays(folder / name)
        rows, own = found.get("data"), found.get("labels", found.get("fine_labels"))
        fits = (
            isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows.shape[1:] == (3072,)
            and isinstance(own, list) and len(own) == len(rows)
            and all(type(label) is int and 0 <= label < 100 for label in own)
        )  # fmt: skip
        if not fits:
            raise DataError(
                f"{folder / name} needs `data` of (images, 3072) bytes and a label of each image; "
                "fetch the published file again."
            )
        pixels.append(rows)
        labels += cast("list[int]", own)
    return np.concatenate(pixels).reshape(-1, 3, 32, 32), labels


def unpack(archive: Path, root: Path, wanted: Collection[str]) -> None:
    """The `wanted` files of a tar archive, into `root`; whatever else is in it stays there.

    Args:
        wanted: names in the archive, such as `cifar-10-batches-py/data_batch_1`.

    Raises:
        DataError: if a wanted one leads out of `root`, is a link or a device, or is too large.
        OSError, tarfile.TarError, EOFError: if the archive cannot be read.
    """
    for name in wanted:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts:
            raise DataError(f"{archive} shall put {shown(name)} outside of {root}; it is refused.")
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            name = str(PurePosixPath(member.name))
            if name not in wanted or member.isdir():
                continue
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None or member.size > ARCHIVE_MEMBER:
                raise DataError(
                    f"{archive}: {shown(name)} is no plain file of at most {ARCHIVE_MEMBER:,} "
                    "bytes; fetch the published archive again."
                )
            _put(root, name, stream.read(ARCHIVE_MEMBER))


def _put(root: Path, name: str, content: bytes) -> None:
    """Write a file; a link that lies in its place, or in its folder's, is not followed."""
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{target.parent} is a link out of {root}; remove it and try again.")
    target.unlink(missing_ok=True)
    target.write_bytes(content)
