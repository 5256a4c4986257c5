"""What a run survives: kills, signals, readers, pauses, damage; how its memory grows.

`python benchmarks/faults.py [--quick] [--only NAME …] [--json] [--seed N]` prints a table.  The
long form takes most of two hours of one core; `--quick` takes minutes.  Every search ends in a
process of its own; what is compared is the whole record, bit for bit, but for seconds and bytes.
The exit code is 1 where something was not whole.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the short forms are tests of the same code

Row = dict[str, object]
WHOLE = ("refused", "same")  # what may come of damage: a line that names the file, or a repair
SECONDS_TO_END = 5.0  # after a signal
GROWN_MIB = 32.0  # in 8,000 pauses
MIB_AN_HOUR = 8.0  # rules look back at some 2 KB an epoch, and 2,400 may be over in an hour


def kill(base: Path, quick: bool, seed: int) -> list[Row]:
    """`kill -9` at moments of every kind; each search goes on to its end."""
    from tests.faults.killing import kills

    found = []
    for killed in kills(base, 12 if quick else 200, seed):
        found.append(killed)
        _say(f"{killed.kind}: {killed.where} ({killed.search}) {killed.wrong or ''}")
    counted = [killed for killed in found if killed.resumed or killed.wrong]
    kinds = Counter(killed.kind for killed in counted)
    same = Counter(killed.kind for killed in counted if not killed.wrong)
    rows = [_row(f"kill -9, {kind}", n, same[kind]) for kind, n in kinds.items()]
    anew, over = (sum(getattr(k, name) and k.dead for k in found) for name in ("anew", "finished"))
    told = f"beside them {anew} before the first checkpoint, and {over} that had finished"
    wrong = [f"{k.where} ({k.search}): {k.wrong}" for k in counted if k.wrong]
    return [*rows, _row("kill -9, all", len(counted), same.total(), "; ".join([told, *wrong]))]


def sigterm(base: Path, quick: bool, seed: int) -> list[Row]:
    """SIGTERM at random moments of the demo's search, at one epoch instead of twelve."""
    from tests.faults.signals import signalled

    found = []
    for ended in signalled(base, 5 if quick else 50, seed, real=1 if quick else 3):
        found.append(ended)
        _say(f"{ended.signal} {ended.after:.2f} s: {ended.seconds:.2f} s {ended.wrong or ''}")
    rows = []
    for name in dict.fromkeys(ended.signal for ended in found):
        sent = [ended for ended in found if ended.signal == name and ended.sent]
        longest = max((ended.seconds for ended in sent), default=0.0)
        wrong = [str(ended.wrong) for ended in sent if ended.wrong]
        told = "; ".join([f"longest {longest:.2f} s to its end", *wrong])
        whole = sum(not ended.wrong and ended.seconds < SECONDS_TO_END for ended in sent)
        rows.append(_row(name, len(sent), whole, told))
    return rows


def readers(base: Path, quick: bool, seed: int) -> list[Row]:
    """Eight readers of a live run, which look as often as the live view does."""
    from tests.faults.living import read_live

    seconds, slices = (15, 6) if quick else (900, 45)
    read = read_live(base, readers=8, seconds=seconds, slices=slices)
    told = (
        f"{read.looks} looks, {read.steps} steps; with and without readers "
        f"{read.rate[0]:.2f} and {read.rate[1]:.2f} steps/s "
        f"({1 - read.rate[0] / read.rate[1]:+.1%} slower), "
        f"{1e3 * read.work[0]:.1f} and {1e3 * read.work[1]:.1f} ms of the "
        "search's processor a step"
    )
    slower = not quick and read.rate[0] < 0.95 * read.rate[1]  # in seconds it is noise
    return [_row(f"8 readers, {seconds * 2 // 3} s", 8, 0 if slower else 8 - read.failed, told)]


def memory(base: Path, quick: bool, seed: int) -> list[Row]:
    """The resident size of a search."""
    from tests.faults import living

    seconds = 30 if quick else 1800
    slope, error, size = living.memory(base, seconds)
    told = f"{slope:+.1f} ± {error:.1f} MiB/h (95 %), {size:.0f} MiB at the end"
    return [_row(f"memory, {seconds} s", 1, int(quick or slope < MIB_AN_HOUR), told)]


def pauses(base: Path, quick: bool, seed: int) -> list[Row]:
    """Pause and resume again and again."""
    from tests.faults import living

    cycles = 200 if quick else 10_000
    names = ("pauses, next event", "pauses, control.json")
    return [
        _row(
            name,
            cycles,
            0 if paused.wrong or paused.files > 0 or paused.grown > GROWN_MIB else paused.cycles,
            f"{paused.grown:+.1f} MiB, {paused.files:+d} open files from a fifth on {paused.wrong}",
        )
        for name, paused in zip(names, living.pauses(base, cycles), strict=True)
    ]


def damage(base: Path, quick: bool, seed: int) -> list[Row]:
    """Every file of a run truncated, flipped, emptied, removed; an interrupted one then resumed."""
    from tests import damage, damage_resumed

    for name in ("read", "resumed"):
        (base / name).mkdir()
    found = damage.run(1 if quick else 60, seed, base / "read")
    found += damage_resumed.run(1 if quick else 6, seed, base / "resumed")
    rows = []
    for kind in dict.fromkeys(each.kind for each in found):
        outcomes = Counter(each.outcome for each in found if each.kind == kind)
        told = ", ".join(f"{name} {count}" for name, count in outcomes.items())
        faults = [each for each in found if each.kind == kind and each.outcome not in WHOLE]
        told = "; ".join([told, *(f"{each.file}: {each.said}" for each in faults[:3])])
        rows.append(_row(f"damage, {kind}", outcomes.total(), outcomes.total() - len(faults), told))
    return rows


def fuzz(base: Path, quick: bool, seed: int) -> list[Row]:
    """Texts, tables and files from others."""
    from tests.fuzz import run

    return [
        _row(
            f"fuzz, {each.kind}",
            each.cases,
            each.accepted + each.refused,
            f"{each.accepted} accepted, {each.refused} refused in a line",
        )
        for each in run(500 if quick else 10_000, seed)
    ]


ROWS: dict[str, Callable[[Path, bool, int], list[Row]]] = {
    "kill": kill,
    "sigterm": sigterm,
    "readers": readers,
    "memory": memory,
    "pauses": pauses,
    "damage": damage,
    "fuzz": fuzz,
}


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows: list[Row] = []
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            rows += ROWS[name](Path(folder), given.quick, given.seed)
    if given.json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        for row in rows:
            print(f"{row['what']!s:<28}{row['cases']!s:>8}{row['whole']!s:>8}  {row['told']}")
    sys.exit(int(any(row["cases"] != row["whole"] for row in rows)))


def _row(what: str, cases: int, whole: int, told: str = "") -> Row:
    return {"what": what, "cases": cases, "whole": whole, "told": told}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
