"""What is said when memory runs out: what was being held, and which setting to lower."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from torch import Tensor

from workbench.engine import Machine
from workbench.errors import WorkbenchError
from workbench.method import Stage
from workbench.run import Run
from workbench.spaces.space import Space

# How torch says it where it raises no error of its own for it.
_SAID = ("DefaultCPUAllocator", "can't allocate memory", "ALLOC_FAILED", "out of memory")
_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class OutOfMemory(WorkbenchError):
    """Memory of the device or the host ran out; what was recorded so far is whole."""


@contextmanager
def told_of_memory(
    doing: str, machine: Machine, stage: Stage, space: Space, run: Run | None = None
) -> Iterator[None]:
    """Within, running out of memory is an `OutOfMemory` of one line.

    It says what was done, on which device, what was held, and which settings to lower, those of
    most effect first.  What the step had computed is let go of before the error is raised.  The
    state of `run` may be half a step further: go on from a checkpoint, not from it.

    Args:
        doing: at what, such as "step 120" or "making the supernet of stage 0".
        machine: where.
        stage: whose batch size it was.
        space: whose channels and cells.
        run: what is counted; None before there is one.

    Raises:
        OutOfMemory: in the place of a `MemoryError` or torch's errors of that meaning.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # activations; the line below needs memory
        kind = machine.torch_device.type
        said = f"out of {'GPU' if kind == 'cuda' else 'host'} memory at {doing}, on {kind}"
        parts = [_held(run, machine), _of_machine(machine)]
        facts = "; ".join(part for part in parts if part)
        raise OutOfMemory(f"{said}: {facts}. {_remedy(machine, stage, space)}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error means: Python's, torch's for a GPU, or its text for a CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID)


def held_by(run: Run) -> dict[str, int]:
    """Bytes of what a stage holds between steps, by name, on its device."""
    net, parameters = run.net, list(run.net.parameters())
    return {
        "weights": _bytes([*parameters, *net.buffers()]),
        "gradients": _bytes(p.grad for p in parameters if p.grad is not None),
        "optimizer state": _bytes(_tensors(run.weight_optimizer.state)),
        "alphas": _bytes([*run.arch.parameters(), *_tensors(run.arch_optimizer.state)]),
        "images": run.train.held() + run.val.held(),
    }


def _held(run: Run | None, machine: Machine) -> str:
    """What a stage held, and the rest: what a step computes, mostly activations."""
    if run is None:
        return "nothing of the stage was held yet"
    held = held_by(run)
    listed = ", ".join(f"{name} {amount(count)}" for name, count in held.items() if count)
    if machine.torch_device.type != "cuda":
        return f"held {listed}; what did not fit are the step's own values, mostly activations"
    peak = torch.cuda.max_memory_allocated(machine.torch_device)
    rest = max(peak - sum(held.values()), 0)
    return f"held {listed}, and at the peak {amount(rest)} of the step, mostly activations"


def _of_machine(machine: Machine) -> str:
    """What there was, and is in use."""
    device = machine.torch_device
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        peak, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.memory_reserved(device)
        return (
            f"the GPU has {amount(total)}, {amount(free)} of it free; this process allocated "
            f"{amount(peak)} at its peak and keeps {amount(reserved)}"
        )
    said = f"the process holds {amount(psutil.Process().memory_info().rss)} of the machine's "
    limits = "".join(f", limited to {amount(n)} by {by}" for by, n in _limits().items())
    return f"{said}{amount(psutil.virtual_memory().total)}{limits}"


def _limits() -> dict[str, int]:
    """Bytes this process may have, by who limits it below the machine's memory."""
    found: dict[str, int] = {}
    for path in _GROUPS:
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdigit() and int(text) < psutil.virtual_memory().total:
            found["its control group"] = int(text)
    if sys.platform == "linux":
        soft, _ = psutil.Process().rlimit(psutil.RLIMIT_AS)
        if soft != psutil.RLIM_INFINITY:
            found["ulimit -v (addresses)"] = soft
    return found


def _remedy(machine: Machine, stage: Stage, space: Space) -> str:
    """Settings to lower, by what they do to a step's memory; in words that the command knows."""
    settings = [
        f"`batch_size={stage.batch_size}`",
        f"`channels={space.channels}`",
        f"`cells={space.depth}`",
    ]
    lower = f"Lower {', '.join(settings)}"
    can_recompute = machine.engine != "readable" and not machine.recompute
    switches = ["set `recompute`"] if can_recompute else []
    if machine.torch_device.type == "cuda" and machine.precision != "bfloat16":
        switches.append("set `precision=bfloat16`")
    return ", or ".join([f"{lower}, in this order", *switches])


def amount(count: int) -> str:
    """Bytes in the unit that fits: `512 B`, `1.5 MiB`, `3.2 GiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _tensors(state: Mapping[Tensor, Mapping[str, object]]) -> list[Tensor]:
    return [x for values in state.values() for x in values.values() if isinstance(x, Tensor)]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)
