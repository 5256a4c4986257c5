"""The names of a run folder's files, and how its text files are written and read.

Every JSON object ends with the CRC-32 of the text before it, its seal: against damage, not against
forgery, since whoever writes a file can seal it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from workbench.errors import WorkbenchError
from workbench.trace.json_text import from_json, to_json

SCHEMA = 2
HEADER = "run.json"
EVENTS = "events.jsonl"
GENOTYPE = "genotype.json"
TRACE = "trace.zarr"
CONTROL = "control.json"
LOCK = "run.lock"
CHECKPOINTS = "checkpoints"
EVALUATION = "evaluation.json"
EVALUATION_EPOCHS = "evaluation/epochs.jsonl"
EVALUATION_CHECKPOINTS = "evaluation/checkpoints"
EVALUATION_LOCK = "evaluation.lock"  # beside the epochs

KEY = "crc32"
MOST_BYTES = 1 << 26  # of a file or a line; the indices of ImageNet's images take 10 MB
MOST_LINES_BYTES = 1 << 30
MOST_WORD_BYTES = 1 << 12  # of a wish, or of an owner; some 100
_SEAL = re.compile(rb',\s*"crc32":\s*"([0-9a-f]{8})"\s*\}\s*\Z')
_TAIL = 64  # bytes, of which the seal and white space are fewer

RESTORE = (
    "restore it from a copy; what was written after the last checkpoint of an unfinished run, "
    "`workbench search --resume RUN` writes anew"
)
EVALUATE = "move it away and evaluate the run again, or restore it from a copy"


class RunError(WorkbenchError):
    """A run folder that cannot be written or read."""


def refuse_occupied(path: Path) -> None:
    """Whether a run may be recorded into `path`.

    Raises:
        RunError: if it is there, and no empty folder.
    """
    if (path / HEADER).exists():
        raise RunError(f"{path} holds a run; choose another folder, or remove this one first")
    left = path.iterdir() if path.is_dir() else ()
    if (path.exists() and not path.is_dir()) or any(not _begun(p) or _odd(p) for p in left):
        raise RunError(f"{path} is no empty folder; record into a new one")


def _begun(path: Path) -> bool:
    """Is it what a writer leaves that was killed before it wrote a thing?"""
    return path.name == LOCK or bool(re.fullmatch(rf"\.{HEADER}\.[\d.]+\.part", path.name))


def refuse_links(path: Path) -> None:
    """Whether all that is in a run folder lies in it: a link would let a writer out of it.

    Raises:
        RunError: if something in it is a link, or neither file nor folder.
    """
    for place, folders, files in os.walk(path):
        odd = next((Path(place, n) for n in (*folders, *files) if _odd(Path(place, n))), None)
        if odd is not None:
            what = f"a link to {os.readlink(odd)}" if odd.is_symlink() else "no plain file"
            raise RunError(
                f"{odd} is {what}, and a run is written only inside its folder; put the file or "
                "folder itself there"
            )


def _odd(path: Path) -> bool:
    return path.is_symlink() or not (path.is_file() or path.is_dir())


def now() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def refuse_other_than_json(name: str, value: Mapping[str, object]) -> None:
    """Refuse what JSON cannot hold; `name` is what the caller calls it.

    Raises:
        RunError: if `value` holds something else than JSON values.
    """
    try:
        to_json(dict(value))
    except (TypeError, ValueError) as error:
        raise RunError(f"{name} must hold JSON values only: {error}") from error


def replace_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a file so that a reader sees the old text or the new one, never a part."""
    with replacing(path, durable=durable) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Where to write a file that takes the place of `path` once it is whole, and only then.

    Args:
        durable: it is on the disk before anybody sees it, so that a loss of power leaves the old
            file or the new one.
    """
    me = f"{os.getpid()}.{threading.get_ident()}"  # two may write at once
    part = path.with_name(f".{path.name}.{me}.part")
    part.unlink(missing_ok=True)  # it may be a link to somewhere else
    try:
        yield part
        if durable:
            sync(part)
        os.replace(part, path)
        if durable:
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def make(path: Path) -> None:
    """Let there be a folder.

    Raises:
        RunError: if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"no folder can be made at {path} ({error.strerror}); choose another"
        ) from error


def sync(path: Path) -> None:
    """Until a file's bytes, or a folder's names, are on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows has no such thing for folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(text: str) -> str:
    """JSON text of an object, with the seal as its last key."""
    body = text.removesuffix("}").rstrip()
    lines = text.endswith("\n}")
    gap, end = (",\n ", "\n}") if lines else (", ", "}")
    return f'{body}{gap}"{KEY}": "{zlib.crc32(body.encode()):08x}"{end}'


def write_sealed(
    path: Path, value: object, indent: int | None = None, *, durable: bool = False
) -> None:
    """Write a JSON object with its seal; a reader sees the old file or the new one."""
    replace_text(path, seal(to_json(value, indent)), durable=durable)


def read_sealed(path: Path, *, required: bool = True, remedy: str = RESTORE) -> dict[str, object]:
    """The object in a file, without its seal.

    Args:
        required: a file without a seal is refused; those of schema 1 have none.
        remedy: what the error says can be done.

    Raises:
        RunError: if the file is missing, damaged, too large or no JSON object.
    """
    try:
        with plain_file(path) as stream:
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise RunError(f"{path} has more than {MOST_BYTES:,} bytes, of which none are read")
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error}); {remedy}") from error
    return unseal(data, str(path), required=required, remedy=remedy)


def plain_file(path: Path) -> BinaryIO:
    """A file to read, which must be one: a pipe has no end, and a device may have none.

    Raises:
        OSError: if it cannot be opened, or is neither a file nor a link to one.
    """
    at_once = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe would wait
    handle = os.open(path, os.O_RDONLY | at_once)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise OSError(errno.EINVAL, "it is no plain file")


def unseal(
    data: bytes, where: str, *, required: bool = True, remedy: str = RESTORE
) -> dict[str, object]:
    """The JSON object in `data`, without its seal; `where` is its name in errors.

    Raises:
        RunError: if the seal does not fit, or is missing although `required`, or there is no
            object.
    """
    if not data.strip(b"\0 \t\r\n"):
        raise RunError(f"{where} is empty; {remedy}")
    found = _SEAL.search(data, max(0, len(data) - _TAIL))
    if found and zlib.crc32(data[: found.start()]) != int(found[1], 16):
        raise RunError(f"{where} is damaged (its checksum does not fit its text); {remedy}")
    try:
        value = from_json(data)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{where} is damaged (no JSON: {error}); {remedy}") from error
    if not isinstance(value, dict):
        raise RunError(f"{where} is damaged (a {type(value).__name__}, no object); {remedy}")
    if required and not found:
        raise RunError(f"{where} is damaged (it has no checksum at its end); {remedy}")
    value.pop(KEY, None)
    return cast("dict[str, object]", value)


def read_word(path: Path) -> Any:
    """The JSON value in a small file that has no seal, since it is written anew again and again.

    Raises:
        OSError, ValueError: if it cannot be read, is no JSON or too large.
    """
    with plain_file(path) as stream:
        data = stream.read(MOST_WORD_BYTES + 1)
    if len(data) > MOST_WORD_BYTES:
        raise ValueError(f"it has more than {MOST_WORD_BYTES:,} bytes")
    try:
        return from_json(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def refuse_unwritable(path: Path, *, file: bool = False) -> None:
    """Whether `path`, a folder or with `file` a file, can be written, with parents if they lack.

    Permissions say little (root has them all, a disk may be full or mounted read-only): a nameless
    file of 64 KiB is written where `path` is or would be, and is gone again.

    Raises:
        RunError: if it cannot be.
    """
    if "\0" in str(path):
        raise RunError(f"{str(path)!r} is no path: it holds a zero byte; choose another one")
    try:
        if path.is_symlink() and not path.exists():
            raise RunError(f"{path} is a link to nothing ({path.readlink()}); choose another place")
        if file and path.is_dir():
            raise RunError(f"{path} is a folder; choose the name of a file")
        absolute = path.absolute()
        above = absolute.parents if file else (absolute, *absolute.parents)
        place = next(part for part in above if os.path.lexists(part))
        if not place.is_dir():
            raise RunError(f"{path} cannot be written: {place} is no folder; choose another place")
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(2**16))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}); choose another place, or make "
            "this one writable and free of space enough"
        ) from error
