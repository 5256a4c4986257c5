"""What is said when memory runs out: what was being held, and which setting to lower."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from workbench.engine import Machine
from workbench.errors import OutOfMemory, is_out_of_memory

_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@contextmanager
def told_of_memory(
    doing: str | Callable[[], str],
    machine: Machine,
    lower: Mapping[str, int],
    held: Callable[[], Mapping[str, int]] = dict,
    *,
    supernet: bool = False,
) -> Iterator[None]:
    """Within, running out of memory is an `OutOfMemory` of one line.

    It says what was done, on which device, what was held, and which settings to lower.  What the
    step had computed is let go of before the error is raised.  The state may be half a step
    further: go on from a checkpoint, not from it.

    Args:
        doing: at what, such as "step 120"; a function is asked only then.
        machine: where.
        lower: settings and their values, those of most effect first.
        held: bytes of what is held between steps, by name; asked only then.
        supernet: whether it is one, which can recompute and has a precision.

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
        at = doing if isinstance(doing, str) else doing()
        said = f"out of {'GPU' if kind == 'cuda' else 'host'} memory at {at}, on {kind}"
        facts = f"{_held(held(), machine)}; {_of_machine(machine)}"
        raise OutOfMemory(f"{said}: {facts}. {_remedy(machine, lower, supernet)}") from error


def held_by(
    net: nn.Module, optimizer: torch.optim.Optimizer, images: int, alphas: Iterable[Tensor] = ()
) -> dict[str, int]:
    """Bytes of what a training holds between steps, by name, on its device.

    Args:
        images: bytes of them.
        alphas: and what belongs to them.
    """
    parameters = list(net.parameters())
    return {
        "weights": _bytes([*parameters, *net.buffers()]),
        "gradients": _bytes(p.grad for p in parameters if p.grad is not None),
        "optimizer state": _bytes(tensors_of(optimizer)),
        "alphas": _bytes(alphas),
        "images": images,
    }


def tensors_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The tensors of an optimizer's state."""
    states: Iterable[Mapping[str, object]] = optimizer.state.values()
    return [x for values in states for x in values.values() if isinstance(x, Tensor)]


def _held(held: Mapping[str, int], machine: Machine) -> str:
    """What a training held, and the rest: what a step computes, mostly activations."""
    if not held:
        return "nothing of it was held yet"
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


def _remedy(machine: Machine, lower: Mapping[str, int], supernet: bool) -> str:
    """What makes a step's memory less; in words that the command knows."""
    settings = ", ".join(f"`{name}={value}`" for name, value in lower.items())
    order = ", in this order" if len(lower) > 1 else ""
    switches = []
    if supernet and machine.engine != "readable" and not machine.recompute:
        switches.append("set `recompute`")
    if supernet and machine.torch_device.type == "cuda" and machine.precision != "bfloat16":
        switches.append("set `precision=bfloat16`")
    return ", or ".join([f"Lower {settings}{order}", *switches])


def amount(count: int) -> str:
    """Bytes in the unit that fits: `512 B`, `1.5 MiB`, `3.2 GiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)
