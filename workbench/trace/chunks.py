"""Chunks of a trace's arrays, in the very bytes of Zarr 3, written and read by one call each.

zarr hands every chunk, and each of its codecs, to another thread: 2 ms where the work takes 0.2.
Arrays themselves, and chunks of any other form, are zarr's.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import zarr
from numcodecs.checksum32 import CRC32C
from numcodecs.zstd import Zstd
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

from workbench.trace.folder import plain_file

LEVEL = 0  # of zstd
_CODECS = (BytesCodec, ZstdCodec, Crc32cCodec)
_SUM, _ZSTD = CRC32C(), Zstd(level=LEVEL)


def fits(array: zarr.Array) -> bool:
    """Do its chunks have the form that is written and read here?"""
    codecs = getattr(array.metadata, "codecs", ())
    return isinstance(array.store, LocalStore) and tuple(map(type, codecs)) == _CODECS


def file_of(array: zarr.Array, chunk: int) -> Path:
    """Where the chunk of steps `chunk` lies; the other axes are not cut."""
    assert isinstance(array.store, LocalStore)
    key = array.metadata.encode_chunk_key((chunk, *(0 for _ in array.shape[1:])))
    return array.store.root / array.path / key


def write_chunk(array: zarr.Array, chunk: int, values: np.ndarray) -> None:
    """Write a whole chunk; a reader sees the old one or the new one.

    Args:
        values: `(steps of a chunk, …)`, those behind the array's end too.
    """
    assert values.shape == array.chunks, f"{values.shape} is no chunk of {array.chunks}"
    file = file_of(array, chunk)
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = np.ascontiguousarray(values, dtype=_little(array.dtype))
    part = file.with_name(f".{file.name}.part")
    with part.open("wb") as stream:
        stream.write(bytes(_SUM.encode(_ZSTD.encode(plain))))
    os.replace(part, file)


def read_chunk(array: zarr.Array, chunk: int) -> np.ndarray:
    """A whole chunk, `(steps of a chunk, …)`.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged.
    """
    values = np.zeros(array.chunks, dtype=_little(array.dtype))
    most = values.nbytes + values.nbytes // 64 + 1024  # what zstd makes of noise, and its checksum
    with plain_file(file_of(array, chunk)) as stream:
        data = stream.read(most + 1)
    if not 4 < len(data) <= most:  # 4: its checksum alone
        raise ValueError(f"{len(data)} bytes are no chunk")
    try:
        _ZSTD.decode(_SUM.decode(data), out=values)  # never more than there is room for
    except RuntimeError as error:  # of the checksum, or of zstd
        raise ValueError(str(error)) from error
    return values.astype(array.dtype, copy=False)


def _little(dtype: np.dtype) -> np.dtype:
    return dtype.newbyteorder("<")
