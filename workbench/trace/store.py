"""The groups and arrays of `trace.zarr`: how they are made, and read without trusting them.

Damage is noticed: chunks carry a CRC-32C, every chunk of a step that was taken is there, even
where all of it is blank, and attributes are sealed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

from workbench.trace.chunks import LEVEL, file_of, fits, read_chunk
from workbench.trace.folder import KEY, RESTORE, RunError
from workbench.trace.grown import Grown

if TYPE_CHECKING:
    from zarr.core.array_spec import ArrayConfigParams

CHUNK = 200  # steps
DIMS = ("step", "edge", "op")
TYPES = {"alive": "bool", "epoch": "int64", "seconds": "float64", "step": "int64"}  # or float32
EDGES = "edge_weight"  # (step, edge), of methods that weigh edges; an attribute tells it is there
SCALARS = "scalars"  # attribute: names
PROBES = "probes"  # attribute: names
_CONFIG: ArrayConfigParams = {"write_empty_chunks": True}  # zarr keeps it nowhere
Opened = dict[Path, tuple[tuple[int, ...], "zarr.Group | zarr.Array"]]  # by place, and of when
_SEPARATORS = (",", ":")
MOST_META_BYTES = 1 << 24  # of a zarr.json; one of a stage names some 50 scalars


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
        compressors=[ZstdCodec(level=LEVEL), Crc32cCodec()],
        dimension_names=DIMS[: len(shape)],
        config=_CONFIG,
        overwrite=True,  # of a search that was killed before it could name the array
    )


def open_array(group: zarr.Group, name: str) -> zarr.Array:
    """An array of a stage, to be written on.

    Raises:
        RunError: if it is not there, or damaged.
    """
    assert isinstance(group.store, LocalStore)
    file = group.store.root / group.path / name / "zarr.json"
    try:
        array = group[name]
    except Exception as error:  # whatever zarr meets in bytes that are none of its own
        raise damaged(file, error) from error
    if not isinstance(array, zarr.Array):
        raise damaged(file, "no array")
    return array.with_config(_CONFIG)


def damaged(file: Path, what: object) -> RunError:
    """A refusal of `file` that says what was met there, and what to do."""
    if isinstance(what, Exception):
        what = "missing" if not file.is_file() else f"{type(what).__name__}: {what}"
    return RunError(f"{file} is damaged ({' '.join(str(what).split())[:200]}); {RESTORE}")


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
        opened: what was opened before, here or in another look at the run.
    """

    path: Path
    inner: tuple[int, int]
    sealed: bool = True
    least: int = 0
    opened: Opened = field(default_factory=dict)

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

    def steps(self, known: Grown | None = None) -> Grown:
        """The steps that are wholly written; whole chunks that are `known` are not read again.

        Raises:
            RunError: if some are lost, or the array is damaged.
        """
        array = self._array("step")
        there = min(self._chunks_there() * CHUNK, array.shape[0])
        whole = min(_whole(known), there // CHUNK * CHUNK)
        new = self._values(array, whole, there)
        blank = np.flatnonzero(new < 0)
        count = int(blank[0]) if len(blank) else len(new)
        if (new[count:] >= 0).any() or whole + count < self.least:
            raise RunError(
                f"{self.path / 'step'} holds {whole + count} steps, and there were "
                f"{max(self.least, whole + int((new >= 0).sum()))} or more; {RESTORE}"
            )
        return _after(known, whole, new[:count])

    def read(self, name: str, rows: int, known: Grown | None = None) -> Grown:
        """The first `rows` of an array; whole chunks of it that are `known` are not read again.

        Raises:
            RunError: if something of it is lost or damaged.
        """
        array = self._array(name)
        if array.shape[0] < rows:
            raise self._damaged(name, f"an array of {array.shape[0]} steps, not {rows}")
        whole = min(_whole(known), rows // CHUNK * CHUNK)
        return _after(known, whole, self._values(array, whole, rows))

    def _names(self, attribute: str) -> list[str]:
        names = self._attributes.get(attribute, [])
        if not isinstance(names, list) or not all(isinstance(x, str) for x in names):
            raise self._damaged("", f"its {attribute} are no names")
        if not all(str(name).isidentifier() for name in names):  # a path could leave the folder
            raise self._damaged("", f"its {attribute} are no identifiers")
        return cast("list[str]", names)

    @cached_property
    def _attributes(self) -> Mapping[str, object]:
        found = self._now().attrs.asdict()  # after `steps`: who opened it before may lack names
        if self.sealed and found.get(KEY) != _seal(found):
            raise self._damaged("", "its checksum does not fit its attributes")
        return found

    @cached_property
    def _group(self) -> zarr.Group:
        return self._now()

    def _now(self) -> zarr.Group:
        """The group as it is at this moment."""
        group = self._opened(
            "",
            lambda: zarr.open_group(self.path, mode="r", use_consolidated=False, zarr_format=3),
        )
        assert isinstance(group, zarr.Group)
        return group

    def _array(self, name: str) -> zarr.Array:
        array = self._opened(name, lambda: cast("zarr.Array", self._group[name]))
        if not isinstance(array, zarr.Array):
            raise self._damaged(name, "no array")
        inner = self.inner[: array.ndim - 1]
        dtype = np.dtype(TYPES.get(name, "float32"))
        if not 1 <= array.ndim <= 3 or array.shape[1:] != inner:
            raise self._damaged(name, f"an array of shape {array.shape}")
        if array.dtype != dtype or array.chunks != (CHUNK, *inner):
            raise self._damaged(name, f"an array of {array.dtype} in chunks {array.chunks}")
        if self.sealed and not fits(array):
            raise self._damaged(name, "an array of chunks in another form")
        return array

    def _opened(
        self, name: str, make: Callable[[], zarr.Group | zarr.Array]
    ) -> zarr.Group | zarr.Array:
        """What `make` opens, or what it opened when its zarr.json was the one that is there."""
        place = self.path / name
        try:
            now = (place / "zarr.json").stat()
            stamp = (now.st_ino, now.st_size, now.st_mtime_ns)
            if now.st_size > MOST_META_BYTES:
                raise ValueError(f"{now.st_size:,} bytes")
            if self.opened.get(place, ((), None))[0] != stamp:
                self.opened[place] = stamp, make()
            return self.opened[place][1]
        except Exception as error:  # whatever zarr meets in bytes that are none of its own
            raise damaged(place / "zarr.json", error) from error

    def _chunks_there(self) -> int:
        """The number of the last chunk of `step` and one: how many there are, or should be.

        Raises:
            RunError: if one is lost before the last; schema 1 wrote none that was blank.
        """
        place = self.path / "step" / "c"
        there = (
            {int(x.name) for x in place.iterdir() if x.name.isdecimal()} if place.is_dir() else ()
        )
        last = max(there, default=-1)
        lost = next((k for k in range(len(there)) if k not in there), None)
        if lost is not None and self.sealed:
            raise RunError(f"{place / str(lost)} is missing; {RESTORE}")
        return last + 1

    def _values(self, array: zarr.Array, start: int, stop: int) -> np.ndarray:
        """Steps from the beginning of a chunk on."""
        chunks = range(start // CHUNK, -(-stop // CHUNK))
        empty = np.empty((0, *array.shape[1:]), array.dtype)
        return np.concatenate([empty, *(self._chunk(array, k) for k in chunks)])[: stop - start]

    def _chunk(self, array: zarr.Array, chunk: int) -> np.ndarray:
        try:
            if self.sealed:
                return read_chunk(array, chunk)
            return np.asarray(array[chunk * CHUNK : (chunk + 1) * CHUNK])
        except FileNotFoundError as error:
            raise RunError(f"{file_of(array, chunk)} is missing; {RESTORE}") from error
        except Exception as error:  # of schema 1: whichever codec met it first
            raise damaged(file_of(array, chunk), error) from error

    def _damaged(self, name: str, what: str) -> RunError:
        return damaged(self.path / name / "zarr.json", what)


def _whole(known: Grown | None) -> int:
    """How many rows need not be read again: the last chunk grows, and a probe may fill its row."""
    return max(len(known) - 1, 0) // CHUNK * CHUNK if known else 0


def _after(known: Grown | None, whole: int, new: np.ndarray) -> Grown:
    return known.then(whole, new) if known else Grown(new)
