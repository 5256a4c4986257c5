"""Recording a search: a pipe that passes every event on and writes it down as it goes by."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

from workbench.events import Resumable, SearchEvent, Stepped
from workbench.trace import folder
from workbench.trace.checkpoints import Checkpoint, Checkpointing
from workbench.trace.control import Gate
from workbench.trace.evaluations import refuse_evaluated
from workbench.trace.folder import refuse_other_than_json
from workbench.trace.lock import WriterLock
from workbench.trace.writer import RunWriter


def record(
    events: Iterator[SearchEvent],
    path: Path | str,
    *,
    meta: Mapping[str, object] | None = None,
    flush_seconds: float = 2.0,
    checkpoints: Checkpointing | None = None,
    start: Checkpoint | None = None,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> Generator[SearchEvent]:
    """Pass `events` on, unchanged, and write them into the run folder `path` (see `schema.md`).

    The folder is made at the first event.  It ends as "finished", as "stopped" where the pipe is
    closed or interrupted, or as "failed" with the exception, which goes on; a process that is
    killed leaves it "running" and readable, up to `flush_seconds` before its end.  Meanwhile it can
    be paused, stepped and stopped from outside (`Run.control`, `control.json`).  Where the events
    tell that the run is `Resumable`, its state is saved at times, and whenever it is paused or
    stopped.

    Args:
        events: What `search` yields.
        path: A folder that does not exist yet, or is empty.
        meta: What to remember beside method, data, machine and seed, which `search` tells itself,
            and versions and command: JSON values, which win over those.
        flush_seconds: Steps reach the disk at least this often, while events come.
        checkpoints: When the state is saved; by default as `Checkpointing()` says.
        start: The checkpoint of the run in `path` whose state `events` go on from: what was
            recorded after it is taken out, since it comes again.
        asked_to_stop: Looked at between steps; the run is saved and ends once it is true.

    Raises:
        RunError: at once, if another process writes into `path`, it holds something (with `start`,
            a link or an evaluation), or `meta` is not JSON; at the first event, if a process has
            begun meanwhile.
    """
    about, path = dict(meta or {}), Path(path)
    refuse_other_than_json("record(meta=…)", about)
    if start is None:
        WriterLock(path / folder.LOCK).refuse_held()  # before it is said to be there
        folder.refuse_occupied(path)
    else:
        folder.refuse_links(path)
        WriterLock(path / folder.LOCK).refuse_held()
        refuse_evaluated(path)
    when = Checkpointing() if checkpoints is None else checkpoints
    writer = RunWriter(path, about, flush_seconds, when, start)
    return _record(events, writer, Gate(path, asked_to_stop))


def _record(events: Iterator[SearchEvent], writer: RunWriter, gate: Gate) -> Generator[SearchEvent]:
    resumable = False  # do these events say where the run can go on?
    with writer:
        for event in events:
            # The gate stands where the run can go on.  Events that tell of no such place have it
            # before a step is told, so that what the step brought along comes behind it.
            resumable = resumable or isinstance(event, Resumable)
            if isinstance(event, Stepped) and not resumable and not gate.passes(writer.pause):
                writer.stopped = True
            else:
                writer.write(event)
            if isinstance(event, Stepped):
                gate.stepped()
            if isinstance(event, Resumable) and not gate.passes(writer.pause):
                writer.save()
                writer.stopped = True
            if writer.stopped:
                if isinstance(events, Generator):
                    events.close()  # lets go of the supernet
                return
            yield event
