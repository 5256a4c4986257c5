"""Writing a run folder: pipes that pass every event on and write it down as it goes by."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import cast

import zarr

from workbench.events import (
    Derived,
    EpochEnded,
    Probed,
    SearchEvent,
    StageStarted,
    Stepped,
)
from workbench.trace import folder
from workbench.trace.control import Gate
from workbench.trace.folder import RunError, refuse_other_than_json
from workbench.trace.lines import Line, RareEvent, event_line
from workbench.trace.stage import StageArrays

_VERSIONS = ("workbench", "torch", "torchvision", "entmax", "numpy", "zarr")


def record(
    events: Iterator[SearchEvent],
    path: Path | str,
    *,
    meta: Mapping[str, object] | None = None,
    flush_seconds: float = 2.0,
) -> Generator[SearchEvent]:
    """Pass `events` on, unchanged, and write them into the run folder `path` (see `schema.md`).

    The folder is made at the first event.  It ends as "finished", as "stopped" where the pipe is
    closed or interrupted, or as "failed" with the exception, which goes on; a process that is
    killed leaves it "running" and readable, up to `flush_seconds` before its end.  Meanwhile it can
    be paused, stepped and stopped from outside (`Run.control`, `control.json`).

    Args:
        events: What `search` yields.
        path: A folder that does not exist yet, or is empty.
        meta: What to remember beside method, data, machine and seed, which `search` tells itself,
            and versions and command: JSON values, which win over those.
        flush_seconds: Steps reach the disk at least this often, while events come.

    Raises:
        RunError: at once, if `path` holds something, or `meta` is not JSON.
    """
    about = dict(meta or {})
    refuse_other_than_json("record(meta=…)", about)
    folder.refuse_occupied(Path(path))
    return _record(events, _RunWriter(Path(path), about, flush_seconds))


def _made_with() -> Line:
    """Versions, and the command of this process."""
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _VERSIONS},
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _record(events: Iterator[SearchEvent], writer: _RunWriter) -> Generator[SearchEvent]:
    gate = Gate(writer.path)
    with writer:
        for event in events:
            # Before the step is told and not after: what a step brought along, such as a pruning,
            # comes behind it, and a paused run shows whole steps.
            if isinstance(event, Stepped) and not gate.passes(writer.pause):
                writer.stopped = True
                if isinstance(events, Generator):
                    events.close()  # lets go of the supernet
                return
            writer.write(event)
            yield event


class _RunWriter:
    """Writes one run folder; leaving it as a context says how the run ended."""

    def __init__(self, path: Path, meta: Mapping[str, object], flush_seconds: float) -> None:
        self.path = path
        self.flush_seconds = flush_seconds
        self._header: Line = {
            "schema": folder.SCHEMA,
            "status": "running",
            "started": None,
            "finished": None,
            "heartbeat": None,
            "pid": os.getpid(),
            "host": platform.node(),
            "error": None,
            "events": 0,  # lines, and steps by stage: what a reader must find, or something is lost
            "steps": {},
            "meta": dict(meta),
        }
        self._meta = meta
        self._began = self._flushed = 0.0  # time.monotonic
        self._stage: StageArrays | None = None
        self._step_offset = 0
        self._epochs = 0  # ended, in all stages
        self.stopped = False  # by a wish from outside
        self._waits_since: float | None = None
        self._waited = self._waited_before = 0.0  # seconds paused, in all and up to this epoch

    def __enter__(self) -> _RunWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._header["started"] is None:
            return
        if self.stopped or isinstance(error, GeneratorExit | KeyboardInterrupt):
            self._header["status"] = "stopped"
        elif error is not None:
            self._header["status"] = "failed"
            self._header["error"] = " ".join(f"{type(error).__name__}: {error}".split())
        else:
            self._header["status"] = "finished"
        self._header["finished"] = folder.now()
        try:
            self._flush_steps()
        finally:
            self._write_header()

    def write(self, event: SearchEvent) -> None:
        """Write one event down; steps may wait for `flush_seconds`.

        Time that the search was paused is nobody's: neither a step's nor an epoch's.
        """
        if self._waits_since is not None:
            self._waited += time.monotonic() - self._waits_since
            self._waits_since = None
        if self._header["started"] is None:
            self._begin(event.about if isinstance(event, StageStarted) else {})
        if isinstance(event, StageStarted):
            self._begin_stage(event)
        elif self._stage is None:
            raise RunError(f"the events begin with {type(event).__name__}, not with StageStarted")
        elif isinstance(event, Stepped):
            self._stage.append(event, time.monotonic() - self._began - self._waited)
        elif isinstance(event, Probed):
            others = self._stage.probe(event)  # what has no array
            if others:
                self._write_rare(Probed(event.clock, others))
        else:
            self._write_rare(event)
        self._say("running")

    def pause(self) -> None:
        """Say that the search waits, and write down what it did so far."""
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        self._say("paused")

    def _say(self, status: str) -> None:
        """Flush and write the header, if that is due or the status is a new one."""
        due = time.monotonic() - self._flushed >= self.flush_seconds
        if due or status != self._header["status"]:
            self._header["status"] = status
            self._flush_steps()
            self._write_header()
            self._flushed = time.monotonic()

    def _begin(self, about: Mapping[str, object]) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"no folder can be made at {self.path} ({error.strerror}); choose another"
            ) from error
        folder.refuse_occupied(self.path)
        self._header["meta"] = {**_made_with(), **about, **self._meta}
        self._began = self._flushed = time.monotonic()
        self._header["started"] = folder.now()
        self._write_header()

    def _begin_stage(self, event: StageStarted) -> None:
        if self._stage is not None:
            self._stage.flush()
            self._step_offset += self._stage.rows
            self._count_steps()
        offsets = {"step_offset": self._step_offset, "epoch_offset": self._epochs}
        root = zarr.open_group(self.path / folder.TRACE, mode="a")
        group = root.create_group(f"stage_{event.clock.stage}", attributes={**offsets})
        self._stage = StageArrays(group, event, self._stage)
        self._append(event_line(event) | offsets)

    def _write_rare(self, event: RareEvent) -> None:
        if isinstance(event, EpochEnded):
            self._epochs += 1
            event = replace(event, seconds=event.seconds - self._waited + self._waited_before)
            self._waited_before = self._waited
        elif isinstance(event, Derived):
            folder.replace_text(self.path / folder.GENOTYPE, folder.seal(event.genotype.to_json()))
        self._append(event_line(event))

    def _append(self, line: Line) -> None:
        folder.append_line(self.path / folder.EVENTS, line)
        self._header["events"] = cast("int", self._header["events"]) + 1

    def _flush_steps(self) -> None:
        if self._stage is not None:
            self._stage.flush()

    def _count_steps(self) -> None:
        if self._stage is not None:
            cast("Line", self._header["steps"])[str(self._stage.number)] = self._stage.written

    def _write_header(self) -> None:
        self._header["heartbeat"] = folder.now()
        self._count_steps()
        folder.write_sealed(self.path / folder.HEADER, self._header, indent=1)
