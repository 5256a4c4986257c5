"""How step.py shows what it measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
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


HEAD = (
    f"{'step':<54}{'variant':>9}{'alive':>7}{'ms':>10}{'spread':>8}{'ratio':>7}{'of full':>9}"
    f"{'hours':>8}{'peak MiB':>10}{'operations':>12}{'launches':>10}"
)


def line(row: Measured, of_full: float) -> str:
    """A line of the table."""
    time = "" if row["hours"] is None else f"{row['hours']:.1f}"
    return (
        f"{row['name']:<54}{row['variant']:>9}{row['alive']:7.0%}{1e3 * row['seconds']:10.1f}"
        f"{row['spread']:8.0%}{row['ratio']:7.2f}{of_full:9.0%}{time:>8}"
        f"{row['peak_bytes'] / 2**20:10.0f}{row['operations']:12,}{row['launches']:10,}"
    )


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
