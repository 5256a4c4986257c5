"""What is said when a record cannot be written any more: a full disk, above all."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.trace.folder import RunError
from workbench.trace.stage import StageArrays

_REMEDIES = {
    errno.ENOSPC: "free space there",
    errno.EDQUOT: "free space there, or have your quota raised",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EROFS: "make it writable again",
}


class Unwritten(RunError):
    """A record whose disk is full, was taken away or fails; what was written before is whole."""


@contextmanager
def writing(file: Path, told: Callable[[], tuple[str, str]]) -> Iterator[None]:
    """Within, an error of the operating system is an `Unwritten` of one line.

    Args:
        file: what is written.
        told: up to where the record is whole, and how to go on; asked only then.

    Raises:
        Unwritten: in the place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        said = os.strerror(error.errno) if error.errno else str(error)
        remedy = _REMEDIES.get(error.errno or 0, "see to that disk")
        whole, then = told()
        raise Unwritten(
            f"{file} cannot be written any more ({said}); {whole}; {remedy}, then {then}"
        ) from error


def told(path: Path, stage: StageArrays | None, saved: str | None) -> tuple[str, str]:
    """Up to where the record of a search in `path` is whole, and how to go on.

    Args:
        stage: the one that is being written.
        saved: the last checkpoint.
    """
    if saved is None:
        return "nothing of the search is saved", f"remove {path} and search anew"
    command = shlex.join(["workbench", "search", "--resume", str(path)])
    if stage is None:
        return f"the last saved state is that of {saved}", f"go on with: {command}"
    last = f"the end of step {stage.written - 1}" if stage.written else "the start"
    where = f" of stage {stage.number}" if stage.number or not stage.written else ""
    return (
        f"the record is whole up to {last}{where}, the last saved state is that of {saved}",
        f"go on with: {command}",
    )
