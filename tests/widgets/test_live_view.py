"""The live view without a browser: what it says, what its buttons ask for, what starts a search."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from pathlib import Path

import plotly
import pytest
import torch
from plotly.offline import get_plotlyjs

from tests import damage_resumed
from tests.fakes import fake_events, fake_run
from workbench import widgets
from workbench.config import SearchConfig
from workbench.events import Probed, Stepped
from workbench.settings import ConfigError
from workbench.trace import RunError, open_run, record
from workbench.widgets import jobs, live_view
from workbench.widgets.jobs import SearchError
from workbench.widgets.live_view import LiveView, live
from workbench.widgets.plot import LivePlot
from workbench.widgets.seen import VIEWS, Wanted, picture, progress

TINY = {"channels": 2, "cells": 1, "nodes": 1, "epochs": 1, "batch_size": 256}


def state(view: LiveView) -> str:
    return view._head.value.split('wb-status">')[1].split("<")[0]


def test_a_run_that_is_not_there_yet_is_starting(tmp_path):
    view = live(tmp_path / "run")
    assert state(view) == "waiting"
    assert all(button.disabled for button in view.buttons.values())
    fake_run(tmp_path / "run")
    view.look()
    assert state(view) == "finished"
    assert view._bar.value == 1.0


def test_every_view_can_be_drawn_of_any_run(tmp_path):
    whole = fake_run(tmp_path / "whole")
    events = record(fake_events(), tmp_path / "begun")
    next(events)
    events.close()
    (tmp_path / "empty").mkdir()
    header = {"schema": 1, "status": "running", "heartbeat": "2026-01-01T00:00:00+00:00", "pid": 1}
    header |= {"started": None, "finished": None, "host": "here"}
    (tmp_path / "empty" / "run.json").write_text(json.dumps({**header, "error": None, "meta": {}}))
    for run in (whole, open_run(tmp_path / "begun"), open_run(tmp_path / "empty")):
        for name in VIEWS.values():
            drawn = picture(run, Wanted(name))
            assert (drawn.figure is None) == bool(drawn.html), name
        assert 0 <= progress(run).share <= 1
    last = whole.trace["loss_train"].to_numpy()[-1]
    assert f"latest batch: training loss {last:.3f}" in progress(whole).text


def test_choosing_another_view_draws_it_and_nothing_is_drawn_twice(tmp_path):
    view = live(fake_run(tmp_path / "run").path)
    first = view.plot.figure
    view.look()
    assert view.plot.figure is first
    view.value.value = "alpha"
    assert "Architecture parameter" in view.plot.figure
    view.view.value = "dominance"
    assert "Which operations lead" in view.plot.figure
    assert view.value.layout.display == "none"
    view.view.value = "cells"
    assert view.plot.figure == ""
    assert "<svg" in view._html.value


def test_buttons_write_what_they_ask_for_and_say_what_is_not_possible(tmp_path):
    events = record(fake_events(), tmp_path / "run")
    for _ in range(4):
        next(events)
    view = live(tmp_path / "run")
    asked = []
    for name in ("pause", "step", "resume", "stop"):
        view.buttons[name].click()
        control = json.loads((tmp_path / "run" / "control.json").read_text())
        asked.append((control["wish"], control["steps"]))
    assert asked == [("pause", 0), ("pause", 1), ("run", 1), ("stop", 1)]
    assert list(events) == []
    view.look()
    assert state(view) == "stopped"
    view.buttons["pause"].click()
    assert "has ended (stopped)" in view._answer.value


def test_a_name_with_markup_is_shown_as_text(tmp_path):
    view = live(fake_run(tmp_path / "<b>run<b>").path)
    assert "&lt;b&gt;run&lt;b&gt;" in view._head.value


def test_a_broken_run_is_told_in_a_line(tmp_path):
    run = fake_run(tmp_path / "run")
    (run.path / "run.json").write_text("{")
    view = live(run.path)
    assert state(view) == "unreadable"
    assert 'role="alert"' in view._wrong.value


def test_a_search_of_its_own_process_is_waited_for_where_nobody_watches(tmp_path, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    view = widgets.start(SearchConfig(out=tmp_path / "run", **TINY))
    assert view.run.status == "finished"
    assert state(view) == "finished"
    assert list(view._repr_mimebundle_()) == ["text/plain"]
    assert view.run.named("method") == "entmax3_prune_single_level"


def test_a_search_that_cannot_start_says_why(tmp_path):
    with pytest.raises(ConfigError, match="entmax_order"):
        jobs.start(SearchConfig(method="darts", entmax_order=2, out=tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    fake_run(tmp_path / "b")
    with pytest.raises(RunError, match="holds a run"):
        jobs.start(SearchConfig(out=tmp_path / "b"))
    job = jobs.start(SearchConfig(data="folder:/nowhere", out=tmp_path / "c"))
    with pytest.raises(RunError, match="a search is starting there"):
        jobs.start(SearchConfig(out=tmp_path / "c"))
    view = live(job)
    job.wait()
    view.look()
    assert state(view) == "failed"
    assert "/nowhere" in view._wrong.value
    with pytest.raises(SearchError, match="/nowhere"):
        view.wait()


def test_two_searches_never_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "default_out", lambda config: Path("runs/same"))
    folders = [jobs._own_folder(SearchConfig()) for _ in range(3)]
    assert [folder.name for folder in folders] == ["same", "same-2", "same-3"]


def test_events_of_a_notebook_are_watched_from_a_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "some.ipynb")
    began = time.monotonic()
    view = widgets.watch(fake_events(), tmp_path / "run")
    assert time.monotonic() - began < 10
    view.wait()
    assert view.run.status == "finished"


def broken():
    events = fake_events()
    yield next(events)
    yield next(events)
    raise RuntimeError("on purpose")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_in_a_thread_is_told_in_the_view(tmp_path, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "some.ipynb")
    view = widgets.watch(broken(), tmp_path / "run")
    with pytest.raises(SearchError, match="on purpose"):
        view.wait()
    view.look()
    assert state(view) == "failed"
    assert "on purpose" in view._wrong.value


def measured():
    for event in fake_events():
        yield event
        if isinstance(event, Stepped):
            yield Probed(event.clock, {"sharpness": torch.tensor(float(event.clock.step))})


def test_what_probes_measured_can_be_chosen(tmp_path):
    for _ in record(measured(), tmp_path / "run"):
        pass
    view = live(tmp_path / "run")
    assert view.view.value == "weight_evolution"
    view.view.value = "probe: sharpness"
    assert "sharpness" in view.plot.figure
    view.look()
    assert view.view.value == "probe: sharpness"


def test_a_run_that_is_gone_or_broken_is_looked_at_again(tmp_path):
    run = fake_run(tmp_path / "run")
    view = live(run.path)
    text = (run.path / "run.json").read_text()
    for broken, said in (("[]", "unreadable"), (None, "gone")):
        (run.path / "run.json").unlink()
        if broken:
            (run.path / "run.json").write_text(broken)
        view.look()
        assert state(view) == said
        (run.path / "run.json").write_text(text)
        view.look()
        assert state(view) == "finished"


def test_a_run_that_ended_is_looked_at_again_and_seen_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(live_view, "ENDED_SECONDS", 0.05)
    monkeypatch.setattr(live_view, "attended", lambda: True)
    path = tmp_path / "run"
    damage_resumed.interrupted(path)

    async def seen(view: LiveView, what: str) -> None:
        async with asyncio.timeout(30):
            while f">{what}<" not in view._head.value:
                await asyncio.sleep(0.02)

    async def watched() -> None:
        view = live(path)
        await seen(view, "stopped")
        await asyncio.to_thread(lambda: list(damage_resumed.search(path, go_on=True)))
        await seen(view, "finished")
        view.close()

    asyncio.run(watched())


def test_a_closed_view_lets_go_of_its_plot(tmp_path):
    view = live(fake_run(tmp_path / "run").path)
    assert view.plot.comm is not None
    view.close()
    assert view.plot.comm is None
    assert view.buttons["stop"].comm is None


def test_a_kernel_of_a_kernel_is_not_watched(monkeypatch):
    import subprocess
    import sys

    monkeypatch.setenv("JPY_SESSION_NAME", "some.ipynb")
    code = "from workbench.widgets.jobs import attended; print(attended())"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    said = subprocess.run([sys.executable, "-c", nested], capture_output=True, text=True)
    assert said.stdout.strip() == "False"


def test_plotly_is_sent_when_a_page_asks_and_is_no_part_of_the_state(monkeypatch) -> None:
    sent: list[tuple[object, object]] = []
    plot = LivePlot()
    monkeypatch.setattr(plot, "send", lambda message, buffers: sent.append((message, buffers)))
    assert len(json.dumps(plot.get_state())) < 20_000
    plot._handle_custom_msg({"plotly": "another version"}, [])
    assert not sent
    plot._handle_custom_msg({"plotly": plotly.__version__}, [])
    ((message, (packed,)),) = sent
    assert message == {"plotly": plotly.__version__}
    assert get_plotlyjs().encode() in gzip.decompress(packed)
