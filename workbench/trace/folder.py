"""The names of a run folder's files, and how its text files are written and read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from workbench.errors import WorkbenchError

SCHEMA = 1
HEADER = "run.json"
EVENTS = "events.jsonl"
GENOTYPE = "genotype.json"
TRACE = "trace.zarr"
CONTROL = "control.json"
EVALUATION = "evaluation.json"
EVALUATION_EPOCHS = "evaluation/epochs.jsonl"


class RunError(WorkbenchError):
    """A run folder that cannot be written or read."""


def refuse_occupied(path: Path) -> None:
    """Whether a run may be recorded into `path`.

    Raises:
        RunError: if it is there, and no empty folder.
    """
    if (path / HEADER).exists():
        raise RunError(f"{path} holds a run; choose another folder, or remove this one first")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} is no empty folder; record into a new one")


def now() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def to_json(value: object, indent: int | None = None) -> str:
    """JSON text, arrows and all kept as they are."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def refuse_other_than_json(name: str, value: Mapping[str, object]) -> None:
    """Refuse what JSON cannot hold; `name` is what the caller calls it.

    Raises:
        RunError: if `value` holds something else than JSON values.
    """
    try:
        to_json(dict(value))
    except (TypeError, ValueError) as error:
        raise RunError(f"{name} must hold JSON values only: {error}") from error


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, never a part."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of `path` once it is whole, and only then."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")  # two processes may write at once
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def append_line(path: Path, value: object) -> None:
    """Append one JSON object as a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(to_json(value) + "\n")


def read_lines(path: Path) -> list[dict[str, object]]:
    """The objects of a JSON-lines file; a last line that is still being written is left out."""
    if not path.exists():
        return []
    # bytes: a half-written arrow would not decode
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


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
