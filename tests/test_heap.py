"""What was freed goes back to the system."""

from __future__ import annotations

import platform

import psutil
import pytest

from workbench.heap import give_back
from workbench.trace import checkpoints
from workbench.trace.checkpoints import Checkpointing, Checkpoints

MIB = 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="nothing is done there")
def test_what_lies_below_something_kept_goes_back() -> None:
    process, size = psutil.Process(), 2000  # bytes; the heap's, not a mapping of their own
    held = [bytes(size) for _ in range(64 * MIB // size)]
    last = bytes(size)
    full = process.memory_info().rss
    del held
    give_back()
    assert full - process.memory_info().rss > 48 * MIB
    assert len(last) == size


def test_after_each_saved_state(tmp_path, monkeypatch) -> None:
    called = []
    monkeypatch.setattr(checkpoints, "give_back", lambda: called.append(len(called)))
    saving = Checkpoints(tmp_path / "checkpoints", Checkpointing())
    saving.begin()
    for _ in range(3):
        saving.write(lambda stream: None, {"record": {}, "clock": {"stage": 0, "epoch": 0}})
    assert called == [0, 1, 2]
