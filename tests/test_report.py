from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest

from tests.fakes import fake_events, fake_run
from tests.test_cli import refusal
from workbench import plots
from workbench.cli import main
from workbench.config import SearchConfig
from workbench.events import SearchEvent, Stepped
from workbench.report import WIDGET, ReportError, _body, compare, find_notebook, report
from workbench.report_page import POLICY, page
from workbench.trace import Run, open_run, record

ROOT = Path(__file__).parent.parent
PLOTLY = "application/vnd.plotly.v1+json"


@pytest.fixture(autouse=True)
def _kernel_sees_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def without_scripts(text: str) -> str:
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def loads(text: str) -> list[str]:
    """What a browser would fetch while it shows the page."""
    tags = re.findall(r"<(?:script|link|img|iframe|object|embed|source|use)\b[^>]*>", text)
    found = [tag for tag in tags if re.search(r'(?:src|href|data)\s*=\s*["\']?(?!data:)', tag)]
    return found + re.findall(r"@import|url\(\s*[\"']?https?:", text)


def output(data: dict[str, object]) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data=data)


def notebook_of(*sources: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": python})


def test_report_is_one_file_that_needs_no_network(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    written = report(run.path)
    assert written == run.path / "report.html"
    text = written.read_text(encoding="utf-8")
    assert written.stat().st_size < 12e6
    assert loads(without_scripts(text)) == []
    assert not re.search(r"<script[^>]*\bsrc\s*=", text)
    assert f'content="{POLICY}"' in text
    assert len(re.findall(r"plotly\.js v\d", text)) == 1
    assert text.count('class="wb-figure"') == 12
    assert '"showSendToCloud": false' in text
    assert "<svg" in text
    assert "import workbench" not in text
    assert "Search report: run</title>" in text
    notebook = nbformat.read(run.path / "report.ipynb", as_version=4)
    assert all(cell.get("execution_count") for cell in notebook.cells if cell.cell_type == "code")
    assert not list(run.path.glob(".*.part"))


def titles(run: Run) -> list[str]:
    """Of the figures that the report's cell of curves shows."""
    notebook = nbformat.read(find_notebook(), as_version=4)
    (cell,) = [c.source for c in notebook.cells if "plots.training(" in c.source]
    drawn: list[go.Figure] = []
    exec(cell, {"shown": run, "plots": plots, "display": lambda *some: drawn.extend(some)})
    return [str(figure.layout.title.text) for figure in drawn]


def test_a_report_shows_warm_up_and_gradients_where_a_run_has_them(tmp_path: Path) -> None:
    (plain,) = titles(fake_run(tmp_path / "plain"))

    def warmed() -> Iterator[SearchEvent]:
        for event in fake_events(stages=2):
            if isinstance(event, Stepped):
                own = {"zen": 1.0, "log_ntk": 0.5} if event.clock.stage == 0 else {}
                norms = {"grad_norm_weights": 2.0, "grad_norm_alpha": 0.1}
                event = replace(event, scalars={**event.scalars, **own, **norms})
            yield event

    list(record(warmed(), tmp_path / "warmed"))
    found = titles(open_run(tmp_path / "warmed"))
    assert found == [plain, "Norms of the gradients", "Zero-cost warm-up"]


def test_a_comparison_shows_parts_and_genotypes_to_their_end(tmp_path: Path) -> None:
    long = "AuxiliarySkip(beta=Linear(start=1.0, stop=0.0), edge=PartialChannels(k="
    for name in ("a", "b"):
        stage = {"name": "search", "edge": f"{long}{ord(name)}))"}
        fake_run(tmp_path / name, meta={"method": {"name": name, "stages": [stage]}})
    page = compare([tmp_path / "a", tmp_path / "b"], out=tmp_path / "compare.html")
    text = html.unescape(without_scripts(page.read_text(encoding="utf-8")))
    for part in (f"{long}97))", f"{long}98))", str(open_run(tmp_path / "a").genotype)):
        assert f">{part}<" in text


@pytest.mark.parametrize(
    ("words", "page", "said"),
    [
        ("report run", "run/report.html", "run/report.html (SIZE MB)"),
        ("report run --out new/r.html", "new/r.html", "new/r.html (SIZE MB)"),
        ("compare run", "compare.html", "compare.html (SIZE MB)"),
        ("demo --out run", "run/report.html", "open run/report.html (SIZE MB)"),
    ],
)
def test_commands_say_how_large_a_page_is(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    page: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = fake_run(Path("run"))
    monkeypatch.setattr("workbench.tasks.run_demo", lambda *_, **__: run)
    monkeypatch.setattr("workbench.report._execute", lambda *_: notebook_of())
    main(words.split())
    size = f"{Path(page).stat().st_size / 1e6:.1f}"
    assert 1 < float(size) < 12
    assert capsys.readouterr().out.splitlines()[-1] == said.replace("SIZE", size)


def test_a_notebook_is_meant_by_its_name_or_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fake_run(Path("run"))
    done: list[tuple[str, str]] = []

    def execute(notebook: Path, parameters: dict[str, str]) -> object:
        done.append((notebook.name, ",".join(parameters)))
        return notebook_of()

    monkeypatch.setattr("workbench.report._execute", execute)
    nbformat.write(notebook_of("run = ''"), "mine.ipynb")
    for words, written in (
        ("report run --notebook 04_pruning", "run/04_pruning.html"),
        ("report run --notebook mine.ipynb", "run/mine.html"),
        ("compare run --notebook 06_compare.ipynb", "compare.html"),
    ):
        main(words.split())
        assert Path(written).is_file()
    assert done == [
        ("04_pruning.ipynb", "run"),
        ("mine.ipynb", "run"),
        ("06_compare.ipynb", "runs"),
    ]
    refusal(capsys, "compare", "run", "--notebook", "04_pruning", "--csv", "runs.csv")
    assert not Path("runs.csv").exists()
    said = refusal(capsys, "report", "run", "--notebook", "01_search")
    assert "no notebook 01_search with a parameter 'run'" in said
    assert "02_weights, 04_pruning, 05_cells, 07_zero_cost, 08_evaluate, search_report" in said


def test_a_cell_that_fails_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    broken = tmp_path / "broken.ipynb"
    nbformat.write(notebook_of("1 + 1", "1 / 0  # on purpose\n2"), broken)
    with pytest.raises(ReportError) as caught:
        report(run.path, notebook=broken)
    assert str(caught.value) == (
        "broken.ipynb, cell 2 (1 / 0  # on purpose): ZeroDivisionError: division by zero"
    )
    assert not (run.path / "report.html").exists()


def test_no_room_for_what_is_temporary_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    run = fake_run(tmp_path / "run")
    monkeypatch.setattr("papermill.execute_notebook", full)
    with pytest.raises(ReportError, match=r"cannot be executed in .*: No space left on device"):
        report(run.path)
    assert not (run.path / "report.html").exists()


def test_a_report_is_a_html_file(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", evaluated=False)
    with pytest.raises(ReportError, match=r"end in \.html"):
        report(run.path, out=tmp_path / "report.pdf")


def test_figures_become_json_that_cannot_end_their_script() -> None:
    figure = go.Figure(go.Scatter(x=[1], y=[2], name="</script><b>"), {"height": 321})
    notebook = notebook_of("figure")
    notebook.cells[0].outputs = [output({PLOTLY: figure.to_plotly_json(), "text/plain": "Figure"})]
    body = _body(notebook)
    assert "</script><b>" not in body
    assert "min-height:321px" in body
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', body)
    assert json.loads(found)["data"][0]["name"] == "</script><b>"


def test_widgets_become_a_note_and_pictures_stay_text() -> None:
    notebook = notebook_of("widget", "picture")
    notebook.cells[0].outputs = [
        output({"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})
    ]
    notebook.cells[1].outputs = [output({"image/svg+xml": "<svg><text>cell</text></svg>"})]
    body = _body(notebook)
    assert "needs the notebook" in body
    assert "<svg><text>cell</text></svg>" in body


def test_a_progress_bar_leaves_nothing_on_the_page() -> None:
    texts = ["darts: 0step [00:00, ?step/s]", "darts:   0%|          | 0/44 [00:00<?, ?it/s]"]
    notebook = notebook_of("search")
    notebook.cells[0].outputs = [
        output({WIDGET: {"model_id": "1"}, "text/plain": text}) for text in texts
    ]
    assert "widget" not in _body(notebook)
    assert "/s]" not in _body(notebook)


def test_page_follows_the_system_unless_told() -> None:
    assert "data-page=" not in page("<p></p>", title="t").split("<style>")[0]
    assert '<html lang="en" data-page="dark">' in page("<p></p>", title="t", colours="dark")


def test_sections_have_addresses_and_links() -> None:
    body = "<div><h1>Report</h1></div><h2>Entropy and support</h2><h2>Cost</h2>"
    text = page(body, title="t")
    assert '<h2 id="entropy-and-support">' in text
    assert '<nav><a href="#entropy-and-support">Entropy and support</a>' in text


def test_notebook_is_found() -> None:
    assert find_notebook() == ROOT / "notebooks" / "search_report.ipynb"
    with pytest.raises(ReportError, match=r"no\.ipynb is not installed"):
        find_notebook("no.ipynb")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_notebooks_keep_to_the_house_style(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(notebook.cells) <= 25
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert notebook.cells[0].source.startswith("# ")
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1
    for cell in code:
        assert not cell.outputs
        assert cell.execution_count is None
        assert len(cell.source.splitlines()) <= 8
        nodes = ast.walk(ast.parse(cell.source))
        assert not any(isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Lambda) for n in nodes)


def test_report_parameters_are_settings_of_a_search() -> None:
    notebook = nbformat.read(find_notebook(), as_version=4)
    (cell,) = [cell for cell in notebook.cells if cell.metadata.get("tags") == ["parameters"]]
    values: dict[str, object] = {}
    exec(cell.source, values)
    names = set(re.findall(r"^(\w+): ", cell.source, flags=re.MULTILINE))
    assert names - {"run"} <= set(SearchConfig.model_fields)
    SearchConfig(**{name: values[name] or None for name in names - {"run", "seed"}})
