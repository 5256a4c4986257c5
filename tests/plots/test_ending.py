"""Why a search ended is said in words: by its summary, for every way to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import fake_events, fake_run
from workbench import events as ev
from workbench.plots import summary_table, summary_table_frame
from workbench.plots.ending import ending, held_back
from workbench.trace import Run, open_run, record
from workbench.trace.folder import read_sealed, write_sealed

RULE = "SkipCount(most=1, grace_epochs=0)"


def method(*stops: str, epochs: int = 3) -> dict[str, object]:
    """Meta of a method with a stage, called after its number, for each of `stops`."""
    named = [{"name": f"'s{i}'", "epochs": str(epochs), "stop": s} for i, s in enumerate(stops)]
    return {"method": {"name": "fake", "stages": named}}


def stopped(at: tuple[int, int], reason: str, *, stages: int = 1) -> Iterator[ev.SearchEvent]:
    """A search whose stage `at[0]` a rule ends after its epoch `at[1]`."""
    over = False
    for event in fake_events(stages=stages, epochs=3, steps_per_epoch=2):
        if isinstance(event, (ev.StageStarted, ev.Derived)):
            over = False
        if over:
            continue
        yield event
        if isinstance(event, ev.EpochEnded) and (event.clock.stage, event.clock.epoch) == at:
            yield ev.Stopped(event.clock, reason)
            over = True


def failing(error: Callable[[ev.EpochEnded], Exception]) -> Iterator[ev.SearchEvent]:
    """A search with an error behind its second epoch."""
    for event in fake_events(epochs=4):
        yield event
        if isinstance(event, ev.EpochEnded) and event.clock.epoch == 1:
            raise error(event)


def recorded(
    events: Iterator[ev.SearchEvent],
    path: Path,
    *,
    fails: type[Exception] | None = None,
    **meta: object,
) -> Run:
    with nullcontext() if fails is None else pytest.raises(fails):
        list(record(events, path, meta=meta))
    return open_run(path)


def test_a_search_reached_its_last_epoch(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    assert ending(run) == "reached its last epoch, 3 of 3"
    assert summary_table(run).values["how it ended"] == ending(run)


def test_a_rule_stopped_it_after_an_epoch_for_a_reason(tmp_path: Path) -> None:
    reason = "the derived normal cell has 2 skip connections"
    run = recorded(stopped((0, 0), reason), tmp_path / "run", **method(RULE))
    assert ending(run) == f"stopped by its rule {RULE} after 1 of 3 epochs: {reason}"
    assert summary_table_frame(run).set_index("name")["value"]["how it ended"] == ending(run)


def test_of_several_stages_the_one_that_a_rule_ended_is_named(tmp_path: Path) -> None:
    first = recorded(stopped((0, 1), "enough", stages=2), tmp_path / "a", **method(RULE, "None"))
    said = f"stopped by its rule {RULE} after 2 of 3 epochs of stage 0 (s0): enough"
    assert ending(first) == f"{said}; reached its last epoch, 5 of 6"
    last = recorded(stopped((1, 0), "enough", stages=2), tmp_path / "b")  # by a rule nobody noted
    assert ending(last) == "stopped by its rule after 1 of 3 epochs of stage 1: enough"


def test_a_search_that_ends_early_without_a_word_did_not_reach_its_last_epoch(
    tmp_path: Path,
) -> None:
    early = (e for e in fake_events() if e.clock.epoch < 2 or isinstance(e, ev.Derived))
    run = recorded(early, tmp_path / "run")
    assert ending(run) == "ended after 2 of 3 epochs, no reason was recorded"
    events = (e for e in fake_events(epochs=1) if not isinstance(e, ev.Derived))
    run = recorded(events, tmp_path / "no genotype")
    assert ending(run) == "ended after 1 of 1 epoch, no reason was recorded"


def test_a_divergence_is_told_with_its_error(tmp_path: Path) -> None:
    def nan(event: ev.EpochEnded) -> Exception:
        diverged = ev.Diverged(event.clock, "loss_val became nan", None, "lower weight_lr")
        return ev.DivergenceError(diverged)

    said = ending(recorded(failing(nan), tmp_path / "run", fails=ev.DivergenceError))
    assert said.startswith("diverged after 2 of 4 epochs: loss_val became nan in step 9, epoch 1")
    assert said.endswith("to try: lower weight_lr")


def test_an_error_is_told_as_text_in_a_notebook_and_in_a_terminal(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>\x1b[31m"
    run = recorded(failing(lambda _: OSError(bad)), tmp_path / "run", fails=OSError)
    assert ending(run).startswith("failed after 2 of 4 epochs: OSError: <script>alert(1)")
    assert "\x1b" not in str(summary_table(run))
    page = summary_table(run)._repr_html_()
    assert "<script>" not in page
    assert "<strong>How it ended</strong>: failed after 2 of 4 epochs: OSError: &lt;scr" in page
    assert page.index("How it ended") < page.index("test accuracy")


def test_an_interrupted_search_says_whether_it_is_saved(tmp_path: Path) -> None:
    events = record(fake_events(epochs=4), tmp_path / "run")
    while not isinstance(next(events), ev.EpochEnded):
        pass
    assert ending(open_run(tmp_path / "run")) == "not ended: running after 1 of 4 epochs"
    events.close()
    run = open_run(tmp_path / "run")
    assert ending(run) == "interrupted after 1 of 4 epochs, and no state is saved"
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / "checkpoint_0.json").write_text("{}", encoding="utf-8")
    said = "interrupted after 1 of 4 epochs, saved: `workbench search --resume` goes on"
    assert ending(run) == said


def test_a_killed_search_cannot_have_said_so(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", epochs=1)
    header = run.path / "run.json"
    write_sealed(header, {**read_sealed(header), "status": "running", "pid": 2**22 + 1})
    said = ending(open_run(run.path))
    assert said == "killed after 1 of 1 epoch, its process is gone; and no state is saved"


def test_epochs_of_stages_that_did_not_begin_are_planned_too(tmp_path: Path) -> None:
    events = record(fake_events(), tmp_path / "run", meta=method("None", "None", epochs=7))
    next(events)
    events.close()
    assert ending(open_run(tmp_path / "run")).startswith("interrupted after 0 of 10 epochs, ")


def test_what_was_held_back_is_counted_by_reason(run: Run, tmp_path: Path) -> None:
    def held() -> Iterator[ev.SearchEvent]:
        for event in fake_events(prune=False):
            yield event
            if isinstance(event, ev.Stepped):
                why = "its node needs it" if event.clock.step < 2 else "it is <last>"
                edge = "normal:0→2" if event.clock.step < 3 else "normal:1→2"
                yield replace(ev.Held(event.clock, edge, "none", why))

    assert held_back(run) == ""
    assert summary_table(run).values["held back from pruning"] == "–"
    one = recorded(held(), tmp_path / "held")
    said = "1 operation (its node needs it), 1 operation (it is <last>)"
    assert held_back(one) == said  # each operation once, as it was held first
    assert "it is &lt;last&gt;" in summary_table(one)._repr_html_()
