"""How fast the workbench is in JupyterLab, in a real browser, and what watching costs a search.

    python benchmarks/lab.py [--quick]

Needs Chromium or Chrome, and the extra `test`.

How long until the largest figure (20,000 steps, 28 edges, 8 operations) is on the page?  What does
recording cost a search?  What does the live view (watched and not, in turns)?  How old is a step
when the view shows it?
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import workbench as wb
from tests.fakes import fake_events
from tests.lab.driver import Lab, Server, browsing, find_browser, serving, write_notebook
from workbench import plots
from workbench.config import SearchConfig
from workbench.events import SearchEvent
from workbench.report import figure_place
from workbench.report_page import page
from workbench.search import search
from workbench.trace import Run, open_run, record

DRAWN = "() => Number(document.querySelector('.wb-live .wb-plot')?.dataset.drawn || 0)"
PAINTED = "() => document.querySelector('.wb-figure .main-svg') !== null"


def first_paint(browser, folder: Path, steps: int) -> None:
    """Seconds until the figure of all edges is there and drawn, and its size."""
    events = fake_events(nodes=4, epochs=10, steps_per_epoch=steps // 10, prune=False)
    for _ in record(events, folder / "long"):
        pass
    began = time.perf_counter()
    run = open_run(folder / "long")
    run.trace.load()
    read = time.perf_counter() - began
    for name in ("weight_evolution", "heat_map"):
        began = time.perf_counter()
        figure = plots.FIGURES[name](run)
        made = time.perf_counter() - began
        text = page(figure_place(json.loads(figure.to_json())), title=name)
        (folder / "figure.html").write_text(text, encoding="utf-8")
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        began = time.perf_counter()
        tab.goto(f"file://{folder / 'figure.html'}")
        tab.wait_for_function(PAINTED, timeout=120_000)
        painted = time.perf_counter() - began
        tab.close()
        print(
            f"{name}, {steps:,} steps: read {read:.2f} s, made {made:.2f} s, on the page after "
            f"{painted:.2f} s (page {len(text) / 1e6:.1f} MB, plotly.js in it)"
        )


def recording(folder: Path, epochs: int, rounds: int) -> None:
    """Share of a search's processor time that goes to its record; the same search with, without."""
    config = SearchConfig(method="darts", channels=8, cells=3, epochs=epochs, batch_size=64)
    parts = (config.build_method(), config.build_space(), config.build_data())
    shares, costs = list[float](), list[float]()
    for turn in range(rounds + 1):
        before = time.process_time()
        for _ in search(*parts, machine=config.build_machine()):
            pass
        off = time.process_time() - before
        clock = _Clock(search(*parts, machine=config.build_machine()))
        began = time.process_time()
        for _ in record(iter(clock), folder / f"recorded-{turn}"):
            pass
        whole = time.process_time() - began
        if turn:  # the first one compiles
            shares.append(100 * (1 - clock.seconds / whole))
            costs.append(100 * (whole / off - 1))
    print(
        f"recording: {statistics.median(shares):.2f} % of processor time ({_text(shares)}); whole "
        f"searches with it against without: {_with_interval(costs)}"
    )


class _Clock:
    """Passes events on and adds up the processor time until each comes."""

    def __init__(self, events: Iterator[SearchEvent]) -> None:
        self.events, self.seconds = events, 0.0

    def __iter__(self) -> Iterator[SearchEvent]:
        while True:
            began = time.process_time()
            event = next(self.events, None)
            self.seconds += time.process_time() - began
            if event is None:
                return
            yield event


def watching(server: Server, browser, turns: int, seconds: float) -> None:
    """Steps per second of one search while it is watched and while not; age of what is seen."""
    write_notebook(
        server.root / "watch.ipynb",
        "from workbench import widgets\nfrom workbench.config import SearchConfig\n"
        "view = widgets.start(SearchConfig(method='darts', channels=8, cells=3, epochs=1000, "
        "out='runs/watched'))\nview.close()",
        "view = widgets.live('runs/watched'); view",
        "view.close()",
    )
    lab = Lab(server, browser, "watch.ipynb")
    lab.run_cell(0)
    header = server.root / "runs/watched/run.json"
    while not header.exists() or wb.open_run(header.parent).trace.sizes["step"] < 30:
        time.sleep(1)
    run, ages = open_run(header.parent), list[float]()
    spans: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    born = (header.parent / "trace.zarr" / "zarr.json").stat().st_mtime
    for turn in range(2 * turns):
        watched = turn % 2 == 1
        lab.run_cell(1 if watched else 2)
        time.sleep(6)  # until the view is there, or gone
        began = time.time()
        if watched:
            ages += _ages(lab, run, born, seconds)
        else:
            time.sleep(seconds)
        spans[watched].append((began - born, time.time() - born))
    run.control.stop()
    lab.page.close()
    speed = {watched: [_speed(run, *span) for span in spans[watched]] for watched in spans}
    costs = [100 * (a / b - 1) for a, b in zip(speed[False], speed[True], strict=True)]
    print(
        f"live view: time per step {_with_interval(costs)} ({seconds:g} s each; steps/s watched "
        f"{_text(speed[True])}, not {_text(speed[False])}; kernel, server and browser on the same "
        "cores)"
    )
    print(f"age of the last step when drawn, s: {statistics.median(ages):.2f} ({_text(ages)})")


def _ages(lab: Lab, run: Run, born: float, seconds: float) -> list[float]:
    """How old the newest step was at every update that came within `seconds`."""
    ages, end = list[float](), time.time() + seconds
    drawn = lab.page.evaluate(DRAWN)
    while time.time() < end:
        time.sleep(0.05)
        now = lab.page.evaluate(DRAWN)
        if now > drawn:
            drawn, seen = now, time.time()
            text = lab.page.locator(".wb-progress").last.inner_text()
            step = int(text.split("step ")[1].split("/")[0].replace(",", ""))
            ages.append(seen - born - float(run.refresh().trace["seconds"][step - 1]))
    return ages


def _speed(run: Run, first: float, last: float) -> float:
    seconds = run.refresh().trace["seconds"].to_numpy()
    return float(np.sum((seconds >= first) & (seconds < last)) / (last - first))


def _with_interval(values: list[float]) -> str:
    """The median, and where it lies with 90 % certainty: turns are drawn again."""
    draws = np.random.default_rng(0).choice(values, (4000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [0.05, 0.95])
    return f"{np.median(values):+.1f} % ({low:+.1f} to {high:+.1f}; turns {_text(values)})"


def _text(values: list[float]) -> str:
    return "/".join(f"{value:.3g}" for value in values)


def main() -> None:
    """Answer all four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns, shorter ones")
    quick = parser.parse_args().quick
    program = find_browser()
    if program is None:
        raise SystemExit("no Chromium or Chrome found; install one")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recording(folder, epochs=3 if quick else 24, rounds=2 if quick else 12)
        with browsing(program) as browser:
            first_paint(browser, folder, 2_000 if quick else 20_000)
            with serving(folder / "lab") as server:
                watching(server, browser, turns=1 if quick else 12, seconds=10 if quick else 15)


if __name__ == "__main__":
    main()
