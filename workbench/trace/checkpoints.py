"""Saved states of a run in its folder: written whole or not at all, checked when they are read.

A checkpoint is two files: the state, as whoever runs saves it, and a JSON file that says what it
is, where the record stood, and the state's SHA-256.  It is there once that JSON file is there.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from workbench.events import Resumable
from workbench.heap import give_back
from workbench.trace import folder
from workbench.trace.durable import NOTHING, sync_written
from workbench.trace.folder import RunError

_REMEDY = "take an older one"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpointing:
    """When a run's state is saved: before the first step, at epochs' ends, and in between.

    Args:
        steps: at most so many steps apart; None is no matter.
        minutes: at most so many minutes apart; None is no matter.
        keep: how many are kept, the newest ones.
        share: of the time that those before stages and at epochs' ends may take: where epochs are
            over in seconds, not each has one.  None is no matter.
    """

    steps: int | None = None
    minutes: float | None = 10.0
    keep: int = 2
    share: float | None = 0.01

    def __post_init__(self) -> None:
        for name in ("steps", "minutes", "keep", "share"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RunError(f"checkpoints: `{name}` must be more than 0, not {value}")


@dataclass(frozen=True)
class Checkpoint:
    """A saved state: the file of the state, and `facts`, the JSON file's values."""

    file: Path
    facts: Mapping[str, object]

    @property
    def state(self) -> Path:
        """Where the state lies."""
        return self.file.with_suffix(".pt")

    @property
    def number(self) -> int:
        """It counts from 0 in a run."""
        return _number(self.file)

    @property
    def record(self) -> Mapping[str, object]:
        """Where the record stood."""
        return cast("Mapping[str, object]", self.facts["record"])

    def __str__(self) -> str:
        clock = cast("Mapping[str, int]", self.facts["clock"])
        stage = f"stage {clock['stage']}, " if clock["stage"] else ""
        return f"{stage}epoch {clock['epoch']}, step {clock['step']} ({self.file.name})"


class Checkpoints:
    """Writes the checkpoints of one run, or of one evaluation, into the folder `path`."""

    def __init__(self, path: Path, when: Checkpointing) -> None:
        self.path, self.when = path, when
        self._next = 0
        self._saved_at = time.monotonic()
        self._steps = 0  # since the last one
        self._took = 0.0  # seconds, to write that
        self._synced = NOTHING

    def begin(self) -> None:
        """Take the folder over; whoever does holds its lock."""
        for part in self.path.glob(".checkpoint_*.part"):  # of a writer that was killed over it
            part.unlink(missing_ok=True)
        self._next = max((_number(file) for file in _files(self.path)), default=-1) + 1

    def last(self) -> Checkpoint | None:
        """The newest one that says what it is."""
        file = next(iter(_files(self.path)), None)
        return None if file is None else Checkpoint(file, folder.read_sealed(file, remedy=_REMEDY))

    def saved(self) -> str | None:
        """The newest one as text."""
        last = self.last()
        return None if last is None else str(last)

    def due(self, event: Resumable) -> bool:
        """Whether the state is to be saved at this event; each is to be asked about once."""
        seconds = time.monotonic() - self._saved_at
        if event.epoch_ended:
            return self.when.share is None or self._took <= self.when.share * seconds
        self._steps += 1
        by_steps = self.when.steps is not None and self._steps >= self.when.steps
        return by_steps or (self.when.minutes is not None and seconds / 60 >= self.when.minutes)

    def write(self, save: Callable[[BinaryIO], None], facts: Mapping[str, object]) -> None:
        """Save a state, then let go of the oldest.

        Raises:
            OSError: if there is no room for it; those from before are as they were.
        """
        began = time.monotonic()
        self._synced = sync_written(self.path.parent, self._synced)  # what the state has behind it
        self.path.mkdir(exist_ok=True)
        file = self.path / f"checkpoint_{self._next}.json"
        state = file.with_suffix(".pt")
        with folder.replacing(state, durable=True) as part, part.open("wb") as stream:
            hashed = _Hashed(stream)
            try:
                save(cast("BinaryIO", hashed))
            finally:
                if hashed.error:  # torch tells of it in words of its own
                    raise hashed.error
            facts = {**facts, "bytes": hashed.size, "sha256": hashed.sha256.hexdigest()}
        try:
            folder.write_sealed(file, {**facts, "saved": folder.now()}, indent=1, durable=True)
        except OSError:
            file.unlink(missing_ok=True)  # first: without it there is no checkpoint
            state.unlink(missing_ok=True)
            raise
        self._next += 1
        give_back()
        self._saved_at, self._steps = time.monotonic(), 0
        self._took = self._saved_at - began
        remove(self.path, keep=self.when.keep)


class _Hashed(io.RawIOBase):
    """A stream that remembers how much was written, and its SHA-256."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.size, self.sha256 = stream, 0, hashlib.sha256()
        self.error: OSError | None = None  # what writing ran into

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(cast("bytes", data))
        try:
            self._stream.write(view)
        except OSError as error:
            self.error = error
            raise
        self.sha256.update(view)
        self.size += view.nbytes
        return view.nbytes


def remove(path: Path, *, keep: int = 0) -> None:
    """Remove all checkpoints in `path` but the newest ones, and states without their JSON file."""
    files = _files(path)
    for file in files[keep:]:
        file.unlink(missing_ok=True)  # first: without it there is no checkpoint
        file.with_suffix(".pt").unlink(missing_ok=True)
    whole = {file.with_suffix(".pt") for file in files[:keep]}
    for state in path.glob("checkpoint_*.pt"):
        if state not in whole:
            state.unlink(missing_ok=True)
    if not keep and path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def let_go(path: Path) -> None:
    """Remove all checkpoints of what has ended, once that is on the disk."""
    sync_written(path.parent)
    remove(path)


def newest(path: Path, run: Path) -> Checkpoint:
    """The newest whole checkpoint in `path`; a damaged one is told of in the log.

    Args:
        run: what the run is called in a refusal.

    Raises:
        RunError: if there is none, or none is whole.
    """
    found = _files(path)
    if not found:
        raise RunError(f"{run} holds no checkpoint, so it cannot go on; start it anew")
    damaged = []
    for file in found:
        try:
            return _checked(file)
        except RunError as error:
            damaged.append(str(error))
            _LOG.warning("%s; trying the one before", error)
    raise RunError(f"{run} cannot go on: {'; '.join(damaged)}; start it anew")


def _checked(file: Path) -> Checkpoint:
    checkpoint = Checkpoint(file, folder.read_sealed(file, remedy=_REMEDY))
    facts, state = checkpoint.facts, checkpoint.state
    if not isinstance(facts.get("record"), dict) or not isinstance(facts.get("clock"), dict):
        raise RunError(f"{file} does not say where the record stood; it is damaged")
    try:
        size, sha256 = state.stat().st_size, _sha256(state)
    except OSError as error:
        raise RunError(f"{state} cannot be read ({error.strerror})") from error
    if size != facts.get("bytes") or sha256 != facts.get("sha256"):
        raise RunError(f"{state} is damaged: it holds other bytes than were saved")
    return checkpoint


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(path: Path) -> list[Path]:
    """The JSON files, newest first."""
    found = [file for file in path.glob("checkpoint_*.json") if _number(file) >= 0]
    return sorted(found, key=_number, reverse=True)


def _number(file: Path) -> int:
    text = file.stem.removeprefix("checkpoint_")
    return int(text) if text.isdecimal() and text.isascii() else -1
