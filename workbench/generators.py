"""The process' own random generators, which parts of others may draw from."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def generators() -> dict[str, Any]:
    """Where the generators of torch, NumPy and Python are, as tensors and plain values."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002, others use it
    python = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [python[0], list(python[1]), python[2]],
    }


def set_generators(state: dict[str, Any]) -> None:
    """Put the generators where `generators` found them."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))


def draws_of_torch(device: torch.device) -> Callable[[], bool]:
    """Whether anybody has drawn from torch's own generators since this was called."""

    def states() -> list[torch.Tensor]:
        there = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
        return [torch.get_rng_state(), *there]

    before = states()
    return lambda: not all(map(torch.equal, before, states()))
