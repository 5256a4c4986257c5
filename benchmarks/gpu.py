"""Where a first-order step's time goes on a GPU, how near the machine's limits it is, what fits.

    python benchmarks/gpu.py [--quick] [--json] [--device auto] [--variants NAME ...] [--batch N]
                             [--only PART ...] [--trace FILE] [--minutes N]

DARTS at C=16, L=8, pictures of 32×32, every variant of `step.py` in turns in one process.  Parts:

- `step`: the row of `step.py`'s table, bytes at that batch among it; the others need it.
- `limits`: the machine's own (matrix products in float32, tf32 and bfloat16, a copy on the device);
  what a step has to do at least, counted (`_limits.py`), and what share of either limit it reaches.
- `trace`: three steps under torch's profiler: launches, kernels, how long at least one of them ran
  beside the time of a step without a profiler, shares of groups of kernels, the ten longest.
  `--trace FILE` leaves the Chrome traces, a variant's name before the suffix; `.json.gz` for small
  ones.
- `batch`: the largest that fits, to 5 %, every trial in a process of its own.

All of it is to take less than four minutes on an H200; after `--minutes` (4) no part of a variant
is begun any more, and what is left out is named.  A variant that fails says why, and the exit
status is 1.  On a CPU sizes are those of `--quick`, and what needs a GPU is left out with a line.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from statistics import median

from _batches import largest_batch
from _cases import SHARES, Row, rows
from _limits import flops, machine_limits, reached, work
from _table import Report, facts, head, line
from _trace import as_json, shown, traced
from _variants import USUAL, VARIANTS, Trial, device_works, first_line, measured, processes

from workbench import Machine
from workbench.memory import amount

PARTS = ("step", "limits", "trace", "batch")
STEPS = 3  # in a trace


def steps(
    report: Report, names: list[str], row: Row, machine: Machine, repeats: int
) -> list[Trial]:
    """The row of the table; the variants that ran."""
    width = max(9, *(1 + len(name) for name in names))
    with processes() as pool:
        told, trials = measured(names, row, SHARES[0], machine, repeats, pool)
    report.say(head(width))
    for each in told:
        report.say(line(each, 1.0 if "error" not in each else None, width))
        report.failed |= "error" in each
    report.told["rows"] = told
    return [trial for trial in trials if trial.search is not None]


def limits(report: Report, trials: list[Trial], row: Row, machine: Machine, *, quick: bool) -> None:
    """What the machine can do, what a step has to, and how near it comes."""
    found = machine_limits(machine, quick=quick)
    said = [f"{name} {value / 1e12:.2f} TFLOP/s" for name, value in found.items() if name != "copy"]
    report.say(f"\nlimits: {', '.join(said)}; copy {found['copy'] / 1e12:.3f} TB/s")
    assert row.side is not None
    parts = work(row.space, row.batch, row.side)
    for update in ("arch", "weights"):
        by_kind = {kind: f"{n / 1e9:.2f}" for kind, n in flops(parts, update).items()}
        report.say(f"{update} update, GFLOP: {', '.join(map(' '.join, by_kind.items()))}")
    report.say(f"{'variant':>14}{'GFLOP':>9}{'GB':>8}{'ms':>9}{'ms by arithmetic':>18}{'share':>7}"
               f"{'ms by memory':>14}{'share':>7}")  # fmt: skip
    shares = {}
    for trial in trials:
        seconds = median(trial.seconds)
        near = shares[trial.name] = reached(parts, seconds, trial.case.machine.precision, found)
        report.say(
            f"{trial.name:>14}{near['flops'] / 1e9:9.1f}{near['bytes'] / 1e9:8.2f}"
            f"{1e3 * seconds:9.2f}{1e3 * near['seconds_by_flops']:18.3f}"
            f"{near['share_of_flops']:7.1%}{1e3 * near['seconds_by_bytes']:14.3f}"
            f"{near['share_of_bytes']:7.1%}"
        )
    report.told["limits"] = {"machine": found, "variants": shares}


def traces(report: Report, trials: list[Trial], path: Path | None) -> None:
    """What kernels ran."""
    for trial in trials:
        what = f"trace of {trial.name}"
        if not trial.on_gpu:
            report.leave_out(what, "it needs a GPU")
        elif report.on_time(what):
            trial.attempt(lambda trial: _trace(report, trial, path))
            if trial.failure is not None:
                report.fail(what, trial.failure)


def _trace(report: Report, trial: Trial, path: Path | None) -> None:
    assert trial.search is not None
    file = path and path.with_name(_between(path.name, trial.name))
    host = trial.case.machine.engine != "readable"
    trace, seconds = traced(trial.search, STEPS, file, host=host), median(trial.seconds)
    report.say("\n".join([f"\n{trial.name}:", *shown(trace, seconds)]))
    report.told.setdefault("traces", {})[trial.name] = as_json(trace, seconds)


def _between(file: str, name: str) -> str:
    """`trace.json.gz` of "fast graphs" is `trace-fast-graphs.json.gz`."""
    stem, dot, suffix = file.partition(".")
    return f"{stem}-{name.replace(' ', '-')}{dot}{suffix}"


def batches(report: Report, trials: list[Trial]) -> None:
    """The largest that fits, of what ran at the usual size."""
    cases = [trial.case for trial in trials]
    for trial in trials:
        trial.search = None  # the device is to be as free as before
    gc.collect()
    if any(case.machine.torch_device.type == "cuda" for case in cases):
        device_works()
    for case in cases:
        what = f"largest batch of {case.variant}"
        if case.machine.torch_device.type != "cuda":
            report.leave_out(what, "it needs a GPU")
        elif report.on_time(what):
            found = report.told.setdefault("batches", {})[case.variant] = largest_batch(case)
            sizes = ", ".join(
                f"{batch}: {'too much' if count is None else amount(count)}"
                for batch, count in found["bytes"].items()
            )
            report.say(f"{what}: {found['batch']} ({sizes})")
            if found["error"] is not None:
                report.fail(what, found["error"])


def parsed() -> argparse.Namespace:
    """Options; on a CPU those of a quick run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small net and small pictures")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--variants", nargs="+", metavar="NAME", choices=VARIANTS, help=", ".join(VARIANTS)
    )
    parser.add_argument("--batch", type=int, help="images of a step")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="step always runs")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="where Chrome traces go")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns of each variant")
    parser.add_argument("--minutes", type=float, default=4, help="after which nothing is begun")
    return parser.parse_args()


def main() -> int:
    """Measure, and print text or JSON; 1 if a variant failed."""
    options, began = parsed(), time.monotonic()
    machine = Machine(options.device)
    kind = machine.torch_device.type
    quick, stream = options.quick or kind == "cpu", sys.stderr if options.json else sys.stdout
    report = Report(lambda text: print(text, file=stream, flush=True), began + 60 * options.minutes)
    report.told["machine"] = facts(machine)
    report.say(", ".join(f"{name} {value}" for name, value in facts(machine).items()))
    row = rows(quick=quick, batch=options.batch, on_gpu=kind == "cuda")[0]
    names = list(options.variants or USUAL[kind])
    trials = steps(report, names, row, machine, options.repeats)
    parts: dict[str, Callable[[], None]] = {
        "limits": lambda: limits(report, trials, row, machine, quick=quick),
        "trace": lambda: traces(report, trials, options.trace),
        "batch": lambda: batches(report, trials),
    }
    for part, measure in parts.items():
        if part in options.only and trials and report.on_time(part):
            try:
                measure()
            except Exception as error:  # the other parts go on
                traceback.print_exception(error, file=sys.stderr)
                report.fail(part, first_line(error))
    if options.json:
        print(json.dumps(report.told, indent=1))
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
