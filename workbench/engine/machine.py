"""Machine settings: everything about a run that is not science."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Literal, get_args

import numpy as np
import psutil
import torch

from workbench.engine.workers import use_threads
from workbench.errors import WorkbenchError

Precision = Literal["float32", "tf32", "bfloat16", "float64"]
Engine = Literal["auto", "batched", "triton", "readable"]


class MachineError(WorkbenchError):
    """A machine setting this machine cannot meet."""


@dataclass(frozen=True)
class Machine:
    """Where, how exactly and how fast a search runs.

    What is not said to be measured in docs/performance.md is off by default.

    Args:
        device: "auto" takes a GPU if there is one; else a torch device such as "cpu" or "cuda:0".
        precision: of weights and images.  "tf32" rounds the factors of a GPU's matrix products;
            "bfloat16" runs the supernet in it, with weights, alphas and batch-norm statistics in
            float32.  Sparse relaxations are in float64 whatever this says.
        threads: of the CPU, for the whole process.  One, because torch's threads spin while they
            wait for each other: on two shared cores two of them made a step of the readable
            supernet on 8×8 pictures 12 to 16 times slower.  On two free cores, and pictures of
            32×32, two pay (docs/performance.md).
        engine: "auto" takes the fast supernet wherever it computes the same, "batched" its form in
            torch operations (no compiled kernels), "triton" its form in Triton kernels on a GPU
            (not measured yet, so "auto" does not take it), "readable" the one that reads as the
            papers do.
        channels_last: memory format of the readable supernet; the fast one's always is.
        compile: put cells through torch.compile; needs a GPU.  Gradients cannot be differentiated
            again then (`Unrolled(exact=True)`), nor with `graphs`: torch says so.
        graphs: replay CUDA graphs of whole steps on the fast supernet, weights and alphas, captured
            anew after a pruning and for every learning rate; of its forward and backward pass only
            where steps change by more than tensors, as with an annealed temperature.  Needs a GPU.
        fused: let torch's SGD and Adam do a step in one kernel; with `graphs` Adam does anyway.
        recompute: forget what cells computed in the forward pass and compute it again in the
            backward pass: more time, less memory.  The fast supernet only.
        kernel_threads: of the fast supernet's CPU kernels, which do not spin; None is every core
            that this process may use.  Small maps stay on one.
        deterministic: only operations that give the same bits every time, or an error.

    Raises:
        MachineError: if the device does not exist here, cannot do what is asked, or `threads` is
            below 1.
    """

    device: str = "auto"
    precision: Precision = "float32"
    threads: int = 1
    engine: Engine = "auto"
    channels_last: bool = False
    compile: bool = False
    graphs: bool = False
    recompute: bool = False
    deterministic: bool = False
    kernel_threads: int | None = None
    fused: bool = False

    def __post_init__(self) -> None:
        on_gpu = self.torch_device.type == "cuda"
        for name, known in (("precision", get_args(Precision)), ("engine", get_args(Engine))):
            if getattr(self, name) not in known:
                raise MachineError(f"{name} {getattr(self, name)!r}: choose {', '.join(known)}")
        for name in ("threads", "kernel_threads"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise MachineError(f"{name} must be at least 1, not {count}")
        for name in ("compile", "graphs"):
            if getattr(self, name) and not on_gpu:
                raise MachineError(f"{name} needs a GPU; leave it out, or choose a device with one")
        if self.precision == "tf32" and not on_gpu:
            raise MachineError("precision tf32 needs a GPU; choose float32")
        if self.engine == "triton" and not on_gpu:
            raise MachineError("engine triton needs a GPU; choose auto, or a device with one")
        if self.engine == "triton" and self.compile:
            raise MachineError("compile is for torch operations; leave it or engine triton out")
        if self.engine == "readable" and (self.graphs or self.compile or self.recompute):
            raise MachineError(
                "compile, graphs and recompute are the fast supernet's; leave them or engine out"
            )

    def __repr__(self) -> str:
        """Only what is not the default."""
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        shown = [f"{f.name}={mine[f.name]!r}" for f in fields(self) if mine[f.name] != f.default]
        return f"Machine({', '.join(shown)})"

    def describe(self) -> dict[str, object]:
        """Settings by name, "auto" resolved, for a record."""
        return {**asdict(self), "device": str(self.torch_device)}

    def prepare(self) -> None:
        """Set what torch keeps per process."""
        torch.set_num_threads(self.threads)
        use_threads(self.kernel_threads or _cores())
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
        torch.use_deterministic_algorithms(self.deterministic)

    def autocast(self) -> torch.autocast:
        """Operations within run in `precision` where that is less than their inputs'."""
        enabled = self.precision == "bfloat16"
        # A cache of rounded weights cannot be captured.
        return torch.autocast(
            self.torch_device.type, torch.bfloat16, enabled, cache_enabled=not self.graphs
        )

    @property
    def torch_device(self) -> torch.device:
        """The device, with "auto" resolved."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
            if device.type not in ("cpu", "cuda"):
                torch.Generator(device)  # one that only describes tensors has none
        except (RuntimeError, AssertionError, ImportError) as error:
            have = "cpu" + (", cuda" if torch.cuda.is_available() else "")
            raise MachineError(
                f"device {self.device!r} is not to be had here (there is {have}); choose one of "
                "these or auto"
            ) from error
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The torch number format of weights and images."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Torch's global generators start at `seed` within, and are put back afterwards."""
        device = self.torch_device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def memory(self) -> int:
        """Bytes in use: of the whole process on a CPU, the peak of tensors so far on a GPU."""
        if self.torch_device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.torch_device)
        return _process(os.getpid()).memory_info().rss


@cache
def _process(pid: int) -> psutil.Process:
    """A process; to find one takes ten times as long as to ask it."""
    return psutil.Process(pid)


def _cores() -> int:
    """Cores that this process may use."""
    return len(psutil.Process().cpu_affinity() or ()) if psutil.LINUX else psutil.cpu_count() or 1


def independent_seeds(*key: int, count: int) -> list[int]:
    """`count` seeds that share nothing with each other or with those of any other `key`."""
    return [int(seed) for seed in np.random.SeedSequence(key).generate_state(count)]
