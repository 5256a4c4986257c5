from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from tests.fakes import fake_events
from workbench.events import Probed, SearchEvent, Stepped
from workbench.plots import warm_up, warm_up_frame
from workbench.trace import Run, open_run, record


def warmed(*, norms: bool) -> Iterator[SearchEvent]:
    """Two stages; the first one follows a score."""
    for event in fake_events(stages=2):
        first = isinstance(event, Stepped) and event.clock.stage == 0
        if first:
            step = float(event.clock.step)
            scalars = {"zen": 3 * step, "log_ntk": step, "bn_term": torch.tensor(2 * step)}
            event = replace(event, scalars={**event.scalars, **scalars})
        yield event
        if norms and isinstance(event, Stepped):
            yield Probed(event.clock, {"weight_norm": torch.tensor(5.0)})


def recorded(path: Path, *, norms: bool) -> Run:
    list(record(warmed(norms=norms), path))
    return open_run(path)


def test_the_frame_holds_the_steps_of_the_warm_up_only(tmp_path: Path) -> None:
    frame = warm_up_frame(recorded(tmp_path / "run", norms=True))
    assert set(frame["name"]) == {"zen", "log_ntk", "bn_term", "weight_norm"}
    for name, part in frame.groupby("name"):
        assert part["step"].tolist() == list(range(15))
        scale = {"zen": 3, "log_ntk": 1, "bn_term": 2}.get(str(name))
        want = [5.0] * 15 if scale is None else [float(scale * i) for i in range(15)]
        assert part["value"].tolist() == want


def test_a_panel_that_was_not_measured_says_how_to(tmp_path: Path) -> None:
    fig = warm_up(recorded(tmp_path / "run", norms=False))
    assert len(fig.data) == 3
    notes = [note.text for note in fig.layout.annotations]
    assert any("EveryEpoch(WeightNorms())" in note for note in notes)
    assert len(warm_up(recorded(tmp_path / "more", norms=True)).data) == 4


def test_a_search_without_a_warm_up_says_so(run: Run, started: Run) -> None:
    for other in (run, started):
        assert warm_up_frame(other).empty
        assert "no zero-cost warm-up" in warm_up(other).layout.annotations[0].text
