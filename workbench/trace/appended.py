"""Files of lines, each a sealed JSON object: appended whole, cut, read on from where one was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from workbench.trace.folder import (
    MOST_BYTES,
    MOST_LINES_BYTES,
    RESTORE,
    RunError,
    plain_file,
    seal,
    unseal,
)
from workbench.trace.json_text import to_json

Line = dict[str, object]


def append_line(path: Path, value: object) -> None:
    """Append one JSON object with its seal as a line, whole or, where that fails, not at all."""
    line = (seal(to_json(value)) + "\n").encode()
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(line)
            while rest:  # a full disk takes a part first, then refuses the rest
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(size)
            raise


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


def read_lines(path: Path, *, required: bool = True, remedy: str = RESTORE) -> list[Line]:
    """The objects of a JSON-lines file, none if it is not there.

    A last line without its newline is still being written, and left out.

    Raises:
        RunError: if a line is damaged, which it names by its number, or the file is too large.
    """
    return read_on(path, [], 0, required=required, remedy=remedy)[0]


def read_on(
    path: Path, known: list[Line], size: int, *, required: bool = True, remedy: str = RESTORE
) -> tuple[list[Line], int]:
    """As `read_lines`, of a file whose first `size` bytes were read before and are `known`.

    Returns:
        All objects, and the size of all lines that are whole.
    """
    try:
        with plain_file(path) as file:  # bytes: a half-written arrow would not decode
            whole = file.seek(0, os.SEEK_END)
            if whole > MOST_LINES_BYTES:
                raise RunError(f"{path} has {whole:,} bytes; at most {MOST_LINES_BYTES:,} are read")
            file.seek(max(size - 1, 0))
            if size and (whole < size or file.read(1) != b"\n"):  # another file, or damaged
                file.seek(0)
                known, size = [], 0
            data = file.read(MOST_LINES_BYTES)
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error}); {remedy}") from error
    new = _unsealed(data, path, len(known) + 1, required=required, remedy=remedy)
    return [*known, *new], size + data.rfind(b"\n") + 1


def _unsealed(
    data: bytes, path: Path, first: int, *, required: bool, remedy: str
) -> Iterator[Line]:
    for number, line in enumerate(data.split(b"\n")[:-1], start=first):
        if len(line) > MOST_BYTES:
            raise RunError(f"{path}, line {number}, has over {MOST_BYTES:,} bytes")
        yield unseal(line, f"{path}, line {number},", required=required, remedy=remedy)
