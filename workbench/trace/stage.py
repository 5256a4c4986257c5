"""The arrays of one stage: preallocated, written by whole chunks, `step` last to commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from workbench.trace.folder import RunError

if TYPE_CHECKING:
    import zarr
    from torch import Tensor
    from zarr.core.common import JSON

    from workbench.events import Rows, StageStarted, Stepped
    from workbench.spaces.space import Space

CHUNK = 200  # steps
STATE = {"alpha": np.nan, "mix": 0.0, "alive": False}  # arrays (step, edge, op): no candidate
LINES = {"epoch": -1, "seconds": np.nan, "step": -1}  # arrays (step,): not written yet
NAMES = ("edge", "op", "kind", "src", "dst", "stage")  # of the axes of a trace
TYPES = {"alive": "bool", "epoch": "int64", "seconds": "float64", "step": "int64"}


def numbers(value: Tensor | float) -> np.ndarray:
    """The float32 numbers of a tensor on any device, or of a float."""
    if isinstance(value, int | float):
        return np.asarray(value, dtype=np.float32)
    return value.detach().float().cpu().numpy()


@dataclass(frozen=True)
class Layout:
    """All kinds of cells of a space on one edge axis and one op axis."""

    space: Space

    def attributes(self) -> dict[str, object]:
        """The labels of the axes, as JSON lists."""
        cells = self.space.cells
        return {
            "edges": list(self.space.edge_names),
            "kinds": [cell.kind for cell in cells for _ in cell.edges],
            "src": [src for cell in cells for src, _ in cell.edges],
            "dst": [dst for cell in cells for _, dst in cell.edges],
            "ops": list(self.space.columns),
        }

    def spread(self, steps: Sequence[Rows], fill: float) -> np.ndarray:
        """Rows by kind of some steps as one array `(steps, edges, ops)`; no candidate is `fill`."""
        ops = self.space.columns
        out = np.full((len(steps), len(self.space.edge_names), len(ops)), fill, dtype=np.float32)
        first = 0
        for cell in self.space.cells:
            columns = [ops.index(op) for op in cell.columns]
            stacked = np.stack([numbers(rows[cell.kind]) for rows in steps])
            last = first + len(cell.edges)
            out[:, first:last, columns] = np.where(np.array(cell.candidates), stacked, fill)
            first = last
        return out


class StageArrays:
    """Writes the steps of one stage into `group`.

    Rows wait in memory, as the events' own tensors, until a chunk is full or `flush` is called; a
    flush writes the whole chunk again, which costs a write but never a read.
    """

    def __init__(self, group: zarr.Group, started: StageStarted) -> None:
        self.group = group
        self.layout = Layout(started.space)
        self.rows = 0  # steps seen
        self._size = started.clock.steps
        self._start = 0  # first step of the chunk that is being filled
        self._waiting: list[tuple[Stepped, float]] = []
        self._block: dict[str, np.ndarray] = {}  # the chunk that is being filled, by array
        self._arrays: dict[str, zarr.Array] = {}
        self._scalars: list[str] = []
        labels = cast("dict[str, JSON]", self.layout.attributes())
        group.attrs.update({**labels, "stage": started.clock.stage, "scalars": []})
        for name in (*STATE, *LINES):
            self._create(name)

    def append(self, event: Stepped, seconds: float) -> None:
        """Take a step in; `seconds` have passed since the search began.

        Raises:
            RunError: if a scalar is called like something else in a trace, or not by an identifier.
        """
        for name in event.scalars:
            if name in (*STATE, *LINES, *NAMES) or not name.isidentifier():
                taken = ", ".join((*STATE, *LINES, *NAMES))
                raise RunError(
                    f"a scalar of Stepped is called {name!r}; use an identifier other than {taken}"
                )
        self._waiting.append((event, seconds))
        self.rows += 1
        if self.rows == self._start + CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what waits; a reader sees a step when its `step` is there, which comes last."""
        if not self._waiting:
            return
        events = [event for event, _ in self._waiting]
        names = dict.fromkeys(name for event in events for name in event.scalars)
        self._grow()
        self._name_scalars([name for name in names if name not in self._scalars])
        self._fill(events, [seconds for _, seconds in self._waiting])
        stop = min(self._start + CHUNK, self._size)
        for name in self._order():
            self._arrays[name][self._start : stop] = self._block[name][: stop - self._start]
        self._waiting = []
        if self.rows == self._start + CHUNK:
            self._start = self.rows
            self._block = {}

    def _fill(self, events: Sequence[Stepped], seconds: Sequence[float]) -> None:
        """Put waiting rows into the block, which holds what earlier flushes of it wrote."""
        stop = self.rows - self._start
        here = slice(stop - len(events), stop)
        values: Mapping[str, object] = {
            "alpha": self.layout.spread([event.alpha for event in events], np.nan),
            "mix": self.layout.spread([event.mix for event in events], 0.0),
            "alive": self.layout.spread([event.alive for event in events], 0.0) != 0,
            "epoch": [event.clock.epoch for event in events],
            "seconds": seconds,
            "step": [event.clock.step for event in events],
            **{
                name: [numbers(event.scalars.get(name, np.nan)) for event in events]
                for name in self._scalars
            },
        }
        for name, value in values.items():
            if name not in self._block:
                shape = (CHUNK, *self._arrays[name].shape[1:])
                array = self._arrays[name]
                self._block[name] = np.full(shape, array.fill_value, dtype=array.dtype)
            self._block[name][here] = value

    def _order(self) -> tuple[str, ...]:
        return (*STATE, *self._scalars, *LINES)  # "step" is the last of LINES

    def _grow(self) -> None:
        """Make room where a stage is longer than its clock said."""
        if self.rows > self._size:
            self._size = self._start + CHUNK
            for name in self._order():
                array = self._arrays[name]
                array.resize((self._size, *array.shape[1:]))

    def _name_scalars(self, new: Sequence[str]) -> None:
        for name in new:
            self._create(name)
        if new:
            self._scalars += new
            self.group.attrs["scalars"] = list(self._scalars)

    def _create(self, name: str) -> None:
        space = self.layout.space
        inner = (len(space.edge_names), len(space.columns)) if name in STATE else ()
        self._arrays[name] = self.group.create_array(
            name,
            shape=(self._size, *inner),
            chunks=(CHUNK, *inner),
            dtype=TYPES.get(name, "float32"),
            fill_value={**STATE, **LINES}.get(name, np.nan),
            dimension_names=("step", "edge", "op")[: 1 + len(inner)],
        )
