"""The device of `tensors`: what stands in for `torch.cuda` while it is pretended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import clip_grad

from tests.pretend.tensors import (
    CPU,
    GENERATORS,
    GPU,
    WAITS,
    Functions,
    OnGpu,
    Operations,
    Waits,
    is_gpu,
)  # fmt: skip

GIB = 2**30


class _Generator(torch._C.Generator):
    """One of either device, with the CPU's numbers."""

    _own: torch.device
    _cdata: int

    def __new__(cls, device: Any = CPU) -> _Generator:
        self = super().__new__(cls)
        self._own = GPU if is_gpu(device) else CPU
        (GENERATORS.add if self._own is GPU else GENERATORS.discard)(self._cdata)
        return self

    def __init__(self, device: Any = CPU) -> None:
        """Made already."""

    @property
    def device(self) -> torch.device:  # pyright: ignore
        """Where it is said to be."""
        return self._own

    def manual_seed(self, seed: int) -> _Generator:
        """Itself, for calls in a row."""
        super().manual_seed(seed)
        return self


class _Stream:
    """Of one thing after the other: nothing is ever late."""

    def __init__(self, *_: object, **__: object) -> None:
        """On any device."""

    def wait_stream(self, other: object) -> None:
        """Nothing to wait for."""

    def wait_event(self, event: object) -> None:
        """Nothing to wait for."""

    def record(self, stream: object = None) -> None:
        """As an event: it has happened."""

    def wait(self, stream: object = None) -> None:
        """Nothing to wait for."""

    def synchronize(self) -> None:
        """Over already."""

    def query(self) -> bool:
        """Over already."""
        return True

    def is_capturing(self) -> bool:
        """There are no captures."""
        return False


class _Autocast(torch.autocast):
    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu", *args, **kwargs)


@contextmanager
def pretended() -> Iterator[Waits]:
    """There is a GPU within, or another one than there is; what the host waited for."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as modes:
        for name, value in _cuda().items():
            patch.setattr(torch.cuda, name, value)
        _of_torch(patch)
        WAITS.clear()
        modes.enter_context(Operations())
        modes.enter_context(Functions())
        yield WAITS


def _cuda() -> dict[str, Any]:
    stream, used = _Stream(), GIB

    def nowhere(*_: object, **__: object) -> nullcontext[None]:
        return nullcontext()

    def strictly(mode: str) -> None:
        WAITS.strict = mode == "error"

    ready = {
        "is_available": True, "is_initialized": False, "device_count": 1, "current_device": 0,
        "current_stream": stream, "is_current_stream_capturing": False,
        "max_memory_allocated": used, "memory_allocated": used, "memory_reserved": used,
        "mem_get_info": (16 * GIB, 32 * GIB), "get_rng_state": torch.zeros(8, dtype=torch.uint8),
        "set_rng_state": None, "manual_seed_all": None, "_lazy_init": None, "_sleep": None,
        "empty_cache": None, "reset_peak_memory_stats": None, "get_device_name": "pretended",
    }  # fmt: skip
    functions = {name: _answers(value) for name, value in ready.items()}
    within = dict.fromkeys(("stream", "device_of", "device"), nowhere)
    own = {
        "Stream": _Stream, "Event": _Stream, "set_sync_debug_mode": strictly,
        "synchronize": lambda *_: WAITS.note("synchronize"),
    }  # fmt: skip
    return {**functions, **within, **own}


def _answers(value: object) -> Callable[..., object]:
    return lambda *_: value


def _of_torch(patch: pytest.MonkeyPatch) -> None:
    """What has the CPU's form only, or decides in C++ by a tensor's device."""
    enabled, low = torch.is_autocast_enabled, torch.get_autocast_dtype
    name = "_group_tensors_by_device_and_dtype"
    alike = getattr(clip_grad, name)

    def grouped(tensors: list[list[Tensor]]) -> dict[Any, Any]:
        there = isinstance(tensors[0][0], OnGpu)
        return {(GPU if there else CPU, kind): own for (_, kind), own in alike(tensors).items()}

    patch.setattr(clip_grad, name, grouped)
    patch.setattr(torch, "Generator", _Generator)
    patch.setattr(torch, "autocast", _Autocast)
    patch.setattr(torch, "is_autocast_enabled", lambda *_: enabled("cpu"))
    patch.setattr(torch, "get_autocast_dtype", lambda *_: low("cpu"))
    stream = _Stream()
    patch.setattr(torch.accelerator, "current_stream", lambda *_: stream)
