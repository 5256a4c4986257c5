"""Which runs are seeds of the same thing: those of one method, space, data and settings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from workbench.trace.runs import Run

# Settings that make no other search of a method: who ran it, where, and what was written down.
_SAME = {
    "seed", "out", "data_root", "download", "skip_unreadable", "probes", "probe_every", "device",
    "threads", "kernel_threads", "precision", "engine", "recompute", "compile", "graphs",
    "deterministic", "checkpoint_steps", "checkpoint_minutes",
}  # fmt: skip
_NO_SETTING = {"out"}


class Group(NamedTuple):
    """What runs have in common that are seeds of the same thing; "?" is not recorded.

    `settings` are those in which other runs of the method, space and data differ: `arch_lr 0.1`.
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
    """The group of each run among these."""
    of = ("method", "space", "data")
    plain = [Group(*(run.named(what) or "?" for what in of)) for run in runs]
    given = [settings_of(run) for run in runs]
    out = []
    for group, own in zip(plain, given, strict=True):
        alike = [others for other, others in zip(plain, given, strict=True) if other == group]
        names = dict.fromkeys(name for others in alike for name in others if name not in _SAME)
        differ = [n for n in names if len({str(one[n]) for one in alike if n in one}) > 1]
        told = ", ".join(f"{name} {_value(own[name])}" for name in differ if name in own)
        out.append(group._replace(settings=told))
    return out


def _value(value: object) -> str:
    return "by default" if value is None else str(value)


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
