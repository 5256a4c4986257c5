"""The groups and arrays of `trace.zarr`: how they are made, and read without trusting them.

Damage is noticed: chunks carry a CRC-32C, every chunk of a step that was taken is there, even
where all of it is blank, and attributes are sealed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from workbench.trace.folder import KEY, RESTORE, RunError

if TYPE_CHECKING:
    from zarr.core.array_spec import ArrayConfigParams

CHUNK = 200  # steps
DIMS = ("step", "edge", "op")
TYPES = {"alive": "bool", "epoch": "int64", "seconds": "float64", "step": "int64"}  # or float32
EDGES = "edge_weight"  # (step, edge), of methods that weigh edges; an attribute tells it is there
SCALARS = "scalars"  # attribute: names
PROBES = "probes"  # attribute: names
_CONFIG: ArrayConfigParams = {"write_empty_chunks": True}  # zarr keeps it nowhere
T = TypeVar("T")
_SEPARATORS = (",", ":")


def new_array(
    group: zarr.Group, name: str, shape: tuple[int, ...], fill: float | bool
) -> zarr.Array:
    """An array `(steps, …)` of which every chunk that is written to can be told from a lost one."""
    return group.create_array(
        name,
        shape=shape,
        chunks=(CHUNK, *shape[1:]),
        dtype=TYPES.get(name, "float32"),
        fill_value=fill,
        compressors=[ZstdCodec(level=0), Crc32cCodec()],
        dimension_names=DIMS[: len(shape)],
        config=_CONFIG,
        overwrite=True,  # of a search that was killed before it could name the array
    )


def open_array(group: zarr.Group, name: str) -> zarr.Array:
    """An array of a stage, to be written on.

    Raises:
        RunError: if it is not there.
    """
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise RunError(f"{group.store_path} holds no array {name!r}; {RESTORE}")
    return array.with_config(_CONFIG)


def describe(group: zarr.Group, changes: Mapping[str, object]) -> None:
    """Set attributes of a group, and seal all of them, in one write."""
    attributes = {**group.attrs.asdict(), **changes}
    # not group.attrs.update, which writes once per key
    group.update_attributes({**changes, KEY: _seal(attributes)})


def _seal(attributes: Mapping[str, object]) -> str:
    rest = {name: value for name, value in attributes.items() if name != KEY}
    text = json.dumps(rest, sort_keys=True, separators=_SEPARATORS)
    return f"{zlib.crc32(text.encode()):08x}"


@dataclass(frozen=True)
class StageStore:
    """The arrays of one stage, to be read.

    Args:
        path: the stage's folder.
        inner: edges and operations, as the line `StageStarted` says.
        sealed: whether chunks and attributes have checksums, as since schema 2.
        least: steps that `run.json` says are there.
    """

    path: Path
    inner: tuple[int, int]
    sealed: bool = True
    least: int = 0

    @cached_property
    def scalars(self) -> list[str]:
        """Names of the scalars, each with an array."""
        if SCALARS not in self._attributes:
            raise self._damaged("", f"it has no {SCALARS}")
        return self._names(SCALARS)

    @cached_property
    def probes(self) -> list[str]:
        """Names of what probes measured; runs from before they were recorded have none."""
        return self._names(PROBES)

    @cached_property
    def weighs_edges(self) -> bool:
        """Is there an array of the weights of edges?"""
        return self._attributes.get(EDGES) is True if self.sealed else EDGES in self._group

    def steps(self) -> np.ndarray:
        """The steps that are wholly written.

        Raises:
            RunError: if some are lost, or the array is damaged.
        """
        array = self._array("step")
        count = min(self._chunks_there() * CHUNK, array.shape[0]) if self.sealed else None
        step = self._values(array, "step", 0, count)
        blank = np.flatnonzero(step < 0)
        rows = int(blank[0]) if len(blank) else len(step)
        if (step[rows:] >= 0).any() or rows < self.least:
            raise RunError(
                f"{self.path / 'step'} holds {rows} steps, and there were "
                f"{max(self.least, int((step >= 0).sum()))} or more; {RESTORE}"
            )
        return step[:rows]

    def read(self, name: str, rows: int, known: np.ndarray | None = None) -> np.ndarray:
        """The first `rows` of an array; whole chunks of it that are `known` are not read again.

        Raises:
            RunError: if something of it is lost or damaged.
        """
        array = self._array(name)
        # The last chunk grows, and a probe may still fill in the last row.
        whole = 0 if known is None else min(max(len(known) - 1, 0), rows) // CHUNK * CHUNK
        if array.shape[0] < rows:
            raise self._damaged(name, f"an array of {array.shape[0]} steps, not {rows}")
        if self.sealed:
            self._expect_chunks(array, name, range(whole // CHUNK, -(-rows // CHUNK)))
        new = self._values(array, name, whole, rows)
        return new if known is None else np.concatenate([known[:whole], new])

    def _names(self, attribute: str) -> list[str]:
        names = self._attributes.get(attribute, [])
        if not isinstance(names, list) or not all(isinstance(x, str) for x in names):
            raise self._damaged("", f"its {attribute} are no names")
        if not all(str(name).isidentifier() for name in names):  # a path could leave the folder
            raise self._damaged("", f"its {attribute} are no identifiers")
        return cast("list[str]", names)

    @cached_property
    def _attributes(self) -> Mapping[str, object]:
        found = self._group.attrs.asdict()
        if self.sealed and found.get(KEY) != _seal(found):
            raise self._damaged("", "its checksum does not fit its attributes")
        return found

    @cached_property
    def _group(self) -> zarr.Group:
        return self._opened(
            "", lambda: zarr.open_group(self.path, mode="r", use_consolidated=False)
        )

    def _array(self, name: str) -> zarr.Array:
        array = self._opened(name, lambda: self._group[name])
        if not isinstance(array, zarr.Array):
            raise self._damaged(name, "no array")
        inner = self.inner[: array.ndim - 1]
        dtype = np.dtype(TYPES.get(name, "float32"))
        if not 1 <= array.ndim <= 3 or array.shape[1:] != inner:
            raise self._damaged(name, f"an array of shape {array.shape}")
        if array.dtype != dtype or array.chunks != (CHUNK, *inner):
            raise self._damaged(name, f"an array of {array.dtype} in chunks {array.chunks}")
        codecs = getattr(array.metadata, "codecs", ())
        if self.sealed and not (codecs and isinstance(codecs[-1], Crc32cCodec)):
            raise self._damaged(name, "an array without checksums")
        return array

    def _opened(self, name: str, make: Callable[[], T]) -> T:
        try:
            return make()
        except Exception as error:  # whatever zarr meets in bytes that are none of its own
            there = (self.path / name / "zarr.json").is_file()
            what = " ".join(f"{type(error).__name__}: {error}".split()) if there else "missing"
            raise self._damaged(name, what[:200]) from error

    def _chunks_there(self) -> int:
        """How many chunks of `step` there are.

        Raises:
            RunError: if one is lost before the last.
        """
        place = self.path / "step" / "c"
        there = (
            {int(x.name) for x in place.iterdir() if x.name.isdecimal()} if place.is_dir() else ()
        )
        lost = next((k for k in range(max(there, default=0)) if k not in there), None)
        if lost is not None:
            raise RunError(f"{place / str(lost)} is missing; {RESTORE}")
        return len(there)

    def _expect_chunks(self, array: zarr.Array, name: str, chunks: range) -> None:
        for chunk in chunks:
            file = self._chunk(array, name, chunk)
            if not file.is_file():
                raise RunError(f"{file} is missing; {RESTORE}")

    def _chunk(self, array: zarr.Array, name: str, chunk: int) -> Path:
        place = (chunk, *(0 for _ in array.shape[1:]))
        return self.path / name / array.metadata.encode_chunk_key(place)

    def _values(self, array: zarr.Array, name: str, start: int, stop: int | None) -> np.ndarray:
        try:
            return np.asarray(array[start:stop])
        except Exception as error:  # of whichever codec met it first
            raise self._which(array, name, start, error) from error

    def _which(self, array: zarr.Array, name: str, start: int, error: Exception) -> RunError:
        """The error that names the damaged chunk."""
        for chunk in range(start // CHUNK, -(-array.shape[0] // CHUNK)):
            try:
                np.asarray(array[chunk * CHUNK : (chunk + 1) * CHUNK])
            except Exception as own:  # the same again, of a known chunk
                what = " ".join(f"{type(own).__name__}: {own}".split())[:200]
                return RunError(f"{self._chunk(array, name, chunk)} is damaged ({what}); {RESTORE}")
        return RunError(f"{self.path / name} cannot be read ({error}); {RESTORE}")

    def _damaged(self, name: str, what: str) -> RunError:
        return RunError(f"{self.path / name / 'zarr.json'} is damaged ({what}); {RESTORE}")
