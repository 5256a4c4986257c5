"""Damage to every file of a run folder, one at a time: refused by name, repaired, or harmless."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tests.fakes import fake_evaluation, fake_events
from workbench.events import Derived, EpochEnded, Probed, SearchEvent, StageStarted, Stepped
from workbench.plots import accuracy_frame, heat_map_frame
from workbench.trace import Run, RunError, open_run, record, record_evaluation
from workbench.trace.folder import TRACE


@dataclass(frozen=True)
class Row:
    """One damage and what a reader made of it: `refused`, `same`, or a fault."""

    file: str
    kind: str
    place: int
    outcome: str
    said: str = ""


def damaged_events() -> Iterator[SearchEvent]:
    """Two stages with edge weights, probes of every form, prunings and a late scalar."""
    space = None
    for event in fake_events(
        kinds=("normal",), nodes=1, ops=("none", "skip_connect", "sep_conv_3x3"),
        epochs=2, steps_per_epoch=3, stages=2,
    ):  # fmt: skip
        space = event.space if isinstance(event, StageStarted) else space
        if isinstance(event, Stepped):
            rows = torch.arange(float(len(space.cells[0].edges))) + event.clock.step
            late = {"late": 1.0 + event.clock.step} if event.clock.step > 3 else {}
            scalars = {"loss_train": event.scalars["loss_train"], **late}
            event = replace(event, edges={"normal": rows}, scalars=scalars)
        yield event
        if isinstance(event, EpochEnded):
            shape = (len(space.cells[0].edges), len(space.cells[0].columns))
            values = {"sharpness": torch.tensor(2.0), "norm": {"normal": torch.ones(shape)}}
            yield Probed(event.clock, {**values, "peak": torch.ones(2, 2, 2)})


def damaged_run(path: Path) -> Run:
    """A small finished run with everything a run folder may hold, twice evaluated."""
    last = list(record(damaged_events(), path, meta={"method": "fake", "data": "digits"}))[-1]
    assert isinstance(last, Derived)
    for seed in (0, 1):
        recipe = {"epochs": 2, "seed": seed, "classes": [str(digit) for digit in range(10)]}
        list(record_evaluation(fake_evaluation(last.genotype, epochs=2), path, recipe=recipe))
    (path / "control.json").write_text('{"wish": "run", "steps": 0}')
    return open_run(path)


def read_everything(path: Path) -> Mapping[str, object]:
    """Whatever a run folder tells, as texts and numbers that can be compared."""
    run = open_run(path)
    trace, initial = run.to_xarray(), run.initial
    arrays = {
        f"{name}.{key}": (value.dims, str(value.dtype), value.to_numpy().tobytes(), value.attrs)
        for name, data in (("trace", trace), ("initial", initial))
        for key, value in {**data.coords, **data.data_vars}.items()
        if value.dtype.kind not in "UO"
    }
    words = {
        f"{name}.{key}": data[key].to_numpy().tolist()
        for name, data in (("trace", trace), ("initial", initial))
        for key in data.coords
        if data[key].dtype.kind in "UO"
    }
    tables = {
        name: getattr(run, name).to_csv()
        for name in ("epochs", "prunings", "held", "evaluation_epochs", "retraining_epochs")
    }
    values = {
        name: repr(getattr(run, name))
        for name in (
            "header", "meta", "status", "state", "ended", "lost", "events", "space", "genotype",
            "genotypes", "latest_genotype", "evaluation", "evaluations",
        )
    }  # fmt: skip
    views = {
        "repr": repr(run),
        "html": run._repr_html_(),
        "tidy": run.to_dataframe().to_csv(),
        "frame": heat_map_frame(run).to_csv(),
        "accuracy": accuracy_frame([run]).to_csv(),
    }
    return {**arrays, **words, **tables, **values, **views}


def run(cases: int, seed: int, folder: Path) -> list[Row]:
    """Damage every file of a small run: emptied, removed, and `cases` times truncated and flipped.

    A file with at most `cases` bits has each of its bits flipped, and each of its lengths cut.
    """
    whole = damaged_run(folder / "whole").path
    copy, rows = folder / "damaged", list[Row]()
    shutil.copytree(whole, copy)
    want, generator = read_everything(copy), random.Random(seed)
    for file in sorted(path for path in whole.rglob("*") if path.is_file()):
        place = copy / file.relative_to(whole)
        for kind, at, damage in damages(file.read_bytes(), cases, generator):
            damage(place)
            rows.append(_judged(copy, place, kind, at, want))
            place.write_bytes(file.read_bytes())
    return rows


def damages(
    data: bytes, cases: int, generator: random.Random
) -> Iterator[tuple[str, int, Callable[[Path], object]]]:
    """What to do to a file that holds `data`: kind, place, deed."""
    yield "removed", 0, lambda path: path.unlink()
    yield "emptied", 0, lambda path: path.write_bytes(b"")
    for length in _some(range(1, len(data)), cases, generator):
        yield "truncated", length, lambda path, n=length: path.write_bytes(data[:n])
    for bit in _some(range(8 * len(data)), cases, generator):
        yield "flipped", bit, lambda path, n=bit: path.write_bytes(_flipped(data, n))


def table(rows: list[Row]) -> str:
    """How often each kind of damage had each outcome."""
    counts = Counter((row.kind, row.outcome) for row in rows)
    lines = [f"{kind:10} {outcome:10} {n:7}" for (kind, outcome), n in sorted(counts.items())]
    return "\n".join(lines)


def _some(places: range, cases: int, generator: random.Random) -> list[int]:
    return list(places) if len(places) <= cases else sorted(generator.sample(places, cases))


def _flipped(data: bytes, bit: int) -> bytes:
    at, mask = bit // 8, 1 << bit % 8
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def _judged(path: Path, file: Path, kind: str, at: int, want: Mapping[str, object]) -> Row:
    name = str(file.relative_to(path))
    try:
        found = read_everything(path)
    except RunError as error:
        said = str(error)
        return Row(name, kind, at, "refused" if is_named(file, path, said) else "unnamed", said)
    except Exception as error:  # what a user would see as a traceback: it is counted and fails
        return Row(name, kind, at, "traceback", f"{type(error).__name__}: {error}")
    other = [key for key in want if found.get(key) != want[key]]
    other += [key for key in found if key not in want]
    return Row(name, kind, at, "other" if other else "same", ", ".join(other))


def is_named(file: Path, run: Path, said: str) -> bool:
    """Does a refusal name the damaged file of a run, or the array whose chunk or facts it is?"""
    inner = file.relative_to(run)
    if inner.parts[0] != TRACE:
        return str(run) in said and inner.name in said
    return any(str(run / part) in said for part in (inner, *inner.parents) if part.parts[1:])


def long_events(steps: int) -> Iterator[SearchEvent]:
    """A search whose every number of a row is the row's, with a late scalar and a probe."""
    first = next(fake_events(kinds=("normal",), nodes=1, epochs=1, steps_per_epoch=steps))
    assert isinstance(first, StageStarted)
    yield first
    for step in range(steps):
        clock = replace(first.clock, step=step)
        rows = {kind: torch.full_like(value, float(step)) for kind, value in first.alpha.items()}
        scalars = {"number": float(step)} | ({"late": float(step)} if step >= 130 else {})
        yield Stepped(clock, scalars, rows, rows, first.alive)
        if step % 30 == 0:
            yield Probed(clock, {"probe": torch.tensor(float(step))})


def write(path: Path, steps: int) -> None:
    """In a process of its own: record `long_events`, some at a time."""
    for _ in record(long_events(steps), path, flush_seconds=0.1):
        pass


def watch(path: Path, going_on: Callable[[], bool]) -> tuple[int, list[int]]:
    """Read a run of `long_events` as long as `going_on`, and once more.

    Returns:
        How often it was read, and how many rows there were each time.

    Raises:
        AssertionError: if a row is torn.
        RunError: if the reader takes what is being written for damage.
    """
    shown, rows = None, list[int]()
    while True:
        last = not going_on()
        if (path / "run.json").exists():
            shown = open_run(path) if shown is None else shown.refresh()
            rows.append(_whole_rows(shown))
        if last:
            return len(rows), rows


def _whole_rows(shown: Run) -> int:
    for one in (shown, open_run(shown.path)):
        trace = one.trace
        step = trace["step"].to_numpy()
        assert step.tolist() == list(range(len(step)))
        for name in ("alpha", "mix"):
            assert (trace[name].to_numpy() == step[:, None, None]).all(), name
        if len(step):
            assert (trace["number"].to_numpy() == step).all()
        if "late" in trace:
            assert (trace["late"].to_numpy()[130:] == step[130:]).all()
        if "probe" in trace:
            seen = trace["probe"].to_numpy()
            want = np.where(step % 30 == 0, step, np.nan)
            assert np.array_equal(seen[:-1], want[:-1], equal_nan=True)
    return len(step)
