from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from tests.fakes import fake_run
from workbench import pictures, plots
from workbench.pictures import PictureError, save, save_all

browser = pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")),
    reason="no Chromium or Chrome on this machine",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fake_run(tmp_path_factory.mktemp("runs") / "run")


def without_kaleido(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "kaleido" else find(name)
    )


def test_cells_are_an_svg_without_kaleido_and_browser(run, tmp_path, monkeypatch):
    without_kaleido(monkeypatch)
    written = save(plots.cells(run), tmp_path / "new" / "cells.svg")
    assert written.read_text(encoding="utf-8").startswith("<svg")
    assert [path.name for path in written.parent.iterdir()] == ["cells.svg"]


def test_without_kaleido_the_message_says_how_to_get_it(run, tmp_path, monkeypatch):
    without_kaleido(monkeypatch)
    with pytest.raises(PictureError, match=r"pip install 'kaleido>=1'"):
        save(plots.cost(run), tmp_path / "cost.png")
    assert list(tmp_path.iterdir()) == []


def test_without_a_browser_the_message_says_what_to_install(run, tmp_path, monkeypatch):
    found = "choreographer.browsers.chromium.Chromium.find_browser"
    monkeypatch.setattr(found, lambda **_: None)
    with pytest.raises(PictureError, match=r"apt install chromium.*plotly_get_chrome"):
        save(plots.cost(run), tmp_path / "cost.png")


def test_a_history_is_its_last_genotype_and_what_is_no_picture_says_so(run, tmp_path):
    history = plots.genotype_history(run)
    save(history, tmp_path / "history.svg")
    save(history.graphs[-1], tmp_path / "last.svg")
    assert (tmp_path / "history.svg").read_bytes() == (tmp_path / "last.svg").read_bytes()
    with pytest.raises(PictureError, match=r"x\.svg: a Genotype is no picture; give what"):
        save(run.genotype, tmp_path / "x.svg")


def test_an_unknown_ending_or_page_is_refused(run, tmp_path):
    with pytest.raises(PictureError, match=r"x\.gif: a picture ends in one of \.svg, \.png"):
        save(plots.cells(run), tmp_path / "x.gif")
    with pytest.raises(PictureError, match="'blue' is neither 'light' nor 'dark'"):
        save(plots.cells(run), tmp_path / "x.svg", page="blue")


def test_a_folder_that_cannot_be_is_refused_in_a_line(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PictureError, match="cannot be written"):
        save(plots.cells(run), tmp_path / "file" / "cells.svg")


def test_a_picture_of_what_plays_says_which_moment_it_shows(run, tmp_path, monkeypatch):
    written = []

    def write(figures, paths, **_):
        written.extend(figures)
        for path in paths:
            path.write_text("")

    monkeypatch.setattr(pictures.pio, "write_images", write)
    figure = plots.heat_map(run)
    somebodys = go.Figure(layout={"sliders": [{"steps": [{"label": "7"}]}]})
    save_all({tmp_path / "heat.png": figure, tmp_path / "other.png": somebodys})
    layouts = [one["layout"] for one in written]
    subtitle = layouts[0]["title"]["subtitle"]["text"]
    assert subtitle.endswith("never a candidate; after step 14 (epoch 2)")
    assert not any({"sliders", "updatemenus"} & set(layout) for layout in layouts)
    assert layouts[0]["height"] < figure.layout.height  # without room for the slider
    assert figure.layout.title.subtitle.text.endswith("drag the slider")


@browser
def test_real_pictures_have_their_page_their_size_and_their_legend(run, tmp_path):
    figure = plots.dominance(run)
    wanted = {
        tmp_path / "dark.png": figure,
        tmp_path / "figure.svg": figure,
        tmp_path / "cells.png": plots.cells(run),
    }
    assert save_all(wanted, page="dark") == list(wanted)
    dark = np.asarray(Image.open(tmp_path / "dark.png").convert("RGB"))
    assert dark.shape[1] == 2 * pictures.WIDTH
    assert dark.shape[0] == 2 * figure.layout.height
    assert tuple(dark[2, 2]) == (0x11, 0x11, 0x11)
    text = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "skip_connect" in text
    assert "Edges led" in text
    cells = np.asarray(Image.open(tmp_path / "cells.png").convert("L"))
    assert cells.max() > 200  # boxes of nodes on the dark page
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in wanted}
    assert figure.layout.paper_bgcolor is None  # the figure itself is as it was
    assert isinstance(figure, go.Figure)
