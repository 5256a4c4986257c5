"""Names, notes and errors with HTML in them are text wherever they are shown; no browser needed.

In a browser: `tests/test_report_page.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from tests.fakes import fake_run
from workbench import comparison, plots
from workbench.limits import printable_lines
from workbench.plots.names import as_text
from workbench.rich import runs as rich_runs
from workbench.trace import Run, RunError, Runs, find_runs, open_run
from workbench.trace.folder import read_sealed, write_sealed
from workbench.trace.header import read_header
from workbench.trace.reading import Events, read_events
from workbench.widgets import style
from workbench.widgets.live_view import live
from workbench.widgets.run_list import RunList

HOSTILE = (
    "<script>alert(1)</script>\"><img src=x onerror='alert(1)'></script>"
    '<a href="javascript:alert(1)">x</a> $\\href{javascript:alert(1)}{x}$ %{fullData.uid} &lt;b&gt;'
)
FOLDER = "<img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """The names of all elements, and every attribute, of a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.said = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [
            value or "" for name, value in attrs if name in ("href", "src", "xlink:href")
        ]

    def handle_data(self, data: str) -> None:
        self.said += data


def harmless(text: str, *shown: str) -> None:
    """No element, attribute or link of the hostile name, and the whole of `shown` as text."""
    found = Elements(text)
    assert not found.names & {"script", "img"}, found.names  # dot makes an <a> of a tooltip
    assert not {name for name in found.attributes if name.startswith("on")}
    assert not found.links
    for name in shown:
        assert " ".join(name.split()) in " ".join(found.said.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of which every foreign name is hostile; one failed, one was evaluated."""
    root = tmp_path_factory.mktemp("hostile")
    meta = {name: HOSTILE for name in ("method", "space", "data", "command", "note", "seed")}
    for seed, name in enumerate((FOLDER, f"{FOLDER} 2")):
        run = fake_run(root / name, meta=meta, seed=seed)
        figures = run.path / "evaluation.json"
        told = read_sealed(figures)
        told["classes"] = [f"{HOSTILE} {index}" for index in range(10)]
        write_sealed(figures, told)
    header = root / FOLDER / "run.json"
    write_sealed(header, {**read_sealed(header), "status": "failed", "error": HOSTILE})
    return root


@pytest.fixture(scope="module")
def runs(folder: Path) -> Runs:
    return find_runs([folder])


@pytest.fixture(scope="module")
def failed(folder: Path) -> Run:
    return open_run(folder / FOLDER)


# --- objects in a notebook ----------------------------------------------------------------------


def test_what_runs_show_of_themselves_has_names_as_text(runs: Runs, failed: Run) -> None:
    harmless(rich_runs.run(failed), HOSTILE, FOLDER)
    harmless(rich_runs.runs(runs), HOSTILE, FOLDER)
    harmless(failed._repr_html_(), HOSTILE)
    harmless(plots.summary_table(failed)._repr_html_(), HOSTILE)


def test_frames_show_names_as_text(runs: Runs) -> None:
    for frame in (comparison.runs_frame(runs), comparison.honest_table(runs)):
        harmless(frame.to_html())


def test_a_comparison_is_no_command_to_the_terminal(tmp_path: Path) -> None:
    meta = {"method": "\x1b]0;other title\x07", "seed": "\x1b[31m"}
    runs = [fake_run(tmp_path / name, meta=meta) for name in "ab"]
    texts = [*comparison.labels(runs), comparison.table_note(runs)]
    texts.append(printable_lines(comparison.markdown(comparison.honest_table(runs))))
    assert all("\x1b" not in text and "other title" in text for text in texts)


# --- widgets ------------------------------------------------------------------------------------


def test_a_live_view_shows_the_run_and_its_error_as_text(failed: Run) -> None:
    view = live(failed.path)
    for widget in (view._head, view._line, view._answer, view._wrong, view._html):
        assert "<img" not in widget.value
        assert "<script>alert" not in widget.value
    harmless(view._head.value, FOLDER)
    harmless(view._wrong.value, HOSTILE)
    view.close()


def test_a_list_of_runs_shows_what_is_wrong_as_text(folder: Path) -> None:
    listed = RunList(str(folder), lambda path: None)
    assert len(listed.found) == 2
    harmless(listed.message.value)
    empty = RunList(str(folder / FOLDER / "checkpoints" / FOLDER), lambda path: None)
    harmless(empty.message.value, FOLDER)

    def refuses(path: Path) -> None:
        raise RunError(HOSTILE)

    telling = RunList(str(folder), refuses)
    telling._open()
    harmless(telling.message.value, HOSTILE)


@pytest.mark.parametrize("line", [style.error, style.said, style.note, style.copied])
def test_every_line_of_the_panel_is_text(line) -> None:
    harmless(line(HOSTILE), HOSTILE)


def test_a_status_that_no_run_has_is_refused(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    header = run.path / "run.json"
    write_sealed(header, {**read_sealed(header), "status": HOSTILE})
    with pytest.raises(RunError, match=r"run.json: status is .* none of running, paused") as caught:
        read_header(run.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("axis", ["ops", "edges", "kinds"])
def test_an_axis_named_with_markup_is_refused(tmp_path: Path, axis: str) -> None:
    run = fake_run(tmp_path / "run")
    header, events = (run.path / name for name in ("run.json", "events.jsonl"))
    write_sealed(header, {**read_sealed(header), "schema": 1})  # whose lines have no seals
    lines = [json.loads(line) for line in events.read_text("utf-8").splitlines()]
    lines[0]["space"][axis][0] = FOLDER
    for line in lines:
        line.pop("crc32")
    events.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    with pytest.raises(RunError, match=r"line 1, has space .* which cannot be"):
        read_events(run.path, read_header(run.path), Events())


# --- figures ------------------------------------------------------------------------------------


def texts(value: object) -> Iterator[str]:
    """All texts in a figure."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)


def figures(runs: Runs, evaluated: Run) -> Iterator[object]:
    yield from (plots.accuracy(runs), plots.accuracy_against_time(runs))
    yield from (plots.overlaid(runs, singles=True), plots.curves(runs), plots.curves(runs, HOSTILE))
    yield from (plots.retraining(runs), plots.agreement(runs))
    yield from (plots.evaluation(evaluated), plots.pruning_timeline(evaluated))
    frame = pd.DataFrame({HOSTILE: [1.0, 2.0, 3.0], "y": [1.0, 3.0, 2.0], "genotype": HOSTILE})
    yield plots.scores(frame, x=HOSTILE, y="y")
    yield from (make(evaluated) for make in plots.FIGURES.values())


def test_no_figure_has_markup_links_or_formulas_of_a_name(runs: Runs, folder: Path) -> None:
    shown = set()
    for figure in figures(runs, open_run(folder / f"{FOLDER} 2")):
        drawn = json.loads(figure.to_json())  # pyright: ignore[reportAttributeAccessIssue]
        for trace in drawn["data"]:
            trace.pop("legendgroup", None)  # never shown
        for text in texts(drawn):
            assert not any(tag in text for tag in ("<script", "<img", "<a ", "</script")), text
            assert "$" not in text, text
            assert "%{fullData.uid" not in text, text
            shown |= {text} if "&lt;img" in text else set()
    assert any(as_text(HOSTILE) in text for text in shown)
    assert any(as_text(FOLDER) in text for text in shown)


def test_a_name_without_markup_is_shown_as_it_is() -> None:
    for name in ("darts_small", "normal:0→2", "accuracy (%)", 'a "quoted" name\'s', "50 % of it"):
        assert as_text(name) == name
    assert as_text("<b>$x$ %{y} &lt;") == "&lt;b&gt;&#36;x&#36; &#37;{y} &amp;lt;"
    assert as_text("&lt;") != as_text("<")


def test_a_reason_in_a_timeline_of_prunings_is_text(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    frame = plots.pruning_timeline_frame(run)
    hostile = run.prunings.assign(reason=HOSTILE)
    assert len(frame)
    vars(run)["prunings"] = hostile
    drawn = json.loads(str(plots.pruning_timeline(run).to_json()))
    assert any(as_text(HOSTILE) == text for text in texts(drawn))
    assert not any("<img" in text for text in texts(drawn))


def test_names_of_two_genotypes_are_text_in_their_picture(runs: Runs) -> None:
    one, two = (run.genotype for run in runs)
    assert one is not None
    assert two is not None
    graph = plots.genotype_difference(one, two, names=(HOSTILE, FOLDER))
    assert "<img" not in graph.dot
    assert "<script" not in graph.dot
    if graph.svg is not None:
        assert not Elements(graph.svg).names & {"script", "img"}


# --- tables -------------------------------------------------------------------------------------


def test_a_table_in_markdown_has_neither_html_nor_links() -> None:
    names = [HOSTILE, "[x](javascript:alert(1))", "\\[x](javascript:alert(1))", "`a`\n| b |"]
    text = comparison.markdown(pd.DataFrame({"method": names, HOSTILE: names}))
    lines = text.splitlines()
    assert len(lines) == 2 + len(names)
    assert "<" not in text
    for line in lines:
        free = line.replace("\\\\", "")  # a backslash that is text escapes nothing
        assert "[" not in free.replace("\\[", "")
        assert "`" not in free.replace("\\`", "")
        assert free.replace("\\|", "").count("|") == 3


def test_a_table_in_latex_has_no_command_of_a_name() -> None:
    name = "\\input{/etc/passwd} & \\\\ $x$ % ~ ^^41\n\n\\end{tabular}"
    text = comparison.to_latex(pd.DataFrame({"method": [name], name: [name]}))
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip()
    assert r"\input" not in text
    assert text.count(r"\end{tabular}") == 1
    assert body.count("\n") == 0
    assert "^^" not in body
