"""Which runs are seeds of the same thing: those of one method, space, data and settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from workbench.comparison.recorded import parts_of, telling
from workbench.limits import printable
from workbench.trace.runs import Run

# Settings that make no other search of a method: who ran it, where, and what was written down.
SAME = {
    "seed", "out", "data_root", "download", "skip_unreadable", "probes", "probe_every", "device",
    "threads", "kernel_threads", "precision", "engine", "recompute", "compile", "graphs", "fused",
    "deterministic", "checkpoint_steps", "checkpoint_minutes",
}  # fmt: skip
_NO_SETTING = {"out"}
_OF_A_PLACE = {"space", "data", "image_size", "grey", "channels", "cells", "nodes"}
_SHOWN = 60  # letters of a part


class Group(NamedTuple):
    """What runs have in common that are seeds of the same thing; "?" is not recorded.

    `settings` are those in which other runs of the method differ on one space and data:
    `arch_lr 0.1`; or what they recorded otherwise there: `relaxation Entmax(order=1.5)`.
    """

    method: str
    space: str
    data: str
    settings: str = ""

    @property
    def tuned(self) -> str:
        """The method, and how it was set."""
        return " · ".join(filter(None, (self.method, self.settings)))


def settings_of(run: Run) -> dict[str, object]:
    """The settings of the command line that a run recorded."""
    config = run.meta.get("config")
    known = cast("Mapping[str, object]", config) if isinstance(config, dict) else {}
    return {name: value for name, value in known.items() if name not in _NO_SETTING}


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """The group of each run among these: seeds of one thing are those that recorded the same.

    Runs of one method, space and data that did not are told apart by the settings of the command
    line in which they differ, else by the parts that they recorded.  Settings that tell a method's
    runs apart in one place, but for sizes, are told in every place where its parts are not.
    """
    plain = [Group(*_names(run)) for run in runs]
    places = {
        group: [at for at, other in enumerate(plain) if other == group]
        for group in dict.fromkeys(plain)
    }
    found = {group: _told_apart([runs[at] for at in own]) for group, own in places.items()}
    out = list(plain)
    for group, own in places.items():
        texts, mine, alike = found[group]
        others = [n for other in found if other.method == group.method for n in found[other][1]]
        names = dict.fromkeys([*mine, *(n for n in others if n not in _OF_A_PLACE)])
        for at, text, like in zip(own, texts, alike, strict=True):
            settings = text or _settings_text(settings_of(runs[own[like]]), names)
            out[at] = group._replace(settings=settings)
    return out


def _names(run: Run) -> tuple[str, str, str]:
    """Method, space and data."""
    space = run.named("space") or run.space.get("family")
    method, data = run.named("method"), run.named("data")
    told = [printable(str(name or "?")) for name in (method, space, data)]
    return told[0], told[1], told[2]


def _told_apart(runs: Sequence[Run]) -> tuple[list[str], list[str], list[int]]:
    """What those of some runs alone have that recorded the same.

    Returns:
        A text for each run, "" where settings say it; the names of these settings; and for each run
        the place of the first that recorded the same.
    """
    given = [settings_of(run) for run in runs]
    known = [parts_of(run) for run in runs]
    for run, own, settings in zip(runs, known, given, strict=True):
        if not isinstance(run.meta.get("method"), dict) or not run.space:  # it does not say all
            own |= _science(settings)
    names = telling(known)
    what = [tuple(own.get(name) for name in names) for own in known]
    first = {own: what.index(own) for own in what}
    like, nothing = [first[own] for own in what], ["" for _ in runs]
    if len(first) == 1:
        return nothing, [], like
    settings = telling([_science(one) for one in given])
    if len({_settings_text(given[at], settings) for at in first.values()}) == len(first):
        return nothing, settings, like
    by_parts = {
        own: ", ".join(
            f"{_cut(n)} {_cut(v)}" for n, v in zip(names, own, strict=True) if v is not None
        )
        for own in first
    }
    if len(set(by_parts.values())) < len(first):  # what was cut is what differs
        by_parts = {own: f"{text} ({at + 1})" for at, (own, text) in enumerate(by_parts.items())}
    return [by_parts[own] for own in what], [], like


def _science(settings: Mapping[str, object]) -> dict[str, str]:
    """The settings that make another search."""
    return {name: str(value) for name, value in settings.items() if name not in SAME}


def _settings_text(own: Mapping[str, object], names: Iterable[str]) -> str:
    return ", ".join(f"{printable(n)} {_value(own[n])}" for n in names if n in own)


def _value(value: object) -> str:
    return "by default" if value is None else printable(str(value))


def _cut(text: str) -> str:
    return printable(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…")


def labels(runs: Sequence[Run]) -> list[str]:
    """The name of each run's group: its method, and what is not one for all of the rest."""
    groups = groups_of(runs)
    told = [index for index in (1, 2) if len({group[index] for group in groups}) > 1]
    return [" · ".join([group.tuned, *(group[index] for index in told)]) for group in groups]


def grouped(runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    """The runs of every group under its label, in order of appearance."""
    out: dict[str, list[Run]] = {}
    for name, run in zip(labels(runs), runs, strict=True):
        out.setdefault(name, []).append(run)
    return list(out.items())


def run_names(runs: Sequence[Run]) -> list[str]:
    """A name for each run that no other has: its folder's, with parents in front where it repeats.

    The same folder given again is named with its number, such as `a (2)`.
    """
    paths = [Path(os.path.abspath(run.path)) for run in runs]
    names = {path: _shortest(path, set(paths) - {path}) for path in set(paths)}
    earlier = [paths[:index].count(path) for index, path in enumerate(paths)]
    return [
        names[path] + (f" ({count + 1})" if count else "")
        for path, count in zip(paths, earlier, strict=True)
    ]


def grouped_names(runs: Sequence[Run]) -> list[tuple[str, str, Run]]:
    """Group, name and run of every run, runs of a group beside each other as in `grouped`."""
    rows = list(zip(labels(runs), run_names(runs), runs, strict=True))
    return [row for group in dict.fromkeys(labels(runs)) for row in rows if row[0] == group]


def _shortest(path: Path, others: set[Path]) -> str:
    """The last parts of a path, as few as no other path ends in."""
    length = len(path.parts)
    depths = range(1, length + 1)
    alone = (n for n in depths if all(path.parts[-n:] != other.parts[-n:] for other in others))
    return str(Path(*path.parts[-next(alone, length) :]))
