from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes import fake_events
from workbench.events import SearchEvent, Stepped
from workbench.plots import gradients, gradients_frame, training, training_frame
from workbench.trace import Run, open_run, record

STEPS = 120


def with_norms(alphas: Mapping[int, float], *, stages: int = 1) -> Iterator[SearchEvent]:
    """A search whose gradients have norm 2 (weights) and 1 (alphas), but for `alphas` by step.

    The weights' norm is not measured in step 3.
    """
    events = fake_events(epochs=2, steps_per_epoch=STEPS // 2, prune=False, stages=stages)
    for event in events:
        if isinstance(event, Stepped):
            norms = {"grad_norm_alpha": torch.tensor(alphas.get(event.clock.step, 1.0))}
            if event.clock.step != 3:
                norms["grad_norm_weights"] = torch.tensor(2.0)
            event = replace(event, scalars={**event.scalars, **norms})
        yield event


def recorded(path: Path, alphas: Mapping[int, float], *, stages: int = 1) -> Run:
    list(record(with_norms(alphas, stages=stages), path))
    return open_run(path)


def test_a_spike_is_above_ten_times_the_median_of_fifty_steps_before(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", {30: 9.9, 70: 10.5, 100: 500.0})
    frame = gradients_frame(run)
    assert frame.loc[frame["spike"], ["name", "step"]].to_numpy().tolist() == [
        ["grad_norm_alpha", 70],
        ["grad_norm_alpha", 100],
    ]
    lower = gradients_frame(run, times=5)
    assert lower.loc[lower["spike"], "step"].tolist() == [30, 70, 100]


def test_the_median_is_that_of_the_steps_before_and_of_the_stage(tmp_path: Path) -> None:
    values = {step: float(value) for step, value in enumerate(np.geomspace(1, 1e4, STEPS))}
    run = recorded(tmp_path / "run", values, stages=2)
    frame = gradients_frame(run, last=4)
    alphas = frame.loc[frame["name"] == "grad_norm_alpha"].reset_index(drop=True)
    value, median = alphas["value"].to_numpy(), alphas["median"].to_numpy()
    assert len(alphas) == 2 * STEPS
    assert np.flatnonzero(np.isnan(median)).tolist() == [0, STEPS]
    assert median[STEPS + 1] == value[STEPS]
    for step in (2, 3, 4, 50, STEPS + 7):
        before = value[max(step - 4, step // STEPS * STEPS) : step]
        assert median[step] == pytest.approx(np.median(before))


def test_a_step_without_the_gradient_has_no_row(tmp_path: Path) -> None:
    frame = gradients_frame(recorded(tmp_path / "run", {}))
    weights = frame.loc[frame["name"] == "grad_norm_weights"]
    assert weights["step"].tolist() == [step for step in range(STEPS) if step != 3]
    assert set(weights["value"]) == {2.0}
    assert not frame["spike"].any()


def test_spikes_are_marked_on_a_logarithmic_axis(tmp_path: Path) -> None:
    fig = gradients(recorded(tmp_path / "run", {5: 0.0, 100: 500.0}))
    marked = {trace.yaxis: list(trace.x) for trace in fig.data if trace.name == "spike"}
    assert marked == {"y": [], "y2": [100]}
    assert fig.layout.yaxis.type == fig.layout.yaxis2.type == "log"
    norms = [trace for trace in fig.data if trace.name == "norm"]
    assert np.flatnonzero(np.isnan(norms[1].y)).tolist() == [5]
    assert [trace.showlegend for trace in norms] == [True, False]
    assert "0 of the weights, 1 of the alphas" in fig.layout.title.subtitle.text


def test_a_gradient_that_is_always_0_is_said_to_be(tmp_path: Path) -> None:
    fig = gradients(recorded(tmp_path / "run", dict.fromkeys(range(STEPS), 0.0)))
    assert [note.text for note in fig.layout.annotations] == ["Always 0"]


def test_a_run_without_norms_says_so(run: Run, started: Run) -> None:
    for other in (run, started):
        assert gradients_frame(other).empty
        assert "did not record" in gradients(other).layout.annotations[0].text


def test_limits_that_are_none_are_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="`times` must be above 0"):
        gradients_frame(run, times=0.0)
    with pytest.raises(ValueError, match="`last` 1 or more"):
        gradients_frame(run, last=0)


def test_norms_are_no_losses_accuracies_or_rates(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", {})
    assert not training_frame(run)["name"].str.startswith("grad_norm").any()
    assert len(training(run).data) == 9  # 2 losses and 2 accuracies, thin and thick, and a rate
