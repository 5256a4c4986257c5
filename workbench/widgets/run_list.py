"""The runs below a folder, running ones on top: a run is found again after a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as w

from workbench.errors import WorkbenchError
from workbench.trace import Run, find_runs
from workbench.trace.control import silence
from workbench.widgets import style

_GOING_ON = ("running", "paused")
_SILENT = 120  # seconds without a sign of life after which a run is no longer called running


@dataclass(frozen=True)
class Entry:
    """A run folder in the list; `line` is its text there."""

    path: Path
    status: str
    started: str
    about: str

    @property
    def line(self) -> str:
        """Status, time, method, space and data, folder."""
        parts = [f"{self.status:10}", self.started[:16].replace("T", " "), self.about]
        return " · ".join([*filter(None, parts), self.path.name])


def entries(folder: Path | str) -> list[Entry]:
    """Runs in `folder`: running ones first, then the newest; none if there is no such folder.

    A run that cannot be read is an entry with status `unreadable` that says why.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        return []
    try:
        runs = find_runs([folder])
    except WorkbenchError:  # a folder without runs
        return []
    lost = [Entry(path, "unreadable", "", why) for path, why in runs.damaged.items()]
    found = sorted([*map(_entry, runs), *lost], key=lambda entry: entry.started, reverse=True)
    return sorted(found, key=lambda entry: entry.status not in _GOING_ON)


def _entry(run: Run) -> Entry:
    started, status = str(run.header["started"] or ""), run.state
    if status in _GOING_ON and silence(run.header) > _SILENT:
        status = "silent"
    about = [run.named("method"), run.named("space"), run.named("data")]
    return Entry(run.path, status, started, " ".join(filter(None, about)))


class RunList:
    """The list, with a folder to look into, Refresh and Open.  `box` is what is shown."""

    def __init__(self, folder: str, opened: Callable[[Path], None]) -> None:
        self._opened, self.found = opened, list[Entry]()
        self.folder = w.Text(value=folder, description="look in", continuous_update=False)
        self.refresh = w.Button(description="Refresh", tooltip="look again")
        self.open = w.Button(description="Open", tooltip="show the run in the live view")
        self.list = w.Select(options=[], rows=6)
        self.message = w.HTML()
        self.folder.add_class("wb-grow")
        self.open.add_class("wb-open")
        bar = w.HBox([self.folder, self.refresh, self.open])
        bar.add_class("wb-bar")
        inside = w.VBox([bar, self.list, self.message])
        self.box = w.Accordion([inside])
        self.box.add_class("wb-runs")
        self.refresh.on_click(lambda _: self.look())
        self.folder.observe(lambda _: self.look(), "value")
        self.open.on_click(lambda _: self._open())
        self.look()
        running = any(entry.status in _GOING_ON for entry in self.found)
        self.box.selected_index = 0 if running else None

    def look(self) -> None:
        """Read the folder again; what was chosen stays chosen."""
        chosen, found = self.list.value, entries(self.folder.value)
        self.found = found
        running = sum(entry.status in _GOING_ON for entry in found)
        self.box.titles = (f"runs · {len(found)}" + (f", {running} running" if running else ""),)
        self.list.options = [(entry.line, entry) for entry in found]
        same = [entry for entry in found if chosen and entry.path == chosen.path]
        self.list.value = (same or found or [None])[0]
        self.open.disabled = not found
        place = Path(self.folder.value).expanduser().resolve()
        self.message.value = (
            style.note("silent: it says running, but gave no sign of life for two minutes")
            if any(entry.status == "silent" for entry in found)
            else ("" if found else style.note(f"no runs in {place}"))
        )

    def _open(self) -> None:
        entry = self.list.value
        if entry is None:
            return
        if entry.status == "unreadable":
            self.message.value = style.error(f"{entry.path} cannot be read: {entry.about}")
            return
        try:
            self._opened(entry.path)
        except (WorkbenchError, OSError) as error:
            self.message.value = style.error(str(error))
