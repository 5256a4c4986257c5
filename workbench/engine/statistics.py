"""The running statistics of a packed cell."""

from __future__ import annotations

from torch import nn


class Statistics(nn.BatchNorm1d):
    """The running statistics of all batch norms of a cell, side by side.

    A batch norm to whoever looks for some (`frozen_statistics`); its cell writes its state.
    """

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
