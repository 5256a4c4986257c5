"""The short form of `benchmarks/faults.py`: a few of every kind, no time judged."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.faults.killing import PLACES, SEARCHES, Killing
from tests.faults.living import pauses, read_live
from tests.faults.signals import BUDGET, Signalling

KINDS = list(dict.fromkeys(place.kind for place in PLACES))
SMALL = {k: v for k, v in SEARCHES["pruned"].items() if k in BUDGET} | {"noise": 0.0}


def test_a_killed_search_goes_on_as_if_nothing_had_been(tmp_path: Path):
    killing = Killing(tmp_path, searches=["pruned"])
    kinds = [kind for kind in KINDS if kind != "stage change"]
    for kind in ["checkpoint write", "half a line", "resuming"]:
        assert kind in kinds
        place = next(p for p in PLACES if p.kind == kind and p.search != "stages")
        killed = killing.at(place)
        assert killed.dead, killed
        assert not killed.wrong, killed


def test_a_search_killed_between_its_stages_goes_on(tmp_path: Path):
    killing = Killing(tmp_path, searches=["stages"])
    place = next(p for p in PLACES if p.name == "_begin_stage" and p.when == "after")
    killed = killing.at(place)
    assert killed.dead, killed
    assert not killed.wrong, killed


def test_a_command_that_is_asked_to_end_says_how_it_goes_on(tmp_path: Path):
    found = Signalling(tmp_path, SMALL).by_a_real_process(signal.SIGTERM)
    assert found.sent
    assert not found.wrong, found


def test_readers_of_a_live_run_see_whole_steps(tmp_path: Path):
    read = read_live(tmp_path, readers=2, seconds=6, slices=3)
    assert not read.failed
    assert read.looks
    assert read.steps


def test_pausing_changes_nothing(tmp_path: Path):
    for paused in pauses(tmp_path, 40):
        assert paused.cycles == 40
        assert not paused.wrong, paused
        assert paused.files <= 0, paused
