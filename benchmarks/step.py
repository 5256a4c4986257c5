"""How long a search step takes, on the fast supernet and on the readable one.

    python benchmarks/step.py [--quick] [--json] [--device auto] [--threads 1] [--batch N]
                              [--rows NAME ...] [--repeats N]

A step is a whole one: batches, gradients, clipping, both optimizers, relaxation.  Both variants
take steps in turns in one process; on one thread of a CPU the clock is the processor's, so that
other programs do not count.  Columns: median and spread (largest less smallest, as a share
of the median) of a step; ratio, how many times faster than the readable supernet; of full, the time
beside that of the same variant with everything alive; hours of 50 epochs of CIFAR-10 in batches of
64, a smaller batch scaled up; peak memory, on a CPU the resident size of a process forked to take
two such steps and nothing else; operations that torch dispatches in a step.  Kernels that the fast
supernet calls past torch are no dispatched operations: their calls, or on a GPU all launches, stand
beside them.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from statistics import median

from _cases import Case, Row, Search, rows
from _measure import (
    alternated,
    dispatched,
    entmax_seconds,
    launches,
    peak,
    readable_operations,
    record_seconds,
)
from _table import HEAD, Measured, facts, footnotes, line

from workbench import Machine, darts, methods

KEYS = (
    "name", "device", "variant", "alive", "seconds", "spread", "ratio", "peak_bytes", "operations",
)  # fmt: skip
PUBLISHED = 15_877  # operations of one forward and backward of the published code, C=16 L=8
EPOCHS, IMAGES, BATCH = 50, 50_000, 64  # of a search on CIFAR-10


def measured(
    row: Row, share: float, machine: Machine, repeats: int, pool: Executor
) -> tuple[list[Measured], list[Search]]:
    """Both variants of a row at one share alive, the readable one first."""
    cases = [Case(row, share, replace(machine, engine=engine)) for engine in ("readable", "auto")]
    waiting = [pool.submit(peak, case) for case in cases]  # until clocks run
    searches = [Search(case) for case in cases]
    for search in searches:
        search.warm_up()
    operations = [dispatched(search.step) for search in searches]
    calls = [launches(search) for search in searches]
    peaks = [each.result() for each in waiting]
    gc.collect()
    times = alternated(searches, repeats)
    reference = median(times[0])
    found = [
        {
            "name": row.name,
            "device": str(machine.torch_device),
            "variant": case.variant,
            "alive": search.alive,
            "seconds": median(seconds),
            "spread": (max(seconds) - min(seconds)) / median(seconds),
            "ratio": reference / median(seconds),
            "peak_bytes": most,
            "operations": count,
            "launches": called,
            "hours": hours(row, median(seconds)) if share == 1 else None,
        }
        for case, search, seconds, most, count, called in zip(
            cases, searches, times, peaks, operations, calls, strict=True
        )
    ]
    return found, searches


def hours(row: Row, seconds: float) -> float | None:
    """Projected for the search on CIFAR-10, if the row is one of its size."""
    if row.side != 32:
        return None
    portion = getattr(methods, row.method).stages[-1].train_portion
    steps = EPOCHS * (round(IMAGES * portion) // BATCH)
    return steps * seconds * BATCH / row.batch / 3600


def extras(search: Search, fast: Measured, repeats: int) -> list[Measured]:
    """What is small beside a fast step, and what the readable supernet is beside the published."""
    step: float = fast["seconds"]
    out: list[Measured] = []
    parts: dict[str, float] = {
        "entmax of order 3 for all edges, forward and backward": entmax_seconds(search, repeats),
        "recording a step": record_seconds(search, step, repeats),
    }
    for name, seconds in parts.items():
        out.append({"name": name, "of": fast["name"], "seconds": seconds, "share": seconds / step})
    count = readable_operations(darts())
    name = "readable supernet, C=16 L=8: operations of one forward and backward"
    out.append({"name": name, "operations": count, "published": PUBLISHED})
    return out


def benchmark(
    chosen: Sequence[Row], machine: Machine, repeats: int, show: Callable[[Measured, float], None]
) -> tuple[list[Measured], list[Measured]]:
    """All rows, and the extras if the row that has shares is among them."""
    found: list[Measured] = []
    more: list[Measured] = []
    # Forks of a process that has imported what every search does, and done nothing.
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    if os.name == "posix":
        context.set_forkserver_preload(["workbench.search", "workbench.trace", "torch._dynamo"])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        for row in chosen:
            full: dict[str, float] = {}
            for share in row.shares:
                both, searches = measured(row, share, machine, repeats, pool)
                found += both
                for each in both:
                    show(each, each["seconds"] / full.setdefault(each["variant"], each["seconds"]))
                if len(row.shares) > 1 and share == 1:
                    more = extras(searches[1], both[1], repeats)
    return found, more


def main() -> None:
    """Measure, and print the table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small nets and pictures")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU")
    parser.add_argument("--batch", type=int, help="images, instead of each row's own number")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="those with NAME in their name")
    parser.add_argument("--repeats", type=int, help="timed steps of each variant")
    options = parser.parse_args()
    machine = Machine(options.device, threads=options.threads, kernel_threads=options.threads)
    on_gpu = machine.torch_device.type == "cuda"
    every = rows(quick=options.quick, batch=options.batch, on_gpu=on_gpu)
    chosen = [row for row in every if any(part in row.name for part in options.rows or [""])]
    if not chosen:
        parser.error("no such row; there are\n" + "\n".join(row.name for row in every))
    repeats = options.repeats or (2 if options.quick else 5)
    if not options.json:
        print(", ".join(f"{name} {value}" for name, value in facts(machine).items()))
        print(HEAD)
    stream = sys.stderr if options.json else sys.stdout
    found, more = benchmark(
        chosen,
        machine,
        repeats,
        lambda row, of_full: print(line(row, of_full), file=stream, flush=True),
    )
    if options.json:
        told = {"machine": facts(machine), "rows": [{k: row[k] for k in KEYS} for row in found]}
        for more_of in ("hours", "launches"):
            named = {
                f"{row['name']}, {row['variant']}": row[more_of]
                for row in found
                if row["alive"] == 1
            }
            told[more_of] = {name: value for name, value in named.items() if value is not None}
        print(json.dumps({**told, "extras": more}, indent=1))
        return
    print("\n".join(footnotes(more)))


if __name__ == "__main__":
    main()
