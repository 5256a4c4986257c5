"""Machine settings: everything about a run that is not science."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
        precision: of weights and images; alphas are relaxed in float64 whatever this says.

    Raises:
        MachineError: if the device does not exist here.
    """

    device: str = "auto"
    precision: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        _ = self.torch_device

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

    def memory(self) -> int:
        """Bytes in use: of the whole process on a CPU, the peak of tensors on a GPU."""
        if self.torch_device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.torch_device)
        return psutil.Process().memory_info().rss
