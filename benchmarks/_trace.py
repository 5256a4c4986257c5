"""What a GPU did in a few steps, read out of a profiler's trace."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from _cases import Search
from torch.profiler import ProfilerActivity, profile

Event = dict[str, Any]

# What a kernel's name has in it, in lower case; the first that fits counts, so what a general word
# would take stands before it.  cuDNN's `grouped` kernels also do pointwise convolutions of several
# edges at once; their names do not tell.
GROUPS: dict[str, tuple[str, ...]] = {
    "optimizers": ("multi_tensor_apply", "fusedsgd", "fusedadam", "fused_sgd", "fused_adam",
                   "lpnorm"),
    "batch norm": ("batch_norm", "batchnorm", "bn_fw", "bn_bw", "moments", "welford",
                   "norm_statistics", "norm_coefficients"),
    "pooling": ("max_pool", "avg_pool", "maxpool", "avgpool", "pooling", "_pool"),
    "copies and layout": ("memcpy", "memset", "copy", "catarray", "nchwtonhwc", "nhwctonchw",
                          "transpose", "fillfunctor", "constant_pad", "im2col", "col2im"),
    "depthwise convolution": ("depthwise", "separable", "_c1_k1_", "grouped"),
    "pointwise and matmul": ("pointwise_conv", "gemm", "gemv", "cutlass", "xmma", "nvjet", "cublas",
                             "splitk", "convol", "conv2d", "fprop", "dgrad", "wgrad", "winograd",
                             "matmul", "product", "pointwise"),
    "mixing and elementwise": ("elementwise", "reduce", "mix", "softmax", "triton_poi",
                               "triton_red", "triton_per", "threshold", "clamp", "relu"),
}  # fmt: skip
OTHER = "other"
ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
ON_HOST = {"cuda_runtime", "cuda_driver"}


def group(name: str) -> str:
    """The group of a kernel of that name."""
    low = name.lower()
    fits = (known for known, parts in GROUPS.items() if any(part in low for part in parts))
    return next(fits, OTHER)


@dataclass(frozen=True)
class Trace:
    """What ran in `steps` steps; seconds are those of all steps together.

    `launches` are calls that launch a kernel or a graph, `busy` seconds in which at least one
    kernel or copy ran, `kernels` seconds and runs by name.
    """

    steps: int
    launches: int
    busy: float
    kernels: dict[str, tuple[float, int]]

    @property
    def total(self) -> float:
        """Seconds of all kernels, those at the same time added up."""
        return sum(seconds for seconds, _ in self.kernels.values())

    @property
    def runs(self) -> int:
        """Kernels and copies that ran."""
        return sum(count for _, count in self.kernels.values())

    def groups(self) -> dict[str, float]:
        """Every group's share of `total`, the largest first."""
        found: defaultdict[str, float] = defaultdict(float)
        for name, (seconds, _) in self.kernels.items():
            found[group(name)] += seconds / self.total
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def top(self, count: int) -> list[tuple[str, float, int]]:
        """Name, seconds and runs of the `count` kernels that took most."""
        rows = [(name, *figures) for name, figures in self.kernels.items()]
        return sorted(rows, key=lambda row: -row[1])[:count]


def traced(search: Search, steps: int, path: Path | None = None, *, host: bool = False) -> Trace:
    """Take `steps` steps under torch's profiler.

    Args:
        path: of the Chrome trace that is left; with `.gz` at its end it is compressed.
        host: record torch's operations too.  Of the readable supernet's there are so many that the
            trace takes minutes to write.
    """
    activities = [ProfilerActivity.CUDA] if search.on_gpu else []
    activities += [ProfilerActivity.CPU] if host or not search.on_gpu else []
    if search.on_gpu:
        search.case.machine.prepare()
        torch.cuda.synchronize()
    with profile(activities=activities, acc_events=True) as profiler:
        for _ in range(steps):
            search.step()
        if search.on_gpu:
            torch.cuda.synchronize()
    with TemporaryDirectory() as folder:
        file = path or Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        return read(events(file), steps)


def events(path: Path) -> list[Event]:
    """The events of a Chrome trace."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return json.load(file)["traceEvents"]


def read(found: Iterable[Event], steps: int) -> Trace:
    """What the events of a Chrome trace of `steps` steps say; times in it are microseconds."""
    launches, spans = 0, []
    kernels: defaultdict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for event in found:
        kind, name = event.get("cat"), event.get("name", "")
        if kind in ON_HOST and "launch" in name.lower():
            launches += 1
        if kind in ON_DEVICE and event.get("ph") == "X":  # others are arrows between spans
            began, seconds = 1e-6 * float(event["ts"]), 1e-6 * float(event["dur"])
            before, count = kernels[name]
            kernels[name] = (before + seconds, count + 1)
            spans.append((began, began + seconds))
    return Trace(steps, launches, _covered(spans), dict(kernels))


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, until = 0.0, float("-inf")
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def shown(trace: Trace, seconds: float, count: int = 10) -> list[str]:
    """A trace as lines, beside a step that takes `seconds` while nobody traces it."""
    if not trace.kernels:
        return ["no kernel is in the trace"]
    each = trace.busy / trace.steps
    out = [
        f"{trace.launches / trace.steps:,.0f} launches and {trace.runs / trace.steps:,.0f} kernels "
        f"a step; the GPU works {1e3 * each:.2f} of {1e3 * seconds:.2f} ms, {each / seconds:.0%}"
    ]
    out += [f"  {share:6.1%}  {name}" for name, share in trace.groups().items()]
    for name, spent, runs in trace.top(count):
        short = brief(name)
        out.append(
            f"  {spent / trace.total:6.1%} {1e3 * spent / trace.steps:8.3f} ms "
            f"{runs / trace.steps:6.0f} times  [{group(name)}] {short}"
        )
    return out


def brief(name: str, length: int = 90) -> str:
    """A kernel's name without what all of them have."""
    for common in ("void ", "at::native::", "(anonymous namespace)::", "at::cuda::"):
        name = name.replace(common, "")
    return name if len(name) <= length else name[: length - 1] + "…"


def as_json(trace: Trace, seconds: float) -> dict[str, object]:
    """The same figures; times in seconds a step."""
    return {
        "launches": trace.launches / trace.steps,
        "kernels": trace.runs / trace.steps,
        "busy": trace.busy / trace.steps / seconds,
        "groups": trace.groups(),
        "top": [
            {"name": name, "group": group(name), "seconds": spent / trace.steps,
             "runs": runs / trace.steps}
            for name, spent, runs in trace.top(10)
        ],
    }  # fmt: skip
