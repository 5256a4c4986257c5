"""A run as files that any program reads: CSV, JSON, SVG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from workbench import plots
from workbench.errors import WorkbenchError
from workbench.pictures import save, save_all
from workbench.trace import Run
from workbench.trace.folder import replace_text

PICTURES = ("svg", "png")
_PROBE = "probe_"  # in front of what a probe measured


class ExportError(WorkbenchError):
    """A run that could not be exported."""


def export(
    run: Run, out: Path | str, *, pictures: Literal["svg", "png"] | None = None
) -> list[Path]:
    """Write what can be drawn of a run into a folder, each file as a whole or not at all.

    A CSV file for each of `plots.FRAMES` that is not empty, `trace.csv` (every mixing weight after
    every step), `probe_NAME.csv` of what probes measured, `epochs.csv`, `genotype.json`,
    `cells.svg`, and with `pictures` each of `plots.FIGURES`.  Files of an earlier export are
    replaced.

    Returns:
        The files.

    Raises:
        ExportError: if the folder holds something else, or cannot be written.
        PictureError: if a picture could not be written; tables are there then.
    """
    out = Path(out)
    if pictures not in (None, *PICTURES):
        raise ExportError(f"pictures: {pictures!r} is none of {', '.join(PICTURES)}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        strange = sorted(path.name for path in out.iterdir() if not _ours(path.name))
        if strange:
            raise ExportError(
                f"out: {out} holds other things ({', '.join(strange[:3])}"
                f"{', …' if len(strange) > 3 else ''}); choose a new or empty folder"
            )
        written = []
        for name, text in _texts(run):
            replace_text(out / name, text)
            written.append(out / name)
    except OSError as error:
        raise ExportError(
            f"out: {error.filename or out} cannot be written ({error.strerror or error})"
        ) from error
    if run.genotype is not None or run.genotypes:
        written.append(save(plots.cells(run), out / "cells.svg"))
    if pictures is not None and run.space:
        figures = {out / _picture(n, pictures): draw(run) for n, draw in plots.FIGURES.items()}
        measured = plots.probed(run)
        figures |= {out / _picture(_PROBE + n, pictures): plots.probe(run, n) for n in measured}
        written += save_all(figures)
    return written


def _texts(run: Run) -> Iterator[tuple[str, str]]:
    """Names and contents of the files that are text; none of a run without a single event."""
    if not run.space:
        return
    yield "trace.csv", run.to_dataframe().to_csv(index=False)
    yield "epochs.csv", run.epochs.to_csv(index=False)
    for name, make in plots.FRAMES.items():
        frame = make(run)
        if len(frame):
            yield f"{name}.csv", frame.to_csv(index=frame.index.name is not None)
    for name in plots.probed(run):
        yield f"{_PROBE}{name}.csv", plots.probe_frame(run, name).to_csv(index=False)
    if run.genotype is not None:
        yield "genotype.json", run.genotype.to_json()


def _ours(name: str) -> bool:
    """Whether an export writes such a file, or leaves it where it is interrupted."""
    names = {"trace.csv", "epochs.csv", "genotype.json", "cells.svg"}
    names |= {f"{name}.csv" for name in plots.FRAMES}
    names |= {_picture(name, ending) for name in plots.FIGURES for ending in PICTURES}
    half = name.startswith(".") and name.endswith(".part")
    return name in names or name.startswith(_PROBE) or half


def _picture(name: str, ending: str) -> str:
    return f"{name}.{ending}"
