"""Machine settings: everything about a run that is not science."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import psutil
import torch

from workbench.errors import WorkbenchError


class MachineError(WorkbenchError):
    """A machine setting this machine cannot meet."""


@dataclass(frozen=True)
class Machine:
    """Where and in which number format a search runs.

    Args:
        device: "auto" takes a GPU if there is one; else a torch device such as "cpu" or "cuda:0".
        precision: of weights and images; sparse relaxations are in float64 whatever this says.
        threads: of the CPU, for the whole process.  One, because a supernet is thousands of small
            operations: on two shared cores, two threads made a step of 224 candidate operations on
            8×8 pictures 12 to 16 times slower, spinning while they waited for each other.

    Raises:
        MachineError: if the device does not exist here, or `threads` is below 1.
    """

    device: str = "auto"
    precision: Literal["float32", "float64"] = "float32"
    threads: int = 1

    def __post_init__(self) -> None:
        _ = self.torch_device
        if self.threads < 1:
            raise MachineError(f"threads must be at least 1, not {self.threads}")

    def describe(self) -> dict[str, object]:
        """Settings by name, "auto" resolved, for a record."""
        return {**asdict(self), "device": str(self.torch_device)}

    def prepare(self) -> None:
        """Set what torch keeps per process."""
        torch.set_num_threads(self.threads)

    @property
    def torch_device(self) -> torch.device:
        """The device, with "auto" resolved."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            have = "cpu" + (", cuda" if torch.cuda.is_available() else "")
            raise MachineError(
                f"device {self.device!r} is not to be had here (there is {have}); choose one of "
                "these or auto"
            ) from error
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The torch number format of `precision`."""
        return getattr(torch, self.precision)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Torch's global generators start at `seed` within, and are put back afterwards."""
        device = self.torch_device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def memory(self) -> int:
        """Bytes in use: of the whole process on a CPU, the peak of tensors on a GPU."""
        if self.torch_device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.torch_device)
        return psutil.Process().memory_info().rss


def independent_seeds(*key: int, count: int) -> list[int]:
    """`count` seeds that share nothing with each other or with those of any other `key`."""
    return [int(seed) for seed in np.random.SeedSequence(key).generate_state(count)]
