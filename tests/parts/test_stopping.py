"""When a stage ends before its epochs do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tiny import SPACES, searched, shrunk, steps
from workbench.events import EpochEnded, Stopped
from workbench.methods import darts
from workbench.parts.stopping import ModelSize
from workbench.protocols import Clock, View

CLOCK = Clock(0, 0, 10, 0, 100)


def view(*sizes: int | None) -> View:
    """After so many epochs, whose derived networks had these sizes."""
    ended = tuple(EpochEnded(CLOCK, {}, 1.0, 1, parameters=size) for size in sizes)
    return View(CLOCK, SPACES["darts"], {}, {}, {}, ended=ended)


def test_a_script_stops_at_the_first_epoch_that_is_small_enough() -> None:
    sizes, rule = (900, 1000, 501, 500, 499, 700), ModelSize(500)
    reasons = [rule(view(*sizes[: n + 1])) for n in range(len(sizes))]
    assert [reason is not None for reason in reasons] == [False] * 3 + [True, True, False]
    assert "500 parameters" in reasons[3]


def test_without_a_size_nothing_stops() -> None:
    assert ModelSize()(view(3, 2, 1)) is None


@pytest.mark.parametrize("state", [view(), view(None)])
def test_before_there_is_a_network_nothing_stops(state: View) -> None:
    assert ModelSize(10**9)(state) is None


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`ModelSize\(parameters=0\)` needs 1 or more"):
        ModelSize(0)


def test_a_search_ends_with_the_epoch_whose_network_is_small_enough() -> None:
    method = shrunk(darts, epochs=2, batch_size=12)
    whole = searched(method, SPACES["darts"])
    sizes = [event.parameters for event in whole if isinstance(event, EpochEnded)]
    assert len(sizes) == 2
    for size, epochs in ((sizes[0], 1), (min(sizes) - 1, 2)):
        events = searched(method.but(stop=ModelSize(size)), SPACES["darts"])
        stops = [replace(event.clock, step=0) for event in events if isinstance(event, Stopped)]
        assert stops == [Clock(0, 0, 2, 0, 4)] * (2 - epochs)
        assert len(steps(events)) == 2 * epochs
