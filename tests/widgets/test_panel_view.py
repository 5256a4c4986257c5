"""The panel: what it starts, copies, loads, saves and finds again."""

from __future__ import annotations

import asyncio
import html
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ipywidgets as w
import pytest

from tests.fakes import fake_run
from workbench.config import SearchConfig
from workbench.notebook_parameters import from_parameters
from workbench.settings import checked
from workbench.trace import RunError
from workbench.trace.folder import read_sealed, write_sealed
from workbench.widgets.panel_view import Panel
from workbench.widgets.run_list import entries


@dataclass
class Job:
    path: Path


class Searches:
    """Stands for `jobs.start` and `live.live`; remembers what it was asked."""

    def __init__(self, refuses: str = "") -> None:
        self.started: list[SearchConfig] = []
        self.shown: list[object] = []
        self.refuses = refuses

    def start(self, config: SearchConfig) -> Job:
        if self.refuses:
            raise RunError(self.refuses)
        self.started.append(config)
        return Job(Path("runs/<one>"))

    def live(self, run: object) -> w.Widget:
        self.shown.append(run)
        return w.VBox()


@pytest.fixture
def searches() -> Searches:
    return Searches()


def made(searches: Searches, runs: Path | str = "no-such-folder", **settings: object) -> Panel:
    config = checked(SearchConfig, settings)
    return Panel(config, runs=runs, start=searches.start, live=searches.live)


def put(shown: Panel, **values: object) -> None:
    for name, value in values.items():
        shown.form.fields[name].input.value = value


def test_start_is_given_what_is_in_the_form_and_its_run_is_shown(searches: Searches) -> None:
    shown = made(searches, method="darts", channels=4)
    put(shown, epochs="3", arch_lr="1e-3")
    shown.start.click()
    (config,) = searches.started
    assert config == SearchConfig(method="darts", channels=4, epochs=3, arch_lr=1e-3)
    (job,) = searches.shown
    assert isinstance(job, Job)
    assert len(shown.view.children) == 1
    assert "runs/&lt;one&gt;" in shown.state.value


def test_nothing_is_started_while_a_setting_is_wrong(searches: Searches) -> None:
    shown = made(searches)
    put(shown, epochs="0", channels="x")
    assert shown.start.disabled
    assert "2 settings are wrong: " in shown.state.value
    shown.start.click()
    assert not searches.started
    assert shown.config is None
    put(shown, epochs="", channels="4")
    assert not shown.start.disabled
    assert shown.state.value == ""


def test_a_start_that_fails_is_told_in_one_line() -> None:
    searches = Searches(refuses="no room <here>")
    shown = made(searches)
    shown.start.click()
    assert "no room &lt;here&gt;" in shown.state.value
    assert 'role="alert"' in shown.state.value
    assert not shown.view.children


def test_the_difference_from_darts_changes_with_the_form(searches: Searches) -> None:
    shown = made(searches, method="darts")
    assert "No difference from darts" in shown.about.value
    put(shown, weight_steps="3")
    assert "weight_steps=<wbr>3" in shown.about.value
    put(shown, weight_steps="three")  # what is wrong is left out
    assert "No difference from darts" in shown.about.value


def test_what_is_copied_says_the_same_as_the_form(searches: Searches) -> None:
    shown = made(searches, method="entmax2_prune", entmax_order="1:2", noise=0.5)
    assert shown.command.text == shown.config.command("search")
    words = shlex.split(shown.papermill.text)[3:]
    assert from_parameters(**dict(zip(words[1::3], words[2::3], strict=True))) == shown.config
    texts = [html.unescape(text.value) for text in shown._texts]
    assert shown.command.text in texts[0]
    assert shown.papermill.text in texts[1]
    put(shown, noise="-1")
    assert "nothing to copy" in shown._texts[0].value
    assert (shown.command.text, shown.papermill.text) == ("", "")


def test_the_copy_button_says_what_it_copies(searches: Searches) -> None:
    shown = made(searches)
    assert shown.command.label == "Copy command line"
    put(shown, seed="3")
    assert shown.command.text == "workbench search --seed 3"
    state = shown.command.get_state()
    assert state["text"] == shown.command.text
    assert "clipboard" in state["_esm"]
    assert 'button.disabled = !model.get("text")' in state["_esm"]


def test_settings_are_saved_and_loaded(searches: Searches, tmp_path: Path) -> None:
    shown = made(searches, method="darts", weight_lr=1e-3)
    shown.files.path.value = str(tmp_path / "new" / "a.yaml")
    shown.files.save.click()
    assert "saved" in shown.files.message.value
    text = (tmp_path / "new" / "a.yaml").read_text()
    assert text.splitlines()[1:] == ["method: darts", "weight_lr: 0.001"]
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.yaml"]
    put(shown, method="pc_darts", weight_lr="", epochs="3")
    shown.files.load.click()
    assert shown.config == SearchConfig(method="darts", weight_lr=1e-3)
    put(shown, epochs="5")
    shown.files.save.click()  # its own file
    assert "epochs: 5" in (tmp_path / "new" / "a.yaml").read_text()


def test_another_file_is_overwritten_only_if_asked(searches: Searches, tmp_path: Path) -> None:
    file = tmp_path / "<mine>.yaml"
    file.write_text("seed: 5\n")
    shown = made(searches, seed=1)
    shown.files.path.value = str(file)
    shown.files.save.click()
    assert "exists already" in shown.files.message.value
    assert "&lt;mine&gt;" in shown.files.message.value
    assert file.read_text() == "seed: 5\n"
    shown.files.overwrite.value = True
    shown.files.save.click()
    assert "seed: 1" in file.read_text()


@pytest.mark.parametrize("text", ["epoch: 3", "epochs: 0", "- 1", "a: [", None])
def test_a_file_that_is_wrong_leaves_the_form_as_it_is(
    searches: Searches, tmp_path: Path, text: str | None
) -> None:
    shown = made(searches, seed=4)
    if text is not None:
        (tmp_path / "a.yaml").write_text(text)
    shown.files.path.value = str(tmp_path / "a.yaml")
    shown.files.load.click()
    assert 'role="alert"' in shown.files.message.value
    assert "\n" not in shown.files.message.value
    assert shown.config == SearchConfig(seed=4)


def test_wrong_settings_are_not_saved(searches: Searches, tmp_path: Path) -> None:
    shown = made(searches)
    put(shown, seed="x")
    shown.files.path.value = str(tmp_path / "a.yaml")
    shown.files.save.click()
    assert "correct them" in shown.files.message.value
    assert not (tmp_path / "a.yaml").exists()


def test_an_uploaded_file_is_loaded(searches: Searches) -> None:
    shown = made(searches)

    def upload(content: bytes) -> None:
        about = {"name": "u.yaml", "type": "", "size": len(content)}
        times = {"last_modified": datetime.now(UTC)}
        shown.files.upload.value = ({**about, **times, "content": memoryview(content)},)

    upload(b"entmax_order: 1:2\n")
    assert shown.config == SearchConfig(entmax_order="1:2")
    upload(b"\xff")
    assert 'role="alert"' in shown.files.message.value
    assert shown.config == SearchConfig(entmax_order="1:2")


def set_header(run: Path, **changes: object) -> None:
    write_sealed(run / "run.json", {**read_sealed(run / "run.json"), **changes})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Five runs: two finished, one running, one that went silent, one that cannot be read."""
    now = datetime.now(UTC)
    for name, day in (("old", 1), ("new", 3), ("going", 2), ("silent", 2)):
        fake_run(tmp_path / name, nodes=1, epochs=1, steps_per_epoch=1, evaluated=False)
        set_header(tmp_path / name, started=f"2026-01-0{day}T00:00:00+00:00")
    set_header(tmp_path / "going", status="running", heartbeat=now.isoformat())
    gone = now - timedelta(hours=1)
    set_header(tmp_path / "silent", status="running", heartbeat=gone.isoformat(), host="elsewhere")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text('{"sta')
    return tmp_path


def test_running_runs_are_on_top_then_the_newest(runs: Path) -> None:
    found = [(entry.path.name, entry.status) for entry in entries(runs)]
    assert found == [
        ("going", "running"), ("new", "finished"), ("silent", "silent"), ("old", "finished"),
        ("broken", "unreadable"),
    ]  # fmt: skip
    assert "fake darts digits" in entries(runs)[0].line
    assert entries(runs / "no") == []
    (runs / "empty").mkdir()
    assert entries(runs / "empty") == []


def test_a_run_is_found_again_and_opened_in_the_live_view(searches: Searches, runs: Path) -> None:
    shown = made(searches, runs)
    assert shown.runs.box.titles == ("runs · 5, 1 running",)
    assert shown.runs.box.selected_index == 0
    shown.runs.open.click()
    assert searches.shown == [runs / "going"]
    fake_run(runs / "later", nodes=1, epochs=1, steps_per_epoch=1, evaluated=False)
    shown.runs.refresh.click()
    assert shown.runs.list.value.path == runs / "going"
    assert len(shown.runs.list.options) == 6


def test_a_run_that_cannot_be_read_is_shown_as_such(searches: Searches, runs: Path) -> None:
    shown = made(searches, runs)
    shown.runs.list.value = shown.runs.list.options[-1][1]
    shown.runs.open.click()
    assert "cannot be read" in shown.runs.message.value
    assert not searches.shown


def test_where_there_are_no_runs_the_list_says_so(searches: Searches, tmp_path: Path) -> None:
    shown = made(searches, tmp_path)
    assert str(tmp_path) in shown.runs.message.value
    assert shown.runs.open.disabled


def test_the_form_comes_when_the_methods_are_loaded(
    searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def opened() -> Panel:
        shown = made(searches)
        assert "loading" in shown.children[-1].value
        assert shown.config is None
        while shown.checked is None:
            await asyncio.sleep(0.01)
        return shown

    monkeypatch.setattr("workbench.widgets.panel_view._SLOW", "tests.tiny")
    monkeypatch.delitem(sys.modules, "tests.tiny", raising=False)
    assert asyncio.run(asyncio.wait_for(opened(), 60)).config == SearchConfig()


def test_what_a_test_or_a_reader_looks_for_has_a_class_of_its_own(searches: Searches) -> None:
    shown = made(searches)
    assert "wb-start" in shown.start._dom_classes
    assert "wb-panel" in shown._dom_classes
    style = shown.children[0].value
    assert "var(--jp-error-color1)" in style
    assert "#" not in style, "a colour of its own would not follow the theme"
