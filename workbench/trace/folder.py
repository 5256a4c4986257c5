"""The names of a run folder's files, and how its text files are written and read."""

from __future__ import annotations

import json
import os
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
LOCK = "run.lock"
CHECKPOINTS = "checkpoints"
EVALUATION = "evaluation.json"
EVALUATION_EPOCHS = "evaluation/epochs.jsonl"
EVALUATION_CHECKPOINTS = "evaluation/checkpoints"
EVALUATION_LOCK = "evaluation.lock"  # beside the epochs


class RunError(WorkbenchError):
    """A run folder that cannot be written or read."""


def refuse_occupied(path: Path) -> None:
    """Whether a run may be recorded into `path`.

    Raises:
        RunError: if it is there, and no empty folder.
    """
    if (path / HEADER).exists():
        raise RunError(f"{path} holds a run; choose another folder, or remove this one first")
    empty = {LOCK}  # what a writer leaves that was killed before it wrote a thing
    if path.exists() and (not path.is_dir() or any(p.name not in empty for p in path.iterdir())):
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
    part = path.with_name(f".{path.name}.{os.getpid()}.part")  # two processes may write at once
    try:
        yield part
        if durable:
            _sync(part)
        os.replace(part, path)
        if durable:
            _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Until a file's bytes, or a folder's names, are on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows has no such thing for folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_object(path: Path) -> dict[str, object]:
    """The JSON object that a file holds.

    Raises:
        RunError: if it cannot be read, or holds none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} holds no JSON object")
    return value


def append_line(path: Path, value: object) -> None:
    """Append one JSON object as a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(to_json(value) + "\n")


def cut(path: Path, size: int) -> None:
    """Take everything behind the first `size` bytes, which are whole lines, out of a file.

    Raises:
        RunError: if there are fewer, or no line ends there.
    """
    if not path.exists() or path.stat().st_size < size:
        raise RunError(f"{path} is shorter than it was at the checkpoint; it is damaged")
    with path.open("r+b") as file:
        file.seek(max(size - 1, 0))
        if size and file.read(1) != b"\n":
            raise RunError(f"{path} has no line that ends where the checkpoint was; it is damaged")
        file.truncate(size)


def read_lines(path: Path) -> list[dict[str, object]]:
    """The objects of a JSON-lines file; a last line that is still being written is left out."""
    if not path.exists():
        return []
    # bytes: a half-written arrow would not decode
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
