"""JupyterLab and a browser, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.driver import Lab, Server, browsing, find_browser, serving

# Of one module each: the browser's loop would be taken for a notebook's by the tests that follow.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab in a folder of its own."""
    with serving(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that somebody started without `workbench lab`."""
    with serving(tmp_path_factory.mktemp("by_hand"), by_hand=True) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Chromium; where there is none, nothing of this can be tested."""
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with browsing(program) as started:
        yield started


@pytest.fixture
def lab(server: Server, browser) -> Iterator:
    """Opens notebooks; closes their pages afterwards."""
    opened: list[Lab] = []

    def open_(notebook: str, at: Server = server) -> Lab:
        opened.append(Lab(at, browser, notebook))
        return opened[-1]

    yield open_
    for number, one in enumerate(opened):
        if not one.page.is_closed():
            one.page.screenshot(path=server.root / f"page-{number}.png")
            one.page.close()
