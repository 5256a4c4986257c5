"""How step.py and gpu.py show what they measured."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from _cases import clock_of

from workbench import Machine

Measured = dict[str, Any]


def facts(machine: Machine) -> Measured:
    """What was measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    on_gpu = machine.torch_device.type == "cuda"
    return {
        "cpu": next(named, platform.processor()),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(machine.torch_device) if on_gpu else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": machine.threads,
        "clock": clock_of(machine).__name__,
    }


def head(width: int) -> str:
    """Names of columns; that of variants is `width` wide."""
    return (
        f"{'step':<54}{'variant':>{width}}{'alive':>7}{'ms':>10}{'spread':>8}{'ratio':>7}"
        f"{'of full':>9}{'hours':>8}{'peak MiB':>10}{'operations':>12}{'launches':>10}"
    )


def line(row: Measured, of_full: float | None, width: int) -> str:
    """A line of the table; what failed says why in the place of figures."""
    which = f"{row['name']:<54}{row['variant']:>{width}}{row['alive']:7.0%}"
    if "error" in row:
        return f"{which}  failed: {row['error']}"
    time = "" if row["hours"] is None else f"{row['hours']:.1f}"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    full = "" if of_full is None else f"{of_full:.0%}"
    return (
        f"{which}{1e3 * row['seconds']:10.1f}"
        f"{row['spread']:8.0%}{ratio:>7}{full:>9}{time:>8}"
        f"{row['peak_bytes'] / 2**20:10.0f}{row['operations']:12,}{row['launches']:10,}"
    )


@dataclass
class Report:
    """What is found, as JSON, and said as it is found."""

    say: Callable[[str], None]
    until: float = float("inf")
    told: Measured = field(default_factory=dict)
    failed: bool = False

    def on_time(self, what: str) -> bool:
        """Whether there is time left to begin it; if not, that is said."""
        left = time.monotonic() < self.until
        if not left:
            self.leave_out(what, "time is up")
        return left

    def leave_out(self, what: str, why: str) -> None:
        """Say that it was not measured."""
        self.told.setdefault("left_out", {})[what] = why
        self.say(f"{what}: left out, {why}")

    def fail(self, what: str, error: object) -> None:
        """Say that it failed."""
        self.failed = True
        self.told.setdefault("failed", {})[what] = str(error)
        self.say(f"{what}: failed: {error}")


def footnotes(more: Sequence[Measured]) -> Iterator[str]:
    """The extras as lines."""
    for extra in more:
        if "share" in extra:
            cost = f"{1e3 * extra['seconds']:.2f} ms, {extra['share']:.2%} of a fast step"
            yield f"{extra['name']}: {cost} ({extra['of']})"
        else:
            gap = extra["operations"] / extra["published"] - 1
            beside = f"published code {extra['published']:,} ({gap:+.1%})"
            yield f"{extra['name']}: {extra['operations']:,}; {beside}"
