"""Images: where they come from, how they are split, and how batches of them are made."""

from __future__ import annotations

from workbench.data.folder import Finding, inspect_folder
from workbench.data.loading import Loader, evaluation_batches, refuse_batches
from workbench.data.sets import (
    Augment,
    Data,
    DataError,
    ImageSet,
    describe,
    split_indices,
)
from workbench.data.sources import check, load

__all__ = [
    "Augment",
    "Data",
    "DataError",
    "Finding",
    "ImageSet",
    "Loader",
    "check",
    "describe",
    "evaluation_batches",
    "inspect_folder",
    "load",
    "refuse_batches",
    "split_indices",
]
