"""One writer per folder: a lock that the operating system lets go of when its owner dies."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.trace import folder
from workbench.trace.folder import RunError
from workbench.trace.json_text import to_json


class Taken(RunError):
    """A folder that may be another process's by now: nothing more is written there."""


class WriterLock:
    """Held by whoever writes what `file` guards; the file says who that is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        # Not by thread: a generator may be made in one thread and closed in another.
        self._lock = FileLock(file, thread_local=False)
        self._inode: int | None = None  # of the file that was locked

    def acquire(self) -> None:
        """Become the only writer; a dead one's lock is free.

        Raises:
            RunError: if another process, or another search of this one, writes there.
        """
        try:
            self._acquire()
            self._inode = self._file.stat().st_ino
        except OSError as error:
            raise RunError(
                f"{self._file} cannot be locked ({error.strerror}); choose a folder that can be "
                "written"
            ) from error
        owner = {"pid": os.getpid(), "host": platform.node(), "since": folder.now()}
        self._file.write_text(to_json(owner), encoding="utf-8")

    def refuse_held(self) -> None:
        """Whether nobody writes there now.

        Raises:
            RunError: as `acquire`.
        """
        if (
            not self._file.is_file()
            or self._file.is_symlink()
            or not os.access(self._file, os.W_OK)
        ):
            return
        self._acquire()
        self._lock.release()

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"{self._file.parent} is being written by {self._owner()}; stop that one first, or "
                "choose another folder"
            ) from error

    @property
    def held(self) -> bool:
        """Is the file still the one that was locked?  Whoever removed it lets another one write."""
        try:
            return self._file.stat().st_ino == self._inode
        except OSError:
            return False

    def check(self) -> None:
        """Whether this process may still write there.

        Raises:
            Taken: if the file was removed or replaced.
        """
        if not self.held:
            raise Taken(
                f"{self._file} was removed or replaced while this process wrote; it ends here, "
                "before another one writes too. What was saved goes on with --resume, two minutes "
                "from now"
            )

    def release(self) -> None:
        """Let others write."""
        self._lock.release()

    def _owner(self) -> str:
        try:
            owner = folder.read_word(self._file)
            return f"process {int(owner['pid'])} on {owner['host']} (since {owner['since']})"
        except (OSError, ValueError, KeyError, TypeError):  # it has not said so yet
            return "another process"
