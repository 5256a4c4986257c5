"""The host waiting for the GPU, as an error."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch


def waiting_is(mode: Literal["default", "error"]) -> None:
    """Whether it is one from now on; torch warns, the first time, that it may not see all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode(mode)


@contextmanager
def no_waiting() -> Iterator[None]:
    """It is one within."""
    try:
        waiting_is("error")
        yield
    finally:
        waiting_is("default")
