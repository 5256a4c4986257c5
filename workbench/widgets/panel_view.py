"""The parameter panel: settings of a search as a form, with everything that is done with them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import ipywidgets as w

from workbench.config import SearchConfig
from workbench.errors import WorkbenchError
from workbench.notebook_parameters import papermill_command
from workbench.settings import ConfigError
from workbench.widgets import style
from workbench.widgets.copying import CopyButton

if TYPE_CHECKING:
    from workbench.widgets.checked import Checked

_SLOW = "workbench.methods"  # brings torch along: seconds


class Job(Protocol):
    """A search in another process."""

    @property
    def path(self) -> Path:
        """Its run folder."""
        ...


Start = Callable[[SearchConfig], Job]
Live = Callable[[Path | Job], w.Widget]


class Panel(w.VBox):
    """The settings of a search as a form, in a notebook.

    Args:
        config: what is in the form at first; by default the command line's defaults.
        runs: the folder whose runs are listed.
        start: starts a search in another process; by default `workbench.widgets.jobs.start`.
        live: shows a run; by default `workbench.widgets.live_view.live`.
    """

    def __init__(
        self,
        config: SearchConfig | None = None,
        *,
        runs: Path | str = "runs",
        start: Start | None = None,
        live: Live | None = None,
    ) -> None:
        self._css = w.HTML(style.STYLE)
        super().__init__(
            [
                self._css,
                w.HTML(style.note("loading torch and the methods, some seconds …")),
            ]
        )
        self.add_class("wb-panel")
        self.checked: Checked | None = None
        self._start, self._live = start or _start, live or _live
        self._first, self._folder = config or SearchConfig(), str(runs)
        loop = None if _SLOW in sys.modules else _running_loop()
        if loop is None:
            self._build()
        else:  # the form comes when torch is there; cells can be run meanwhile
            self._loading = loop.create_task(self._build_later(loop))

    @property
    def config(self) -> SearchConfig | None:
        """The settings in the form; None while something is wrong with them."""
        return None if self.checked is None else self.checked.config

    @property
    def settings(self) -> SearchConfig:
        """The settings in the form; those it began with as long as it is loading.

        Raises:
            ConfigError: if something is wrong with them.
        """
        if self.checked is None:
            return self._first
        if self.checked.config is None:
            raise ConfigError("; ".join(self.checked.errors.values()))
        return self.checked.config

    def load(self, config: SearchConfig) -> None:
        """Put settings into the form."""
        self.form.fill(config)

    async def _build_later(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await loop.run_in_executor(None, import_module, _SLOW)
            self._build()
        except Exception as error:
            self.children = [self._css, w.HTML(style.error(f"no panel: {error!r}"))]
            raise

    def _build(self) -> None:
        from workbench.widgets.files import Files
        from workbench.widgets.form import Form
        from workbench.widgets.run_list import RunList

        self.form = Form(self._changed)
        self.about = w.HTML()
        self.files = Files(self.load, lambda: self.config)
        self.runs = RunList(self._folder, self._open)
        self.start = w.Button(description="Start", button_style="primary", icon="play")
        self.start.on_click(lambda _: self._begin())
        self.state = w.HTML()
        self.view = w.VBox()
        for widget, name in (
            (self.about, "wb-about"),
            (self.start, "wb-start"),
            (self.state, "wb-state"),
            (self.view, "wb-view"),
        ):
            widget.add_class(name)
        top, bar = w.Box([self.form.box, self.about]), w.HBox([self.start, self.state])
        top.add_class("wb-top")
        bar.add_class("wb-bar")
        more = [
            _closed("settings file", self.files.box),
            _closed("copy as a command", self._copies()),
            self.runs.box,
        ]
        self.runs.box.add_class("wb-group")
        self.children = [self._css, top, bar, self.view, *more]
        self.form.fill(self._first)

    def _copies(self) -> w.VBox:
        self.command = CopyButton(label="Copy command line")
        self.papermill = CopyButton(label="Copy papermill command")
        self._texts = [w.HTML(), w.HTML()]
        box = w.VBox([self.command, self._texts[0], self.papermill, self._texts[1]])
        box.add_class("wb-copies")
        return box

    def _changed(self) -> None:
        """Look at everything again: a millisecond or two."""
        from workbench.widgets.about import about_method
        from workbench.widgets.checked import check

        self.checked = checked = check(self.form.values())
        self.form.show(checked)
        if checked.method is not None:
            self.about.value = about_method(checked.method)
        wrong = len(checked.errors)
        self.start.disabled = wrong > 0
        count = "1 setting is wrong" if wrong == 1 else f"{wrong} settings are wrong"
        rest = checked.errors.get("", "")
        self.state.value = style.error(
            f"{count}: {rest or ', '.join(checked.errors)}" * (wrong > 0)
        )
        config = checked.config
        self.command.text = config.command("search") if config else ""
        self.papermill.text = papermill_command(config) if config else ""
        for shown, button in zip(self._texts, (self.command, self.papermill), strict=True):
            shown.value = style.copied(button.text)

    def _begin(self) -> None:
        if self.config is None:
            return
        try:
            job = self._start(self.config)
            self._look_at(self._live(job))
        except (WorkbenchError, OSError) as error:
            self.state.value = style.error(str(error))
            return
        self.state.value = style.said(f"started; its folder is {job.path}")
        self.runs.look()

    def _open(self, path: Path) -> None:
        self._look_at(self._live(path))

    def _look_at(self, view: w.Widget) -> None:
        for old in self.view.children:
            old.close()
        self.view.children = [view]


def _closed(title: str, inside: w.Widget) -> w.Accordion:
    box = w.Accordion([inside], titles=(title,), selected_index=None)
    box.add_class("wb-group")
    return box


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _start(config: SearchConfig) -> Job:
    return import_module("workbench.widgets.jobs").start(config)


def _live(run: Path | Job) -> w.Widget:
    return import_module("workbench.widgets.live_view").live(run)
