from __future__ import annotations

import numpy as np
import pytest

from workbench.plots import confusion_frame, evaluation, evaluation_frame, shares, theme
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


def test_every_count_is_said_in_an_ink_of_the_page(run: Run) -> None:
    fig, counts = evaluation(run), confusion_frame(run)
    (matrix,) = [trace for trace in fig.data if trace.type == "heatmap"]
    assert matrix.texttemplate is None  # plotly would choose an ink for white pages
    faint, strong = fig.select_traces({"mode": "text"})
    said = {
        (true, predicted): int(text)
        for one in (faint, strong)
        for true, predicted, text in zip(one.y, one.x, one.text, strict=True)
    }
    assert said == {place: count for place, count in counts.stack().items() if count}
    assert [faint.textfont.color, strong.textfont.color] == [None, "#FFFFFF"]
    share = counts.div(counts.sum(axis=1), axis=0)
    assert all(share.loc[at] >= 0.5 for at in zip(strong.y, strong.x, strict=True))
    assert all(share.loc[at] < 0.5 for at in zip(faint.y, faint.x, strict=True))


@pytest.mark.parametrize(("page", "paper"), [("light", 255), ("dark", 17)])
def test_numbers_can_be_read_on_every_share(page: str, paper: int) -> None:
    def light(rgb: list[float]) -> float:
        return float(np.array([0.2126, 0.7152, 0.0722]) @ (np.array(rgb) / 255) ** 2.2) + 0.05

    for at, colour in shares.SCALE:
        *blue, opacity = map(float, colour.removeprefix("rgba(").removesuffix(")").split(","))
        cell = light([opacity * part + (1 - opacity) * paper for part in blue])
        ink = theme.INK[page] if at < 0.5 else "#FFFFFF"
        text = light([int(ink[i : i + 2], 16) for i in (1, 3, 5)])
        assert max(cell, text) / min(cell, text) >= 3.9
