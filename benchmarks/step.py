"""How long a search step takes, on the fast supernet and on the readable one.

    python benchmarks/step.py [--quick] [--json] [--device auto] [--threads 1] [--batch N]
                              [--rows NAME ...] [--variants NAME ...] [--methods NAME ...]
                              [--repeats N] [--minutes N]

A step is a whole one: batches, gradients, clipping, both optimizers, relaxation.  All variants
take steps in turns in one process; on one thread of a CPU the clock is the processor's, so that
other programs do not count.  Columns: median and spread (largest less smallest, as a share
of the median) of a step; ratio, how many times faster than the readable supernet; of full, the time
beside that of the same variant with everything alive; hours of 50 epochs of CIFAR-10 in batches of
64, a smaller batch scaled up; peak memory, on a CPU the resident size of a process forked to take
two such steps and nothing else; operations that torch dispatches in a step.  Kernels that the fast
supernet calls past torch are no dispatched operations: their calls, or on a GPU all launches, stand
beside them.

On a GPU there are more variants (`_variants.py`), a turn is the mean of four steps, and the peak is
that of a variant's tensors while it takes its first six.  All rows are to take less than the 8
minutes of `--minutes`, after which no row is begun any more; those left out are named.  Shorter:
`--rows "darts C=16 L=8 first"`, which alone has shares alive below 100 %, `--repeats 3`, fewer
`--variants`.  A variant that fails says why in its row, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from _cases import SEARCHED, Row, Search, rows
from _measure import entmax_seconds, readable_operations, record_seconds
from _table import Measured, facts, footnotes, head, line
from _variants import USUAL, VARIANTS, Trial, first_line, measured, processes

from workbench import Machine, darts

KEYS = (
    "name", "device", "variant", "alive", "seconds", "spread", "ratio", "peak_bytes", "operations",
)  # fmt: skip
PUBLISHED = 15_877  # operations of one forward and backward of the published code, C=16 L=8


@dataclass
class Found:
    """What was measured, what failed, and the names of rows that were not begun."""

    rows: list[Measured] = field(default_factory=list)
    failed: list[Measured] = field(default_factory=list)
    extras: list[Measured] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def as_json(self, machine: Machine) -> Measured:
        """All of it; what failed and what was left out only where something did or was."""
        told: Measured = {
            "machine": facts(machine),
            "rows": [{key: row[key] for key in KEYS} for row in self.rows],
        }
        for more_of in ("hours", "launches"):
            named = {
                f"{row['name']}, {row['variant']}": row[more_of]
                for row in self.rows
                if row["alive"] == 1
            }
            told[more_of] = {name: value for name, value in named.items() if value is not None}
        told["extras"] = self.extras
        for name, some in (("failed", self.failed), ("left_out", self.left_out)):
            if some:
                told[name] = some
        return told


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
    chosen: Sequence[Row],
    names: Sequence[str],
    machine: Machine,
    repeats: int,
    seconds: float,
    show: Callable[[Measured, float | None], None],
) -> Found:
    """All rows begun within `seconds`, and the extras if the row that has shares is among them."""
    found, until, lost = Found(), time.monotonic() + seconds, False
    with processes() as pool:
        for row in chosen:
            full: dict[str, float] = {}
            for share in row.shares:
                if lost or time.monotonic() > until:
                    found.left_out.append(f"{row.name}, {share:.0%} alive")
                    continue
                told, trials = measured(names, row, share, machine, repeats, pool)
                lost = any(trial.lost for trial in trials)
                for each in told:
                    good, name = "error" not in each, each["variant"]
                    (found.rows if good else found.failed).append(each)
                    if good and share == 1:
                        full[name] = each["seconds"]
                    show(each, each["seconds"] / full[name] if good and name in full else None)
                if len(row.shares) > 1 and share == 1:
                    _add_extras(found, trials, repeats)
                del trials  # and with them what they hold of the device
    return found


def _add_extras(found: Found, trials: Sequence[Trial], repeats: int) -> None:
    """Measure them on the first fast variant that runs."""
    fast = (trial for trial in trials if trial.case.machine.engine != "readable")
    trial = next((trial for trial in fast if trial.search is not None), None)
    if trial is None or trial.search is None:
        return
    row = next(row for row in found.rows if row["variant"] == trial.name)
    try:
        found.extras = extras(trial.search, row, repeats)
    except Exception as error:  # as with a variant: it is shown, and rows go on
        traceback.print_exception(error, file=sys.stderr)
        found.failed.append({**row, "variant": f"{trial.name}, extras", "error": first_line(error)})


def parsed() -> tuple[argparse.Namespace, Machine, list[Row]]:
    """Options, the machine they name, and the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small nets and pictures")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU")
    parser.add_argument("--batch", type=int, help="images, instead of each row's own number")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="those with NAME in their name")
    parser.add_argument(
        "--variants", nargs="+", metavar="NAME", choices=VARIANTS, help=", ".join(VARIANTS)
    )
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", choices=SEARCHED, help="instead of darts"
    )
    parser.add_argument("--repeats", type=int, help="timed turns of each variant")
    parser.add_argument("--minutes", type=float, help="after which no row is begun; 8 on a GPU")
    options = parser.parse_args()
    machine = Machine(options.device, threads=options.threads, kernel_threads=options.threads)
    kind = machine.torch_device.type
    options.variants = options.variants or USUAL[kind]
    if options.minutes is None:
        options.minutes = 8 if kind == "cuda" else float("inf")
    options.repeats = options.repeats or (2 if options.quick else 5)
    every = rows(
        quick=options.quick, batch=options.batch, on_gpu=kind == "cuda", of=options.methods
    )
    chosen = [row for row in every if any(part in row.name for part in options.rows or [""])]
    if not chosen:
        parser.error("no such row; there are\n" + "\n".join(row.name for row in every))
    return options, machine, chosen


def main() -> int:
    """Measure, and print the table or JSON; 1 if a variant failed."""
    options, machine, chosen = parsed()
    width = max(9, *(1 + len(name) for name in options.variants))
    if not options.json:
        print(", ".join(f"{name} {value}" for name, value in facts(machine).items()))
        print(head(width))
    stream = sys.stderr if options.json else sys.stdout
    found = benchmark(
        chosen,
        options.variants,
        machine,
        options.repeats,
        60 * options.minutes,
        lambda row, of_full: print(line(row, of_full, width), file=stream, flush=True),
    )
    if options.json:
        print(json.dumps(found.as_json(machine), indent=1))
    else:
        print("\n".join(footnotes(found.extras)))
    for name in found.left_out:
        print(f"left out: {name}", file=stream)
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
