"""Commands over runs and methods: compare, export and list them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from workbench.config import SearchConfig
from workbench.errors import WorkbenchError
from workbench.limits import printable_lines
from workbench.settings import checked

_Json = Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff]


def compare(
    runs: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="RUN…")],
    out: Path = Path("compare.html"),
    csv: Path | None = None,
    latex: Path | None = None,
    markdown: Path | None = None,
    notebook: str | None = None,
) -> None:
    """Put several runs side by side: a table, and one HTML file that needs no network.

    Args:
        runs: run folders, or folders that hold run folders.
        out: the HTML file.
        csv: also write one row per run into this file.
        latex: also write methods by space and data into this file, for the package booktabs.
        markdown: also write methods by space and data into this file.
        notebook: another than the whole comparison: 03_dominance, 06_compare, or a file; it is
            executed with its parameter `runs`.
    """
    from workbench import comparison
    from workbench.report import compare as write
    from workbench.report import with_size
    from workbench.trace import find_runs
    from workbench.trace.folder import refuse_unwritable

    for path in (out, csv, latex, markdown):
        if path is not None:
            refuse_unwritable(path, file=True)
    found = find_runs(runs)
    if not found:
        raise WorkbenchError(
            f"none of these runs can be opened: {'; '.join(found.damaged.values())}"
        )
    print(printable_lines(comparison.markdown(comparison.honest_table(found))))
    table, note = comparison.table_one(found), comparison.table_note(found)
    print(f"\n{note}\n")
    page = write(runs, out=out, notebook=notebook)  # first: where it fails, nothing is written
    if csv is not None:
        _written(csv, comparison.runs_frame(found).to_csv(index=False))
    if latex is not None:
        _written(latex, comparison.to_latex(table, note=note))
    if markdown is not None:
        _written(markdown, f"{comparison.markdown(table)}\n\n{note}\n")
    print(with_size(page))


def _written(path: Path, text: str) -> None:
    from workbench.trace.folder import replace_text

    try:
        replace_text(path, text)
    except OSError as error:
        raise WorkbenchError(
            f"{path} cannot be written ({error.strerror}); choose another file"
        ) from error


def export(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    out: Path,
    pictures: Literal["svg", "png"] | None = None,
) -> None:
    """Write everything that is drawn of a run as CSV, and its cells and genotype as files.

    Args:
        run: the run folder.
        out: a new or empty folder, or one of an earlier export.
        pictures: also write every figure as such a picture; needs kaleido and Chromium.
    """
    from workbench.export import export as write
    from workbench.trace import open_run
    from workbench.trace.folder import refuse_unwritable

    refuse_unwritable(out)
    written = write(open_run(run), out, pictures=pictures)
    print(f"{len(written)} files in {out}")


def methods(
    name: Annotated[str | None, tyro.conf.Positional] = None, as_json: _Json = False
) -> None:
    """List the methods, or show one: its paper and what it changes of DARTS.

    Args:
        name: a method.
        as_json: print JSON: an object, or a list, with the keys name, paper, differs, passes.
    """
    from workbench import methods as known
    from workbench.listing import card, listed, table

    if name is None:
        rows = [listed(method) for method in known.named().values()]
        print(json.dumps([row.data() for row in rows]) if as_json else table(rows))
        return
    row = listed(getattr(known, checked(SearchConfig, {"method": name}).method))
    print(json.dumps(row.data()) if as_json else card(row))
