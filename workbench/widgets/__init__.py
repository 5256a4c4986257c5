"""JupyterLab: settings as a form, and runs that are watched and steered while they happen.

Names are loaded when they are first used: plotly's script and torch take their time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.config import SearchConfig
    from workbench.events import SearchEvent
    from workbench.widgets.jobs import Job
    from workbench.widgets.live_view import LiveView
    from workbench.widgets.panel_view import Panel

__all__ = ["live", "panel", "start", "watch"]


def panel(config: SearchConfig | None = None, *, runs: Path | str = "runs") -> Panel:
    """The settings of a search as a form; Start runs it in another process, below the form.

    Args:
        config: what is in the form at first; by default the command line's defaults.
        runs: the folder whose runs are listed.
    """
    from workbench.widgets.panel_view import Panel

    return Panel(config, runs=runs)


def live(run: Path | str | Job) -> LiveView:
    """Watch and steer a run: a run folder, which may not be there yet, or a job."""
    from workbench.widgets import live_view

    return live_view.live(run)


def start(config: SearchConfig) -> LiveView:
    """Search in a process of its own, and watch it; in a kernel nobody watches, until its end.

    Raises:
        ConfigError, RunError: before anything is started.
        SearchError: where nobody watches, if the search fails.
    """
    from workbench.widgets import jobs

    return _waited(jobs.start(config))


def watch(events: Iterator[SearchEvent], path: Path | str) -> LiveView:
    """Record events in a thread of this kernel, and watch them: for methods made in a notebook.

    It ends with the kernel; in a kernel nobody watches, this returns at the search's end.

    Args:
        events: what `search` yields.
        path: a folder that does not exist yet, or is empty.

    Raises:
        RunError: if `path` holds something.
        SearchError: where nobody watches, if the search fails.
    """
    from workbench.widgets import jobs

    return _waited(jobs.Thread(events, Path(path)))


def _waited(job: Job) -> LiveView:
    from workbench.widgets.jobs import attended

    view = live(job)
    if not attended():
        view.wait()
    return view
