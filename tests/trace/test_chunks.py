"""Chunks are the bytes that zarr itself writes, and it reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from workbench.trace import chunks
from workbench.trace.store import CHUNK, TYPES, new_array

INNER = {"alpha": (14, 8), "alive": (14, 8), "edge_weight": (14,), "step": (), "seconds": ()}


def array_of(path: Path, name: str) -> zarr.Array:
    group = zarr.open_group(path, mode="a")
    return new_array(group, name, (2 * CHUNK - 50, *INNER[name]), 0)


def values_of(name: str) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(CHUNK, *INNER[name]))
    return (values > 0) if name == "alive" else values.astype(TYPES.get(name, "float32"))


@pytest.mark.parametrize("name", INNER)
def test_zarr_writes_the_same_bytes_and_reads_them(tmp_path: Path, name: str) -> None:
    ours, theirs = array_of(tmp_path / "ours", name), array_of(tmp_path / "theirs", name)
    assert chunks.fits(ours)
    values = values_of(name)
    chunks.write_chunk(ours, 0, values)
    theirs[:CHUNK] = values
    assert chunks.file_of(ours, 0).read_bytes() == chunks.file_of(theirs, 0).read_bytes()
    np.testing.assert_array_equal(ours[:CHUNK], values)
    np.testing.assert_array_equal(chunks.read_chunk(theirs, 0), values)


@pytest.mark.parametrize("name", ["alpha", "step"])
def test_a_chunk_beyond_the_arrays_end_is_whole(tmp_path: Path, name: str) -> None:
    array, values = array_of(tmp_path, name), values_of(name)
    chunks.write_chunk(array, 1, values)
    np.testing.assert_array_equal(array[CHUNK:], values[: CHUNK - 50])
    np.testing.assert_array_equal(chunks.read_chunk(array, 1), values)
    assert [file.name for file in chunks.file_of(array, 1).parent.iterdir()] == [
        chunks.file_of(array, 1).name
    ]


def test_damage_and_loss_are_told(tmp_path: Path) -> None:
    array = array_of(tmp_path, "alpha")
    with pytest.raises(FileNotFoundError):
        chunks.read_chunk(array, 0)
    chunks.write_chunk(array, 0, values_of("alpha"))
    file = chunks.file_of(array, 0)
    whole = file.read_bytes()
    for bad in (b"", whole[:3], whole[:-1], whole[:50] + b"\0" + whole[51:], whole + b"\0"):
        file.write_bytes(bad)
        with pytest.raises(ValueError, match=r"checksum|chunk"):
            chunks.read_chunk(array, 0)


def test_more_than_there_is_room_for_is_refused(tmp_path: Path) -> None:
    array = array_of(tmp_path, "step")
    large = np.zeros(1 << 20)
    chunks.write_chunk(array, 0, values_of("step"))
    packed = chunks._SUM.encode(chunks._ZSTD.encode(large))
    chunks.file_of(array, 0).write_bytes(memoryview(packed))
    with pytest.raises(ValueError, match="too small"):
        chunks.read_chunk(array, 0)
    with chunks.file_of(array, 0).open("r+b") as file:
        file.truncate(1 << 40)  # on disk it takes no room; in memory it would
    with pytest.raises(ValueError, match=r"bytes are no chunk"):
        chunks.read_chunk(array, 0)


def test_noise_takes_no_more_room_than_is_read(tmp_path: Path) -> None:
    array = array_of(tmp_path, "alpha")
    noise = np.random.default_rng(0).bytes(int(np.prod(array.chunks)) * array.dtype.itemsize)
    values = np.frombuffer(noise, array.dtype).reshape(array.chunks)
    chunks.write_chunk(array, 0, values)
    assert chunks.read_chunk(array, 0).tobytes() == noise


def test_chunks_of_another_form_are_left_to_zarr(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path, mode="a")
    assert not chunks.fits(group.create_array("plain", shape=(3,), dtype="float32"))
