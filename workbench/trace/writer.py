"""Writing one run folder: arrays, lines, header, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import zarr

from workbench.errors import OutOfMemory
from workbench.events import (
    Derived,
    Diverged,
    DivergenceError,
    EpochEnded,
    Probed,
    Resumable,
    Resumed,
    SearchEvent,
    StageStarted,
    Stepped,
)
from workbench.trace import appended, checkpoints, folder
from workbench.trace.checkpoints import Checkpoint, Checkpointing, Checkpoints
from workbench.trace.control import refuse_living
from workbench.trace.evaluations import refuse_evaluated
from workbench.trace.facts import made_with, new_header, resumed_header
from workbench.trace.folder import RunError
from workbench.trace.header import read_header
from workbench.trace.lines import Line, RareEvent, WithinStep, event_line
from workbench.trace.lock import Taken, WriterLock
from workbench.trace.rewinding import place_in, rewind
from workbench.trace.stage import StageArrays
from workbench.trace.unwritten import Unwritten, told, writing


class RunWriter:
    """Writes one run folder; leaving it as a context says how the run ended.

    Args:
        start: the checkpoint that the events go on from; None writes a new run.
    """

    def __init__(
        self,
        path: Path,
        meta: Mapping[str, object],
        flush_seconds: float,
        when: Checkpointing,
        start: Checkpoint | None = None,
    ) -> None:
        self.path, self.flush_seconds = path, flush_seconds
        self._header = new_header(meta)
        self._meta, self._start = meta, start
        self._lock = WriterLock(path / folder.LOCK)
        self._checkpoints = Checkpoints(path / folder.CHECKPOINTS, when)
        self._began = self._flushed = 0.0  # time.monotonic
        self._stage: StageArrays | None = None
        self._step_offset = self._epochs = 0  # of stages before; ended, in all stages
        self.stopped = False  # by a wish from outside
        self._waits_since: float | None = None
        self._between = False  # epochs, where nothing is under way
        self._waited = self._waited_before = 0.0  # seconds paused, in all and up to this epoch
        self._diverged: Diverged | None = None  # told already
        self._open: Resumable | None = None  # where the run stands, if it was not saved there
        self._lines: list[Line] = []  # of events within steps that are not written yet

    @property
    def begun(self) -> bool:
        """Is there anything of this writer in the folder?"""
        return self._header["started"] is not None

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if self.begun and not isinstance(error, Taken):
                self._close(error)
        finally:
            self._lock.release()

    def _close(self, error: BaseException | None) -> None:
        try:
            if not isinstance(error, Unwritten):  # else nothing more has room
                self._write_rest(error)
        except Exception as own:
            error, self.stopped = own, False
            raise
        finally:
            self._say_end(error)
        if self._header["status"] == "finished":
            with self._writing(folder.CHECKPOINTS):
                checkpoints.let_go(self.path / folder.CHECKPOINTS)

    def _write_rest(self, error: BaseException | None) -> None:
        if isinstance(error, DivergenceError):
            error.saved = self._checkpoints.saved()
            if error.event is not self._diverged:  # what comes of saving was told by no event
                self._write_rare(error.event)
        self._flush_steps()
        if isinstance(error, OutOfMemory):
            error.then = "; ".join(self._told())
        if isinstance(error, GeneratorExit):  # it waits where it was left
            self.save()

    def _say_end(self, error: BaseException | None) -> None:
        if self.stopped or isinstance(error, GeneratorExit | KeyboardInterrupt):
            self._header["status"] = "stopped"
        elif error is not None:
            self._header["status"] = "failed"
            self._header["error"] = " ".join(f"{type(error).__name__}: {error}".split())
        else:
            self._header["status"] = "finished"
        self._header["finished"] = folder.now()
        try:
            self._write_header()
        except Unwritten as unwritten:
            if self._header["status"] != "failed" or error is None:
                raise
            error.add_note(str(unwritten))  # the header stays as it was, that of a killed writer

    def write(self, event: SearchEvent) -> None:
        """Write one event down; steps may wait for `flush_seconds`; a pause is no step's time."""
        if self._waits_since is not None:
            pause = time.monotonic() - self._waits_since
            self._waited += pause
            self._waited_before += pause if self._between else 0.0  # no epoch's own time
            self._waits_since = None
        with self._writing():
            self._write(event)

    def _write(self, event: SearchEvent) -> None:
        if isinstance(event, Resumed):
            self._go_on(event)
            return
        if not self.begun:
            self._begin(event.about if isinstance(event, StageStarted) else {})
        self._open = event if isinstance(event, Resumable) else None
        self._between = isinstance(event, Resumable) and event.epoch_ended
        if isinstance(event, StageStarted):
            self._begin_stage(event)
        elif self._stage is None:
            raise RunError(f"the events begin with {type(event).__name__}, not with StageStarted")
        elif isinstance(event, Stepped):
            if self._stage.full:
                self._flush_steps()
            self._stage.append(event, time.monotonic() - self._began - self._waited)
        elif isinstance(event, Probed):
            if others := self._stage.probe(event):  # what has no array
                self._write_rare(Probed(event.clock, others))
        elif isinstance(event, Resumable):
            if self._checkpoints.due(event):
                self.save()
        else:
            self._write_rare(event)
        self._say("running")

    def pause(self) -> None:
        """Say that the search waits, write down what it did so far, and save it."""
        if self._waits_since is None:
            self._waits_since = time.monotonic()
            self.save()
        self._say("paused")

    def save(self) -> bool:
        """Save the state of the run, if it stands where it can go on; whether it is saved."""
        event = self._open
        if event is None or event.now.passed:
            return False
        self._flush_steps()  # what the state has behind it is in the record
        with self._writing(folder.CHECKPOINTS):
            facts = {"clock": asdict(event.clock), "record": self._place()}
            self._checkpoints.write(event.now.save, facts)
        self._open = None
        return True

    def _place(self) -> dict[str, object]:
        """Where the record stands now, for whoever goes on from here."""
        events = self.path / folder.EVENTS
        return {
            "stage": None if self._stage is None else self._stage.number,
            "rows": 0 if self._stage is None else self._stage.rows,
            "step_offset": self._step_offset,
            "epochs": self._epochs,
            "events": self._header["events"],
            "events_bytes": events.stat().st_size if events.exists() else 0,
            "seconds": time.monotonic() - self._began,
            "waited": self._waited,
            "waited_before": self._waited_before,
        }

    def _say(self, status: str) -> None:
        """Flush and write the header, if that is due or the status is a new one."""
        due = time.monotonic() - self._flushed >= self.flush_seconds
        if due or status != self._header["status"]:
            self._header["status"] = status
            self._flush_steps()
            self._write_header()
            self._flushed = time.monotonic()

    def _begin(self, about: Mapping[str, object]) -> None:
        folder.make(self.path)
        self._lock.acquire()
        folder.refuse_occupied(self.path)
        self._header["meta"] = {**made_with(), **about, **self._meta}
        self._began = self._flushed = time.monotonic()
        self._header["started"] = folder.now()
        self._checkpoints.begin()
        self._write_header(durable=True)

    def _go_on(self, event: Resumed) -> None:
        """Take the folder over and put the record back to where the checkpoint was written."""
        start, space = self._start, event.space
        if start is None or space is None:
            raise RunError("events that go on need their checkpoint: record(…, start=CHECKPOINT)")
        refuse_living(self.path)
        self._lock.acquire()
        refuse_evaluated(self.path)
        header = read_header(self.path)
        if header["status"] == "finished" or not start.file.exists():
            raise RunError(
                f"{self.path} has gone on since {start.file.name} was read; open it again"
            )
        place = place_in(start)
        self._header = resumed_header(header, start)
        self._step_offset, self._epochs = place["step_offset"], place["epochs"]
        self._waited, self._waited_before = place["waited"], place["waited_before"]
        self._flushed = time.monotonic()
        self._began = self._flushed - place["seconds"]
        (self.path / folder.CONTROL).unlink(missing_ok=True)  # a wish of then: to stop, maybe
        self._checkpoints.begin()
        self._write_header()
        self._stage = rewind(self.path, place, event)
        cast("list[Line]", self._header["resumed"])[-1]["put_back"] = True
        self._write_header()

    def _begin_stage(self, event: StageStarted) -> None:
        if self._stage is not None:
            self._flush_steps()
            self._step_offset += self._stage.rows
            self._count_steps()
        offsets = {"step_offset": self._step_offset, "epoch_offset": self._epochs}
        root = zarr.open_group(self.path / folder.TRACE, mode="a", zarr_format=3)
        group = root.create_group(f"stage_{event.clock.stage}", attributes={**offsets})
        probed = self._stage.probed if self._stage else {}
        self._stage = StageArrays(group, event.space, event.clock, probed)
        self._append(event_line(event) | offsets)

    def _write_rare(self, event: RareEvent) -> None:
        if isinstance(event, EpochEnded):
            self._epochs += 1
            event = replace(event, seconds=event.seconds - self._waited + self._waited_before)
            self._waited_before = self._waited
        elif isinstance(event, Derived):
            folder.replace_text(self.path / folder.GENOTYPE, folder.seal(event.genotype.to_json()))
        line = event_line(event)
        if isinstance(event, WithinStep):
            self._lines.append(line)
            return
        self._flush_steps()  # who reads of an event finds the steps before it
        if isinstance(event, Diverged):
            self._diverged = event
            line["saved"] = self._checkpoints.saved()
        self._append(line)

    def _append(self, line: Line) -> None:
        with self._writing(folder.EVENTS):
            appended.append_line(self.path / folder.EVENTS, line)
        self._header["events"] = cast("int", self._header["events"]) + 1

    def _flush_steps(self) -> None:
        if self._stage is not None:
            with self._writing(folder.TRACE):
                self._stage.flush()
        while self._lines:
            self._append(self._lines.pop(0))

    def _count_steps(self) -> None:
        if self._stage is not None:
            cast("Line", self._header["steps"])[str(self._stage.number)] = self._stage.written

    def _write_header(self, *, durable: bool = False) -> None:
        self._header["heartbeat"] = folder.now()
        self._count_steps()
        with self._writing(folder.HEADER):
            folder.write_sealed(self.path / folder.HEADER, self._header, indent=1, durable=durable)

    def _writing(self, name: str = "") -> AbstractContextManager[None]:
        """Within, a full disk and the like are an `Unwritten`; not begun without the lock."""
        if self.begun:
            self._lock.check()
        return writing(self.path / name, self._told)

    def _told(self) -> tuple[str, str]:
        return told(self.path, self._stage, self._checkpoints.saved())
