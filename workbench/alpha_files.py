"""Alphas in an `.npz` file from elsewhere: its sizes are checked before anything is unpacked."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.limits import ALPHAS_FILE, path_fault, shown
from workbench.settings import ConfigError

if TYPE_CHECKING:
    from workbench.spaces.space import Space

_MEMBERS = 1000  # arrays of a file; a space has a few kinds of cells


def read_alphas(path: Path, space: Space) -> dict[str, np.ndarray]:
    """`{kind: (edges, operations)}` in float64; finite, or -inf for what is pruned.

    Raises:
        ConfigError: if the file holds other arrays than the space's cells need, or is too large.
    """
    out = {}
    arrays = _arrays(path, [cell.kind for cell in space.cells])
    for cell in space.cells:
        want = (len(cell.edges), len(cell.columns))
        rows = arrays.get(cell.kind)
        if rows is None or rows.shape != want:
            have = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
            raise ConfigError(
                f"{path} needs an array {cell.kind!r} of {want} (edges, operations) of this space; "
                f"it holds {have}"
            )
        if rows.dtype.kind not in "fiu" or np.isnan(rows).any() or np.isposinf(rows).any():
            raise ConfigError(f"{path}: {cell.kind!r} must hold finite numbers, or -inf for pruned")
        out[cell.kind] = rows.astype(np.float64)
    return out


def _arrays(path: Path, kinds: list[str]) -> dict[str, np.ndarray]:
    """The arrays called as `kinds`."""
    if fault := path_fault(str(path)):
        raise ConfigError(f"the path {shown(str(path))} {fault}")
    try:
        with path.open("rb") as stream:
            with zipfile.ZipFile(stream) as archive:
                _check_sizes(path, archive)
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files if name in kinds}
    except ConfigError:
        raise
    # what zipfile and numpy make of a file that is damaged, encrypted or made to be refused
    except (
        OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error, EOFError,
        NotImplementedError, RuntimeError, LookupError, SyntaxError, MemoryError, OverflowError,
    ) as error:  # fmt: skip
        raise ConfigError(
            f"{path} cannot be read as an .npz file of arrays: {' '.join(str(error).split())[:300]}"
        ) from error


def _check_sizes(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse what would fill the memory: the sizes the file declares, and those of its arrays."""
    members = archive.infolist()
    size = sum(member.file_size for member in members)
    if len(members) > _MEMBERS or size > ALPHAS_FILE:
        raise ConfigError(
            f"{path} unpacks to {len(members):,} arrays of {size:,} bytes; at most {_MEMBERS:,} of "
            f"{ALPHAS_FILE:,} are read, and alphas take some thousand; check that it is the file"
        )
    for member in members:
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, kind = header(stream)
        if int(np.prod([int(n) for n in shape], dtype=object)) * kind.itemsize > ALPHAS_FILE:
            raise ConfigError(
                f"{path}: {shown(member.filename)} says it holds {shown(shape)} values; at most "
                f"{ALPHAS_FILE:,} bytes are read; check that it is the right file"
            )
