"""The running statistics of a packed cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Statistics(nn.BatchNorm1d):
    """The running statistics of all batch norms of a cell, side by side.

    A batch norm to whoever looks for some (`frozen_statistics`); its cell writes its state.
    """

    def __init__(self, norms: int, channels: int) -> None:
        super().__init__(max(1, norms) * channels, affine=False)
        self.num_batches_tracked = torch.zeros(max(1, norms), dtype=torch.long)

    def count(self, ran: Tensor | None = None) -> None:
        """A batch more: for all batch norms, or those that `ran`, bool `(norms,)`."""
        if self.track_running_stats:
            self.counted().add_(1 if ran is None else ran)

    def counted(self) -> Tensor:
        """The batches that each has seen, `(norms,)`."""
        assert self.num_batches_tracked is not None
        return self.num_batches_tracked

    def _save_to_state_dict(self, destination: object, prefix: str, keep_vars: bool) -> None:
        """Nothing: `PackedCell` does, under other names."""

    def _load_from_state_dict(
        self,
        state_dict: object,
        prefix: str,
        local_metadata: object,
        strict: bool,
        missing_keys: object,
        unexpected_keys: object,
        error_msgs: object,
    ) -> None:
        """Nothing: `PackedCell` does, from other names."""
