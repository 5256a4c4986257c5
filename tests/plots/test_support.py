from __future__ import annotations

import numpy as np
import pytest

from workbench.plots import support, support_frame
from workbench.trace import Run


def test_frame_agrees_with_the_trace(run: Run) -> None:
    frame = support_frame(run).set_index(["measure", "kind", "step"])
    mix = run.trace["mix"].sel(edge=run.trace["kind"] == "reduce", step=14).values.astype(float)
    sizes = (mix > 0).sum(1)
    row = frame.loc["support", "reduce", 14]
    assert (row["low"], row["high"]) == (sizes.min(), sizes.max())
    assert row["mean"] == pytest.approx(sizes.mean())
    logs = np.log(mix, where=mix > 0, out=np.zeros_like(mix))
    entropies = -(mix * logs).sum(1)
    row = frame.loc["entropy", "reduce", 14]
    assert row["mean"] == pytest.approx(entropies.mean(), abs=1e-5)
    assert row["high"] == pytest.approx(entropies.max(), abs=1e-5)


def test_undecided_edges_have_full_entropy(run: Run) -> None:
    first = support_frame(run).set_index(["measure", "kind", "step"]).loc["entropy", "normal", 0]
    assert first["mean"] == pytest.approx(np.log(8), abs=1e-3)


def test_figure_has_a_band_and_a_mean_per_kind_and_measure(run: Run) -> None:
    fig = support(run)
    assert len(fig.data) == 2 * 2 * 3
    assert [trace.name for trace in fig.data if trace.showlegend] == ["normal cell", "reduce cell"]


def test_a_search_without_steps_says_so(started: Run) -> None:
    assert "Nothing recorded yet" in [note.text for note in support(started).layout.annotations]
