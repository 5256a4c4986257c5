"""How much of something from elsewhere is read: the one place of these numbers, and their reasons.

Each is far above what anybody has published or could run, so that it refuses only a mistake, or a
file that was made to exhaust the machine.
"""

from __future__ import annotations

from pathlib import Path

from workbench.errors import WorkbenchError

CONFIG_TEXT = 100_000  # characters of YAML; all settings together take some 2,000
GENOTYPE_TEXT = 100_000  # characters; the largest published genotype has under 2,000
GENOTYPE_FILE = 64 << 20  # bytes; all 15,625 cells of NAS-Bench-201 take under 2 MiB
TABLE_FILE = 64 << 20  # bytes of a CSV; that of NAS-Bench-201 takes under 2 MiB
ALPHAS_FILE = 16 << 20  # bytes unpacked; 8 bytes times edges times operations, some 2,000
ARCHIVE_MEMBER = 256 << 20  # bytes unpacked; the largest file of CIFAR has 155 MB
NODES = 1000  # of a cell, inputs included; published cells have up to 12
SHOWN = 120  # characters of a foreign value that a message repeats

# What a setting may be at most.
CHANNELS, DEPTH, CELL_NODES = 65_536, 1000, 64  # edges grow with the square of a cell's nodes
EPOCHS, STEPS, IMAGES, PIXELS, THREADS = 10**6, 10**9, 10**6, 16_384, 4096
SEED = 2**32 - 1  # generators take 64 bits, and some parts multiply it by a million
SEEDS = 10_000  # trainings of one network, one after the other
REAL = 1e6  # a learning rate, a weight of a term, a deviation; float32 squares it without overflow
PATH_TEXT = 4096  # characters of a path, as Linux has it
NAME_BYTES = 255  # of each part of one, as file systems have it


def printable(text: str) -> str:
    """A text of one line from elsewhere as a terminal may get it: no escapes, no line breaks."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def printable_lines(text: str) -> str:
    """The same of a text of several lines, which stay such."""
    return "\n".join(map(printable, text.split("\n")))


def shown(value: object) -> str:
    """`repr(value)` as far as a message repeats it; nothing nested is written out at length."""
    text = repr(value[:SHOWN] if isinstance(value, (str, bytes)) else _flat(value))
    whole = len(text) <= SHOWN and not (isinstance(value, (str, bytes)) and len(value) > SHOWN)
    return text if whole else f"{text[:SHOWN]}…"


def _flat(value: object) -> object:
    """A stand-in that is quickly written: a container that shares its parts can be huge."""
    if isinstance(value, int) and value.bit_length() > 4 * SHOWN:
        return f"a whole number of {value.bit_length()} bits"
    if not isinstance(value, (list, tuple, dict, set)):
        return value
    inside = list(value.items() if isinstance(value, dict) else value)[:SHOWN]
    deep = any(
        (isinstance(part, (list, tuple, dict, set, str)) and len(part) > SHOWN)
        or (isinstance(part, (list, tuple, dict, set)) and _nested(part))
        for part in inside
    )  # fmt: skip
    return f"{type(value).__name__} of {len(value)}" if deep or len(value) > SHOWN else value


def _nested(value: object) -> bool:
    return isinstance(value, (list, tuple, dict, set)) and any(
        isinstance(part, (list, tuple, dict, set)) or (isinstance(part, str) and len(part) > SHOWN)
        for part in (value.values() if isinstance(value, dict) else value)
    )


def read_bytes(path: Path | str, most: int, what: str, error: type[WorkbenchError]) -> bytes:
    """A file's bytes; `what` is what a message calls it.

    Raises:
        error: if it cannot be read, is no file, or has more than `most` bytes.
    """
    try:
        if not Path(path).is_file():
            raise error(f"{what} {_named(path)} cannot be read: there is no such file")
        with Path(path).open("rb") as stream:
            content = stream.read(most + 1)
    except WorkbenchError:
        raise
    except (OSError, ValueError) as problem:  # ValueError: NUL or a lone surrogate in the name
        said = getattr(problem, "strerror", None) or str(problem)
        raise error(f"{what} {_named(path)} cannot be read: {said}") from problem
    if len(content) > most:
        raise error(
            f"{what} {_named(path)} has more than {most:,} bytes, and no more are read; "
            "split it, or check that it is the right file"
        )
    return content


def read_text(path: Path | str, most: int, what: str, error: type[WorkbenchError]) -> str:
    """A file's text, UTF-8 with or without its mark; line ends stay as they are.

    Raises:
        error: if it cannot be read, has more than `most` bytes, or is no UTF-8.
    """
    try:
        return read_bytes(path, most, what, error).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"{what} {_named(path)} cannot be read: it is not UTF-8 text") from problem


def within(text: str, most: int, what: str, error: type[WorkbenchError]) -> str:
    """`text`, unless it is longer than `most` characters.

    Raises:
        error: if it is.
    """
    if len(text) > most:
        raise error(
            f"{what} has {len(text):,} characters, and at most {most:,} are read; "
            "check that it is the right text"
        )
    return text


def path_fault(path: str) -> str | None:
    """Why no file system could have this path, in words; None where it could."""
    parts = path.split("/")
    if "\0" in path or any(0xD800 <= ord(letter) < 0xE000 for letter in path):
        return "holds a character that no path can have"
    if len(path) > PATH_TEXT or any(len(part.encode()) > NAME_BYTES for part in parts):
        return f"is too long: at most {PATH_TEXT} characters, {NAME_BYTES} bytes between slashes"
    return None


def checked_path(path: Path | str) -> None:
    """Refuse a path that no file system could have.

    Raises:
        ValueError: if it is one.
    """
    if fault := path_fault(str(path)):
        raise ValueError(f"{fault}; choose another path")


def whole_path(path: Path | str) -> Path:
    """The path from the root, `~` replaced.

    Raises:
        ValueError: if no file system could have it, or `~` is nobody's.
    """
    checked_path(path)
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, OSError) as error:  # ~nobody; a loop of links
        raise ValueError(f"{' '.join(str(error).split())}; choose another path") from error


def _named(path: Path | str) -> str:
    text = str(path)
    return text if text.isprintable() and len(text) <= 4 * SHOWN else shown(text)
