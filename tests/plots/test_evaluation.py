from __future__ import annotations

import numpy as np

from workbench.plots import confusion_frame, evaluation, evaluation_frame
from workbench.trace import Run


def test_frame_is_tidy_and_in_percent(run: Run) -> None:
    frame = evaluation_frame(run)
    training = frame[frame["name"] == "accuracy_train"]
    assert training["epoch"].tolist() == [0, 1, 2]
    assert np.allclose(training["value"], [35, 65, 75])
    assert set(frame["panel"]) == {"Loss", "Accuracy (%)"}


def test_confusion_counts_true_classes_down(run: Run) -> None:
    counts = confusion_frame(run)
    assert (counts.index.name, counts.columns.name) == ("true class", "predicted class")
    assert counts.loc["1", "0"] == 1
    assert counts.loc["0", "1"] == 0
    assert int(counts.to_numpy().sum()) == 89


def test_figure_shades_by_the_share_of_the_true_class(run: Run) -> None:
    (matrix,) = [trace for trace in evaluation(run).data if trace.type == "heatmap"]
    assert matrix.z[0][0] == 100
    assert np.isclose(matrix.z[1][1], 100 * 8 / 9)
    assert matrix.customdata[1][1] == 8


def test_a_run_that_was_not_evaluated_says_so(unpruned: Run) -> None:
    assert confusion_frame(unpruned).empty
    assert evaluation_frame(unpruned).empty
    notes = [note.text for note in evaluation(unpruned).layout.annotations]
    assert notes == ["This run was not evaluated"]
