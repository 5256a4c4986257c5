"""Pausing, stepping and stopping a recorded search from outside: a word in its run folder.

Whoever records looks at `control.json` before a step is written down; so it works from another
process, and from another machine that sees the folder.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast, get_args

import psutil

from workbench.trace import folder
from workbench.trace.folder import RunError
from workbench.trace.header import read_header
from workbench.trace.json_text import to_json

Wish = Literal["run", "pause", "stop"]
POLL_SECONDS = 0.05
_SILENT = 120.0  # seconds
_CLOCKS = 60.0  # seconds by which the system's two clocks may differ
_ONE_AT_A_TIME = threading.Lock()
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Control:
    """What somebody wants of a running search.

    `steps` is how many steps were let through one by one since the run began: a paused search that
    has taken fewer takes the next.
    """

    wish: Wish = "run"
    steps: int = 0


def read_control(path: Path) -> Control:
    """What is asked of the run in folder `path`.

    Raises:
        RunError: if the file holds something else.
    """
    file = path / folder.CONTROL
    try:
        value = folder.read_word(file)
        control = Control(value["wish"], value["steps"])
    except FileNotFoundError:
        return Control()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is no control file ({error}); remove it") from error
    if control.wish not in get_args(Wish) or not isinstance(control.steps, int):
        raise RunError(f"{file} asks for {control.wish!r}; it may ask for run, pause or stop")
    return control


def over(header: Mapping[str, object]) -> bool:
    """Has a search with this `run.json` said that it is over?"""
    return header["status"] not in ("running", "paused")


def lost(header: Mapping[str, object]) -> bool:
    """Was it killed?  Seen on its own machine only: there its process is gone."""
    here = header.get("host") == platform.node()
    return not over(header) and here and not _lives(header)


def refuse_living(path: Path) -> None:
    """Whether a living process of this machine writes a search, although its lock is free.

    It is where its file was removed or replaced; and where what wrote could not say its end.

    Raises:
        RunError: if one has given a sign of life within two minutes.
    """
    header = read_header(path)
    mine = header["pid"] == os.getpid() and (path / folder.LOCK).exists()  # and free, so it is over
    here = header.get("host") == platform.node()
    if not over(header) and here and not mine and _lives(header) and silence(header) < _SILENT:
        raise RunError(
            f"{path} is being written by process {header['pid']} on {header['host']}, which gave a "
            f"sign of life {silence(header):.0f} s ago, although its {folder.LOCK} is free; stop "
            "that one first, or wait until it has been silent for two minutes"
        )


def silence(header: Mapping[str, object]) -> float:
    """Seconds since the last sign of life of a search with this `run.json`."""
    return (datetime.now(UTC) - _heartbeat(header)).total_seconds()


def _lives(header: Mapping[str, object]) -> bool:
    """Is the process still there?  One that began after the last sign of life is another."""
    try:
        process = psutil.Process(cast("int", header["pid"]))
        other = process.create_time() > _heartbeat(header).timestamp() + _CLOCKS
        return not other and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _heartbeat(header: Mapping[str, object]) -> datetime:
    return datetime.fromisoformat(str(header["heartbeat"]))


@dataclass(frozen=True)
class Steering:
    """Tells the search that writes the run folder `path` what to do.

    Every method raises a `RunError` if no search writes it any more.
    """

    path: Path

    def pause(self) -> None:
        """Wait after the step it is at."""
        self._ask("pause")

    def step(self, steps: int = 1) -> None:
        """Take so many more steps, then wait."""
        self._ask("pause", steps)

    def resume(self) -> None:
        """Go on."""
        self._ask("run")

    def stop(self) -> None:
        """End before the next step is recorded; what there is, is whole."""
        self._ask("stop")

    def _ask(self, wish: Wish, steps: int = 0) -> None:
        header = read_header(self.path)
        if over(header) or lost(header):
            how = f"has ended ({header['status']})" if over(header) else "is gone"
            on = "" if header["status"] == "finished" else ", or `workbench search --resume` it"
            raise RunError(f"{self.path}: the search that wrote it {how}; start another{on}")
        with _ONE_AT_A_TIME:  # of this process; of two processes the last word counts
            control = Control(wish, read_control(self.path).steps + steps)
            try:
                folder.replace_text(self.path / folder.CONTROL, to_json(asdict(control)))
            except OSError as error:
                raise RunError(
                    f"{self.path} cannot be written ({error.strerror}); whoever may write there "
                    "can steer the search"
                ) from error


class Gate:
    """What a recorded step has to pass: open, shut while the search is paused, or at its end."""

    def __init__(self, path: Path, asked_to_stop: Callable[[], bool] = lambda: False) -> None:
        self._path, self._asked = path, asked_to_stop
        self._seen: tuple[int, int, int] | None = None  # date, number and size of the file read
        self._control = Control()
        self._taken = 0  # of the steps that were let through one by one
        self._under_way = False  # is one of these let through, and not taken yet?

    def stepped(self) -> None:
        """A step was taken.  Until then whoever was let through is: an epoch ends between steps."""
        self._under_way = False

    def passes(self, waiting: Callable[[], None]) -> bool:
        """True once the next step may be written, False if the search shall end instead.

        Args:
            waiting: called again and again as long as the search is paused.
        """
        while True:
            control = self._read()
            if control.wish == "stop" or self._asked():
                return False
            if control.wish == "run":
                self._taken, self._under_way = control.steps, False
                return True
            if self._under_way:
                return True
            if self._taken < control.steps:
                self._taken, self._under_way = self._taken + 1, True
                return True
            waiting()
            time.sleep(POLL_SECONDS)

    def _read(self) -> Control:
        try:
            found = os.stat(self._path / folder.CONTROL)
            written = (found.st_mtime_ns, found.st_ino, found.st_size)
        except FileNotFoundError:
            written = None
        if written != self._seen:  # a look at the file's date costs microseconds, inside it more
            self._seen = written
            try:
                self._control = read_control(self._path)
            except RunError as error:  # a word that cannot be read is no reason to end a search
                _LOG.warning("%s; the search goes on as it was told before", error)
        return self._control
