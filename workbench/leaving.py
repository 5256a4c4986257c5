"""Points at which long work may be left, because it can be done again.

Whoever works for long between two places where a run is saved calls `may_leave` now and then;
whoever has been asked to end says within `leaving` what happens there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ASKED: list[Callable[[], None]] = []


def may_leave() -> None:
    """Go on, or not: by a KeyboardInterrupt."""
    for ask in tuple(_ASKED):
        ask()


@contextmanager
def leaving(ask: Callable[[], None]) -> Iterator[None]:
    """Within, `may_leave` asks `ask`, which raises where work is to be left."""
    _ASKED.append(ask)
    try:
        yield
    finally:
        _ASKED.remove(ask)
