from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.fakes import fake_evaluation, fake_events
from workbench.events import Probed, SearchEvent, Stepped
from workbench.plots import gap, gap_frame, probe
from workbench.plots.names import images_of_gap
from workbench.trace import Run, open_run, record, record_evaluation


def measured() -> Iterator[SearchEvent]:
    """The gap closes from 50 to 0 points over three epochs."""
    for event in fake_events():
        yield event
        if isinstance(event, Stepped) and event.clock.step % 5 == 4:
            masked = 0.4 + 0.25 * event.clock.epoch
            values = {"accuracy_supernet": 0.9, "accuracy_masked": masked, "loss_masked": 1.0}
            yield Probed(event.clock, {k: torch.tensor(v) for k, v in values.items()})


@pytest.fixture
def searched(tmp_path: Path) -> Run:
    list(record(measured(), tmp_path / "run"))
    return open_run(tmp_path / "run")


def test_the_frame_holds_both_accuracies_in_percent(searched: Run) -> None:
    frame = gap_frame(searched)
    whole, masked = (part for _, part in frame.groupby("network", sort=False))
    assert whole["step"].tolist() == masked["step"].tolist() == [4, 9, 14]
    assert whole["accuracy"].tolist() == pytest.approx([90, 90, 90])
    assert masked["accuracy"].tolist() == pytest.approx([40, 65, 90])
    fig = gap(searched)
    assert [trace.name for trace in fig.data] == [
        "supernet as it is mixed",
        "masked to its genotype",
    ]
    assert "last gap 0.00 points" in fig.layout.title.subtitle.text
    assert not fig.layout.annotations


def test_the_derived_network_is_there_once_it_is_evaluated(searched: Run) -> None:
    assert searched.genotype is not None
    list(record_evaluation(fake_evaluation(searched.genotype), searched.path, recipe={}))
    run = searched.refresh()
    last = gap_frame(run).iloc[-1]
    assert last["network"] == "derived network, trained anew"
    assert (last["step"], last["accuracy"]) == (14, pytest.approx(100 * 80 / 89))
    fig = gap(run)
    assert list(fig.data[-1].y) == pytest.approx([100 * 80 / 89] * 2)
    assert "derived network 89.89 % on test images" in fig.layout.title.subtitle.text


@pytest.mark.parametrize(
    ("portions", "said"),
    [(["1.0"], "on training images"), (["0.5"], "on held-out images"), ([], ""),
     (["1.0", "0.5"], "on held-out images, in stages without any on training images")],
)  # fmt: skip
def test_it_says_which_images_it_was_measured_on(tmp_path: Path, portions, said: str) -> None:
    stages = [{"name": "s", "train_portion": portion} for portion in portions]
    meta = {"method": {"name": "m", "stages": stages}}
    list(record(measured(), tmp_path / "run", meta=meta))
    run = open_run(tmp_path / "run")
    assert images_of_gap(run) == said
    for figure in (gap(run), probe(run, "accuracy_supernet")):
        assert said in figure.layout.title.subtitle.text
        assert "Held-out" not in figure.layout.title.text
        assert ("images" in figure.layout.title.subtitle.text) == bool(said)


def test_a_run_that_did_not_measure_it_says_how_to(unpruned: Run, run: Run) -> None:
    assert gap_frame(unpruned).empty
    text = gap(unpruned).layout.annotations[0].text
    assert "probes=[EveryEpoch(DiscretisationGap())]" in text
    assert gap_frame(run)["network"].tolist() == ["derived network, trained anew"]
    assert "not measured" in gap(run).layout.annotations[0].text
