"""One HTML file that shows a run and needs nothing else: no kernel, no network.

The notebook `search_report` is executed, its inputs are left out, figures become JSON that the one
embedded plotly.js draws when they come near the screen.
"""

from __future__ import annotations

import html
import importlib.metadata
import json
import logging
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from workbench.errors import WorkbenchError
from workbench.limits import printable
from workbench.report_page import page
from workbench.trace.folder import refuse_unwritable, replace_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOK, COMPARING = "search_report.ipynb", "compare.ipynb"
SHARE = "share/workbench/notebooks"  # where the wheel puts notebooks, below its prefix
PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
_BAR = re.compile(r"\[[\d:]+[<,].*/s")  # of tqdm, as text
Colours = Literal["auto", "light", "dark"]


class ReportError(WorkbenchError):
    """A report that could not be written."""


def report(
    run_path: Path | str,
    *,
    out: Path | str | None = None,
    colours: Colours = "auto",
    notebook: Path | str | None = None,
) -> Path:
    """Write the report of a run: `report.html`, and beside it the executed `report.ipynb`.

    Args:
        run_path: A run folder; the run may still be going on.
        out: The HTML file; by default `RUN/report.html`, or called after the notebook.
        colours: "auto" follows the reader's system.
        notebook: One with a parameter `run`, by its file or, of those that come with this, by its
            name: `04_pruning`.

    Returns:
        The HTML file.

    Raises:
        RunError: if there is no run, or `out` cannot be written.
        ReportError: if there is no such notebook or a cell of it fails; nothing is written then.
    """
    from workbench.trace import open_run

    run, source = open_run(run_path), _source(notebook, NOTEBOOK, "run")
    target = Path(out) if out else run.path / f"{source.stem if notebook else 'report'}.html"
    if target.suffix not in (".html", ".htm"):
        raise ReportError(f"report(out={str(target)!r}): the report is an HTML file; end in .html")
    refuse_unwritable(target, file=True)
    executed = _execute(source, {"run": str(run.path.resolve())})
    title = f"Search report: {printable(run.path.resolve().name)}"
    return _write(executed, target, title, colours)


def compare(
    run_paths: Sequence[Path | str],
    *,
    out: Path | str,
    colours: Colours = "auto",
    notebook: Path | str | None = None,
) -> Path:
    """Write the comparison of several runs: an HTML file, and beside it the executed notebook.

    Args:
        run_paths: Run folders, or folders of run folders.
        out: The HTML file.
        colours: "auto" follows the reader's system.
        notebook: As in `report`, with a parameter `runs`.

    Returns:
        The HTML file.

    Raises:
        RunError: if there is no run, or `out` cannot be written.
        ReportError: if there is no such notebook or a cell of it fails; nothing is written then.
    """
    from workbench.trace import find_runs

    source = _source(notebook, COMPARING, "runs")
    target = Path(out)
    if target.suffix not in (".html", ".htm"):
        raise ReportError(f"compare(out={str(target)!r}): the report is an HTML file; end in .html")
    refuse_unwritable(target, file=True)
    found = [str(run.path.resolve()) for run in find_runs(run_paths)]
    executed = _execute(source, {"runs": "\n".join(found)})
    return _write(executed, target, f"Comparison of {len(found)} runs", colours)


def _write(executed: NotebookNode, target: Path, title: str, colours: Colours) -> Path:
    import nbformat

    text = page(_body(executed), title=title, colours=colours)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_text(target.with_suffix(".ipynb"), nbformat.writes(executed))
        replace_text(target, text)
    except OSError as error:
        raise ReportError(
            f"out: {target} cannot be written ({error.strerror}); choose another file"
        ) from error
    return target


def with_size(path: Path) -> str:
    """A page as a command names it: `run/report.html (6.0 MB)`."""
    return f"{path} ({path.stat().st_size / 1e6:.1f} MB)"


def find_notebook(name: str = NOTEBOOK) -> Path:
    """A notebook of this package: of the checkout, or as pip installed it.

    Raises:
        ReportError: if there is none.
    """
    for path in _places(name):
        if path.is_file():
            return path.resolve()
    raise ReportError(f"{name} is not installed with workbench; install it again with pip")


def _source(notebook: Path | str | None, default: str, parameter: str) -> Path:
    """The notebook that is meant: a file, or one of this package that has the parameter."""
    import papermill

    if notebook is None:
        return find_notebook(default)
    if Path(notebook).is_file():
        return Path(notebook)
    there = sorted(find_notebook(default).parent.glob("*.ipynb"))
    known = {one.stem: one for one in there if parameter in papermill.inspect_notebook(str(one))}
    name = str(notebook).removesuffix(".ipynb")
    if name not in known:
        raise ReportError(
            f"there is no notebook {notebook} with a parameter {parameter!r}; give a file or one "
            f"of {', '.join(known)}"
        )
    return known[name]


def _places(name: str) -> Iterator[Path]:
    beside = Path(__file__).resolve().parent.parent
    if (beside / "pyproject.toml").exists():
        yield beside / "notebooks" / name
    try:
        files = importlib.metadata.files("workbench") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    yield from (Path(str(file.locate())) for file in files if file.name == name)
    yield beside / SHARE / name  # pip install --target


def _execute(notebook: Path, parameters: Mapping[str, str]) -> NotebookNode:
    """The notebook with its outputs, executed in a folder that is gone afterwards."""
    import nbformat
    import papermill
    from papermill.exceptions import PapermillException, PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="workbench-report-") as folder:
        done = Path(folder) / notebook.name
        try:
            papermill.execute_notebook(
                notebook,
                done,
                parameters=dict(parameters),
                kernel_name="python3",
                cwd=folder,
                progress_bar=sys.stderr.isatty(),
                store_widget_state=False,  # 5 MB for every live figure
                extra_arguments=["--log-level=ERROR"],  # it warns that it listens on this machine
            )
        except PapermillExecutionError as error:
            raise ReportError(_cell_error(notebook, error)) from error
        except OSError as error:  # of the folder for what is temporary, mostly
            raise ReportError(
                f"{notebook.name} cannot be executed in {folder}: {error.strerror or error}"
            ) from error
        # not a notebook, no language; a kernel that died (RuntimeError) or is not there (KeyError)
        except (PapermillException, ValueError, RuntimeError, KeyError) as error:
            raise ReportError(f"{notebook.name} cannot be executed: {error}") from error
        return cast("NotebookNode", nbformat.read(done, as_version=4))


def _cell_error(notebook: Path, error: object) -> str:
    source = str(getattr(error, "source", "")).strip().partition("\n")[0]
    name, value = getattr(error, "ename", ""), " ".join(str(getattr(error, "evalue", "")).split())
    index = getattr(error, "cell_index", "?")
    return f"{notebook.name}, cell {index} ({source}): {name}: {value}"


def _body(notebook: NotebookNode) -> str:
    """The notebook's text and outputs as HTML, without code."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="basic")  # a fragment: no scripts of its own
    exporter.exclude_input = True
    exporter.exclude_output_prompt = True
    exporter.exclude_anchor_links = True
    shown = cast("NotebookNode", notebook.copy())
    shown["cells"] = [_standing_alone(cell) for cell in notebook["cells"]]
    body, _ = exporter.from_notebook_node(shown)
    return body


def _standing_alone(cell: Mapping[str, object]) -> NotebookNode:
    """The cell with outputs that need no server."""
    from nbformat import from_dict

    copy = json.loads(json.dumps(cell))
    for output in copy.get("outputs", []):
        data = output.get("data", {})
        if WIDGET in data and _BAR.search("".join(data.get("text/plain", ""))):
            output["data"] = {"text/html": ""}  # a progress bar of what is over
        elif PLOTLY in data:
            output["data"] = {"text/html": figure_place(data[PLOTLY])}
        elif WIDGET in data:
            output["data"] = {"text/html": "<p><em>A live widget; it needs the notebook.</em></p>"}
        elif "image/svg+xml" in data:
            svg = "".join(data["image/svg+xml"])
            output["data"] = {"text/html": f'<div class="wb-svg">{svg}</div>'}
    return cast("NotebookNode", from_dict(copy))


def figure_place(figure: Mapping[str, object]) -> str:
    """A place for the figure, as high as it will be, and the figure as JSON the page draws."""
    layout = dict(cast("Mapping[str, object]", figure.get("layout", {})))
    layout.pop("template", None)  # the page has one for light and one for dark
    height = int(cast("float", layout.get("height", 450)))
    drawn = {"data": figure.get("data", []), "layout": layout, "frames": figure.get("frames", [])}
    text = json.dumps(drawn, separators=(",", ":"))
    title = cast("Mapping[str, str]", layout.get("title", {})).get("text", "figure")
    label = html.escape(re.sub(r"<[^>]*>", "", title), quote=True)
    return (
        f'<div class="wb-figure" role="img" aria-label="{label}" style="min-height:{height}px">'
        f'<script type="application/json">{text.replace("<", chr(92) + "u003c")}</script></div>'
    )
