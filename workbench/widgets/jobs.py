"""Searches beside the kernel: in a process of their own, or in a thread for objects of a notebook.

A process shares nothing with the notebook but the run folder: it goes on when the kernel is
restarted or the tab is closed, and cannot take the notebook down.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from workbench.config import SearchConfig
from workbench.errors import WorkbenchError
from workbench.events import SearchEvent
from workbench.tasks import default_out
from workbench.trace import RunError, record
from workbench.trace.folder import refuse_occupied

_SESSION = "JPY_SESSION_NAME"


class SearchError(WorkbenchError):
    """A search that was waited for and failed."""


class Job(Protocol):
    """A search that was started; `path` is its run folder."""

    @property
    def path(self) -> Path:
        """Where it writes."""
        ...

    def over(self) -> bool:
        """Has it ended?"""
        ...

    def failure(self) -> str | None:
        """What went wrong, in one line; None while it runs, and where it ended well."""
        ...

    def wait(self) -> None:
        """Until it has ended."""
        ...


@dataclass(frozen=True)
class Process:
    """A search in another process; `log` holds what it says."""

    path: Path
    process: subprocess.Popen[bytes]
    log: Path

    def over(self) -> bool:
        """Has the process ended?"""
        return self.process.poll() is not None

    def failure(self) -> str | None:
        """The last line that it said, if it ended otherwise than well."""
        if not self.process.poll():
            if self.over():
                self.log.unlink(missing_ok=True)
            return None
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else f"the process ended with code {self.process.returncode}"

    def wait(self) -> None:
        """Until the process has ended."""
        self.process.wait()


def start(config: SearchConfig) -> Process:
    """`workbench search` in another process, with these settings.

    Raises:
        ConfigError: if the settings do not fit each other; nothing is started then.
        RunError: if the folder holds something, or cannot be made.
    """
    config.build_method()
    out = _own_folder(config)
    words = shlex.split(config.model_copy(update={"out": out}).command("search"))
    handle, name = tempfile.mkstemp(prefix="workbench-search-", suffix=".log")
    with os.fdopen(handle, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench", *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupted or restarted kernel is not its concern
        )
    _STARTED[out] = process
    return Process(out, process, Path(name))


_STARTED: dict[Path, subprocess.Popen[bytes]] = {}  # by this kernel, by run folder


def _own_folder(config: SearchConfig) -> Path:
    """The run folder, made at once: two searches started together do not both take it."""
    wanted = (config.out or default_out(config)).expanduser().resolve()
    try:
        if config.out is None:
            return _first_free(wanted)
        refuse_occupied(wanted)
        if wanted in _STARTED and _STARTED[wanted].poll() is None:
            raise RunError(f"{wanted}: a search is starting there; choose another folder")
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"no folder can be made at {wanted} ({error.strerror}); choose another"
        ) from error
    return wanted


def _first_free(wanted: Path) -> Path:
    """`wanted`, or with -2, -3 … behind its name; made here, so that nobody else has it."""
    for taken in range(1, 1000):
        out = wanted if taken == 1 else wanted.with_name(f"{wanted.name}-{taken}")
        try:
            out.mkdir(parents=True)
        except FileExistsError:
            continue
        return out
    raise RunError(f"{wanted} and 999 like it are taken; choose a folder")


class Thread:
    """Events that are recorded in a thread of this process."""

    def __init__(self, events: Iterator[SearchEvent], path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._events = record(events, self.path)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"search {path}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for _ in self._events:
                pass
        except BaseException as error:  # told by `failure`, and in the run's own header
            self._error = error
            raise

    def over(self) -> bool:
        """Has the thread ended?"""
        return not self._thread.is_alive()

    def failure(self) -> str | None:
        """The exception that ended the search, if one did."""
        if self._error is None:
            return None
        return f"{type(self._error).__name__}: {self._error}"

    def wait(self) -> None:
        """Until the events have ended."""
        self._thread.join()


def attended() -> bool:
    """Does somebody watch this kernel?

    Jupyter's server names the notebook to the kernels it starts.  What such a kernel starts in
    turn, papermill perhaps, inherits the name, but nobody watches it.
    """
    if _SESSION not in os.environ:
        return False
    try:
        return _SESSION not in psutil.Process(os.getppid()).environ()
    except psutil.Error:  # another user's process, as a server's may be
        return True
