"""Memory that is used again."""

from __future__ import annotations

from torch import Tensor


class Lease:
    """Memory that goes back to `home` when the last who uses it lets go.

    Fresh memory costs a page fault every 4 KiB, as much as the arithmetic on it.
    """

    def __init__(self, tensor: Tensor, home: list[Tensor]) -> None:
        self.tensor, self._home = tensor, home

    def __del__(self) -> None:
        if len(self._home) < 2:
            self._home.append(self.tensor)
