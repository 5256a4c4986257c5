"""Arrays that a reader goes on reading: what was read before is neither read nor copied again."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

import numpy as np


@dataclass
class _Room:
    """Rows that some `Grown` shows, the first `used`, and room for more."""

    rows: np.ndarray
    used: int
    lock: Lock = field(default_factory=Lock)  # a notebook's cell and a view may both go on


class Grown:
    """The first rows of an array that grows; they stay as they are, whoever goes on from them.

    Args:
        rows: taken as they are, not copied.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._room, self._count = _Room(rows, len(rows)), len(rows)

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> np.ndarray:
        """The rows, not to be written into."""
        view = self._room.rows[: self._count]
        view.flags.writeable = False
        return view

    def then(self, at: int, new: np.ndarray) -> Grown:
        """Another one with `new` from row `at` on; where that changes nothing both share rows."""
        with self._room.lock:
            return self._then(at, new)

    def _then(self, at: int, new: np.ndarray) -> Grown:
        room, end = self._room, at + len(new)
        shown = max(min(room.used, end), at)
        same = room.rows[at:shown].tobytes() == new[: shown - at].tobytes()
        if end > len(room.rows) or not same:
            room = _Room(np.empty((end + end // 2, *new.shape[1:]), new.dtype), at)
            room.rows[:at] = self._room.rows[:at]
            shown = at
        room.rows[shown:end] = new[shown - at :]
        room.used = max(room.used, end)
        out = Grown.__new__(Grown)
        out._room, out._count = room, end
        return out
