"""`run.json`: the one reader of it, which says what a run folder is and how much it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import cast

from workbench.trace import folder
from workbench.trace.folder import RunError, read_sealed

Header = dict[str, object]
_NONE = type(None)
_VERSION = re.compile(r"\d[0-9A-Za-z.+!-]{,40}")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "status": (str,),
    "started": (str, _NONE),
    "finished": (str, _NONE),
    "heartbeat": (str, _NONE),
    "pid": (int,),
    "host": (str,),
    "error": (str, _NONE),
    "meta": (dict,),
}
_STATUSES = ("running", "paused", "finished", "stopped", "failed")
_COUNTS: Mapping[str, tuple[type, ...]] = {"events": (int,), "steps": (dict,)}  # since schema 2


def read_header(path: Path) -> Header:
    """The header of the run in folder `path`.

    Raises:
        RunError: if it is missing or damaged, or of a schema that this version does not know.
    """
    file = path / folder.HEADER
    header = read_sealed(file, required=False)  # a schema may tell first that it is newer
    schema = header.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise RunError(f"{file} has schema {schema!r}; a run folder's is a number from 1 on")
    if schema > folder.SCHEMA:
        raise RunError(_newer(file, schema, header))
    if schema > 1:
        header = read_sealed(file)
    for name, types in (_TYPES if schema == 1 else {**_TYPES, **_COUNTS}).items():
        if name not in header or not isinstance(header[name], types):
            met = repr(header[name])[:60] if name in header else "missing"
            words = " or ".join("null" if kind is _NONE else kind.__name__ for kind in types)
            raise RunError(f"{file}: {name} is {met}, but should be {words}; restore the file")
    if header["status"] not in _STATUSES:
        met = repr(header["status"])[:60]
        raise RunError(f"{file}: status is {met}, none of {', '.join(_STATUSES)}; restore the file")
    _check_times(file, header)
    _check_counts(file, header)
    return header


def is_sealed(header: Mapping[str, object]) -> bool:
    """Must every JSON object of this run have its checksum?"""
    return cast("int", header["schema"]) > 1


def least_events(header: Mapping[str, object]) -> int:
    """How many lines `events.jsonl` had when the header was written; 0 in schema 1."""
    return cast("int", header.get("events", 0))


def least_steps(header: Mapping[str, object]) -> dict[int, int]:
    """How many steps of each stage were written then."""
    steps = cast("Mapping[str, int]", header.get("steps", {}))
    return {int(stage): count for stage, count in steps.items()}


def times_resumed(header: Mapping[str, object]) -> int:
    """How often the search was resumed: each time, steps behind a checkpoint are taken anew."""
    return len(cast("list[object]", header.get("resumed", [])))


def turns(header: Mapping[str, object]) -> tuple[object, ...]:
    """Which search it is, and how often it began to put its record back, and was done with that.

    A look at the run that has one before it and another one after it saw two things.
    """
    return header.get("id"), header["started"], 2 * times_resumed(header) - being_put_back(header)


def being_put_back(header: Mapping[str, object]) -> bool:
    """Did a search begin to put its record back, and not say that it has?"""
    resumed = cast("list[dict[str, object]]", header.get("resumed", []))
    return bool(resumed) and resumed[-1].get("put_back") is False


def _newer(file: Path, schema: int, header: Mapping[str, object]) -> str:
    meta = header.get("meta")
    versions = meta.get("versions") if isinstance(meta, dict) else None
    other = str(versions.get("workbench") if isinstance(versions, dict) else None)
    here = version("workbench")
    known = other != here and _VERSION.fullmatch(other)  # it stands in a command to copy
    by = f"workbench {other}" if known else "a newer workbench"
    remedy = f"`pip install 'workbench>={other}'`" if known else "install a newer one"
    return (
        f"{file} has schema {schema}, written by {by}; this workbench {here} reads "
        f"schemas up to {folder.SCHEMA}; {remedy} to read it"
    )


def _check_times(file: Path, header: Mapping[str, object]) -> None:
    for name in ("started", "finished", "heartbeat"):
        text = header[name]
        try:
            zone = text is None or datetime.fromisoformat(str(text)).tzinfo
        except ValueError as error:
            raise RunError(f"{file}: {name} is {str(text)[:60]!r}, no time in ISO 8601") from error
        if zone is None:
            raise RunError(f"{file}: {name} is {text!r}, a time without its zone")


def _check_counts(file: Path, header: Mapping[str, object]) -> None:
    events, steps = header.get("events", 0), cast("dict[str, object]", header.get("steps", {}))
    counts = [events, *steps.values()]
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts)
    if not whole or not all(stage.isdecimal() for stage in steps):
        raise RunError(f"{file}: events and steps count lines and steps, from 0 on")
    resumed = header.get("resumed", [])
    if not isinstance(resumed, list) or not all(isinstance(entry, dict) for entry in resumed):
        raise RunError(f"{file}: resumed is no list of objects")
