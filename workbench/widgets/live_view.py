"""The live view: a run folder that is watched while somebody writes it, and steered."""

from __future__ import annotations

import asyncio
import html
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as w
import plotly.graph_objects as go

from workbench.errors import WorkbenchError
from workbench.trace import Run, open_run
from workbench.trace.folder import HEADER
from workbench.widgets import style
from workbench.widgets.jobs import Job, SearchError, attended
from workbench.widgets.plot import LivePlot, figure_text
from workbench.widgets.seen import (
    FREE,
    VIEWS,
    Picture,
    Progress,
    Wanted,
    picture,
    probed,
    progress,
)

POLL_SECONDS = 0.5  # between two looks at a run; longer where a look takes long
SHARE = 3  # a look costs at most one part in so many of the kernel's time, plus one

_BUTTONS = {
    "pause": ("Pause", "wait after the step it is at"),
    "step": ("Step", "take one step, then wait"),
    "resume": ("Resume", "go on"),
    "stop": ("Stop", "end after the step it is at; what is recorded stays whole"),
}
_ENDS = ("finished", "stopped", "failed", "killed")  # it may be resumed, or evaluated
ENDED_SECONDS = 5.0  # between two looks then
_WORKS = {"running": ("pause", "step", "stop"), "paused": ("step", "resume", "stop")}


@dataclass(frozen=True)
class Look:
    """What was found: a state in one word, progress, a line about what is wrong, a picture."""

    state: str
    progress: Progress
    wrong: str = ""
    shown: object = None  # what `figure` or `html` were made of; None: nothing new
    figure: str = ""
    html: str = ""
    probed: tuple[str, ...] = ()


class LiveView(w.VBox):
    """See `live`.  `run` is the run as it was last seen."""

    def __init__(self, path: Path, job: Job | None = None) -> None:
        self.path, self.job = path, job
        self._run: Run | None = None
        self._shown: object = None
        self._reading = threading.Lock()
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._head, self._line = w.HTML(), w.HTML()
        self._answer, self._wrong = w.HTML(), w.HTML()  # of a button; of the run
        self._bar = w.FloatProgress(min=0.0, max=1.0)
        self.buttons = {name: self._button(name) for name in _BUTTONS}
        names = [(title, name) for title, name in VIEWS.items()]
        self.view = w.Dropdown(options=names, value="weight_evolution", description="show")
        self.value = w.ToggleButtons(options=[("mixing weight", "mix"), ("α", "alpha")])
        self.x = w.ToggleButtons(options=[("steps", "step"), ("epochs", "epoch")])
        for choice in (self.view, self.value, self.x):
            choice.observe(self._wanted, "value")
        self.plot, self._html = LivePlot(), w.HTML()
        steer, look = w.HBox([*self.buttons.values()]), w.HBox([self.view, self.value, self.x])
        inside = [w.HTML(style.STYLE), self._head, self._bar, self._line, steer, self._answer]
        super().__init__([*inside, self._wrong, look, self.plot, self._html])
        for widget, name in (
            (self, "wb-panel"), (self, "wb-live"), (self._head, "wb-head"), (steer, "wb-bar"),
            (look, "wb-bar"), (self._line, "wb-progress"), (self.view, "wb-view-choice"),
            (self.value, "wb-value-choice"), (self.x, "wb-x-choice"),
        ):  # fmt: skip
            widget.add_class(name)
        self._bar.layout.width = "100%"
        self._loop = _running_loop()
        self._wanted()

    @property
    def run(self) -> Run:
        """The run as it is now; of a search that was just started, as soon as it writes.

        Raises:
            RunError: if nothing is written.
        """
        while self.job and not (self.path / HEADER).exists() and not self.job.over():
            time.sleep(0.1)
        if self.job and not (self.path / HEADER).exists():
            raise SearchError(f"the search wrote nothing: {self.job.failure() or 'it ended'}")
        self._run = self._run.refresh() if self._run else open_run(self.path)
        return self._run

    def wait(self) -> Run:
        """The run when its search has ended; no other cell can run meanwhile.

        Raises:
            SearchError: if the search failed.
        """
        if self.job is not None:
            self.job.wait()
        while not (run := self.run).ended and not run.lost:
            time.sleep(POLL_SECONDS)
        self.look()
        failure = run.header["error"] or (self.job.failure() if self.job else None)
        if failure or run.lost:
            raise SearchError(f"the search in {self.path} failed: {failure or 'it was killed'}")
        return run

    def look(self) -> None:
        """Look at the run once and show it."""
        self._show(self._seen(self._now()))

    def close(self) -> None:
        """Look no more; the search goes on."""
        if self._task is not None:
            self._task.cancel()
        for child in (*self.buttons.values(), self.view, self.value, self.x, *self.children):
            child.close()
        super().close()

    def _button(self, name: str) -> w.Button:
        title, about = _BUTTONS[name]
        icons = {"pause": "pause", "step": "step-forward", "resume": "play", "stop": "stop"}
        button = w.Button(description=title, tooltip=about, icon=icons[name])
        button.add_class(f"wb-{name}")
        button.on_click(lambda _: self._steer(name))
        return button

    def _steer(self, name: str) -> None:
        """Ask for it; a click may come in another thread, so nothing waits here."""
        self._answer.value = ""
        try:
            control = open_run(self.path).control
            ask: dict[str, Callable[[], None]] = {
                "pause": control.pause, "step": control.step,
                "resume": control.resume, "stop": control.stop,
            }  # fmt: skip
            ask[name]()
        except WorkbenchError as error:
            self._answer.value = style.error(str(error))
        self._look_soon()

    def _wanted(self, _: object = None) -> None:
        free: Collection[str] = FREE.get(str(self.view.value), ())
        for name, widget in (("value", self.value), ("x", self.x)):
            widget.layout.display = None if name in free else "none"
        self._look_soon()

    def _now(self) -> Wanted:
        return Wanted(str(self.view.value), str(self.value.value), str(self.x.value))

    def _look_soon(self) -> None:
        """At once, on the notebook's own loop; without one it is looked at here and now."""
        if self._loop is None:
            self.look()
        else:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._soon.set()
        if self._loop is not None and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._follow())

    async def _follow(self) -> None:
        """Look again and again; less often at a run that has ended, unless nobody watches."""
        while True:
            self._soon.clear()
            began = time.monotonic()
            look = await asyncio.to_thread(self._seen, self._now())
            self._show(look)
            rest = max(POLL_SECONDS, SHARE * (time.monotonic() - began))
            if look.state in _ENDS and not self._soon.is_set():
                if not attended():
                    return
                rest = max(rest, ENDED_SECONDS)
            try:
                await asyncio.wait_for(self._soon.wait(), rest)
            except TimeoutError:
                continue

    def _seen(self, wanted: Wanted) -> Look:
        """Read the run; called in a thread of its own, so that cells can run."""
        with self._reading:
            failure = self.job.failure() if self.job else None
            if not (self.path / HEADER).exists():
                return self._nothing(failure)
            try:
                return self._read(self.run, wanted, failure)
            except Exception as error:  # it may be half copied, or come back: look again
                return Look("unreadable", Progress(0.0, ""), f"{self.path}: {error!r}")

    def _nothing(self, failure: str | None) -> Look:
        if failure:
            return Look("failed", Progress(0.0, ""), failure)
        if self._run is not None:
            return Look("gone", Progress(0.0, "its folder is not there any more"))
        if self.job is None:
            return Look("waiting", Progress(0.0, f"for a run to begin in {self.path}"))
        return Look("starting", Progress(0.0, "its process is loading"))

    def _read(self, run: Run, wanted: Wanted, failure: str | None) -> Look:
        state = run.state
        key = (wanted, run.trace.sizes["step"], len(run.events), state, len(run.evaluation_epochs))
        wrong = str(run.header["error"] or failure or "")
        if key == self._shown:
            return Look(state, progress(run), wrong, probed=probed(run))
        try:
            drawn = picture(run, wanted)
        except Exception as error:  # of one view: the others can still be looked at
            drawn, wrong = Picture(go.Figure()), f"{wanted.view}: {error!r}"
        figure = "" if drawn.figure is None else figure_text(drawn.figure, wanted.view)
        return Look(state, progress(run), wrong, key, figure, drawn.html, probed(run))

    def _show(self, look: Look) -> None:
        name, state = html.escape(self.path.name), html.escape(look.state)
        self._head.value = f'<b>{name}</b> · <span class="wb-status">{state}</span>'
        self._line.value = style.note(look.progress.text)
        self._bar.value = look.progress.share
        self._wrong.value = style.error(look.wrong)
        self._offer(look.probed)
        works = _WORKS.get(look.state, ())
        for name, button in self.buttons.items():
            button.disabled = name not in works
        if look.shown is not None:
            self._shown = look.shown
            self.plot.figure, self._html.value = look.figure, look.html

    def _offer(self, probed: tuple[str, ...]) -> None:
        """Let what probes measured be chosen too; what is chosen stays."""
        new = [name for name in probed if (name, name) not in self.view.options]
        if new:
            chosen = self.view.value
            with self.view.hold_trait_notifications():
                self.view.options = [*self.view.options, *((name, name) for name in new)]
                self.view.value = chosen

    def _repr_mimebundle_(self, **asked: object) -> dict[str, str] | None:
        """The view; where nobody watches the kernel, a line in place of a dead widget."""
        if attended():
            return super()._repr_mimebundle_(**asked)
        return {"text/plain": repr(self.run) if (self.path / HEADER).exists() else str(self.path)}


def live(run: Path | str | Job) -> LiveView:
    """Watch a run: one that a process writes now, here or on a machine that shares the folder.

    The view follows the run on the notebook's own loop, so other cells can be run.  It reads the
    run folder only: pause, step, resume and stop are wishes in it (`control.json`).

    Args:
        run: a run folder, which may not be there yet, or what `start` returned.
    """
    if isinstance(run, Path | str):
        return LiveView(Path(run).expanduser().resolve())
    return LiveView(run.path, run)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
