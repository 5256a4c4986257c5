"""The arrays of one stage: preallocated, written by whole chunks, `step` last to commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from workbench.trace.chunks import write_chunk
from workbench.trace.folder import RunError
from workbench.trace.probed import ProbedArrays
from workbench.trace.store import (
    CHUNK,
    EDGES,
    SCALARS,
    StageStore,
    describe,
    new_array,
    open_array,
)
from workbench.trace.waiting import MEMORY, Waiting

if TYPE_CHECKING:
    import zarr
    from torch import Tensor

    from workbench.events import Probed, Rows, Stepped
    from workbench.protocols import Clock
    from workbench.spaces.space import Space

STATE = {"alpha": np.nan, "mix": 0.0, "alive": False}  # arrays (step, edge, op): no candidate
LINES = {"epoch": -1, "seconds": np.nan, "step": -1}  # arrays (step,): not written yet
NAMES = ("edge", "op", "kind", "src", "dst", "stage")  # of the axes of a trace
TAKEN = (*STATE, EDGES, *LINES, MEMORY, *NAMES)  # not for scalars


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

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Edges and operations of all kinds."""
        return len(self.space.edge_names), len(self.space.columns)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Edges and operations by kind."""
        return {cell.kind: (len(cell.edges), len(cell.columns)) for cell in self.space.cells}

    def spread(self, rows: Mapping[str, np.ndarray], fill: float) -> np.ndarray:
        """Rows `(…, edges, ops)` by kind as one array of that form; no candidate is `fill`."""
        steps = next(iter(rows.values())).shape[:-2]
        out = np.full((*steps, *self.shape), fill, dtype=np.float32)
        for kind, edges, columns, candidates in self._places:
            out[..., edges, columns] = np.where(candidates, rows[kind], fill)
        return out

    def placed(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Rows `(edges, ops)` or `(edges,)` of every kind on the axes; no candidate is NaN."""
        whole = next(iter(rows.values())).ndim == 2
        return self.spread(rows, np.nan) if whole else self.joined(rows)

    def joined(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Rows `(…, edges)` by kind as one array of that form."""
        return np.concatenate([rows[cell.kind] for cell in self.space.cells], axis=-1)

    @cached_property
    def _places(self) -> list[tuple[str, slice, list[int], np.ndarray]]:
        """Of every kind: its edges, its columns and which of them are candidates."""
        ops, first = self.space.columns, 0
        places = []
        for cell in self.space.cells:
            edges = slice(first, first + len(cell.edges))
            columns = [ops.index(op) for op in cell.columns]
            places.append((cell.kind, edges, columns, np.array(cell.candidates)))
            first = edges.stop
        return places


class StageArrays:
    """Writes the steps of one stage into `group`.

    Rows wait on their device until a chunk is full or `flush` is called; a flush writes the whole
    chunk again, which costs a write but never a read.

    Args:
        probed: axes after `step` of what probes measured in earlier stages, which keep their form.
        kept: go on after its `least` steps, which are in `group`; what came after is taken out.
    """

    def __init__(
        self,
        group: zarr.Group,
        space: Space,
        clock: Clock,
        probed: Mapping[str, int],
        kept: StageStore | None = None,
    ) -> None:
        self.group, self.number = group, clock.stage
        self.layout = Layout(space)
        self.rows = self.written = kept.least if kept else 0  # seen, and those that a reader sees
        self._size = clock.steps
        self._start = self.rows // CHUNK * CHUNK  # first step of the chunk that is being filled
        shapes = self.layout.shapes
        edges = {kind: shape[:1] for kind, shape in shapes.items()}
        self._waiting = Waiting(CHUNK, {**dict.fromkeys(STATE, shapes), EDGES: edges})
        self._block: dict[str, np.ndarray] = {}  # the chunk that is being filled, by array
        self._arrays: dict[str, zarr.Array] = {}
        self._scalars: list[str] = []
        self._probed = ProbedArrays(group, self._array, shapes, self.layout.placed, CHUNK, probed)
        if kept is None:
            describe(group, {**self.layout.attributes(), "stage": self.number, SCALARS: []})
            for name in (*STATE, *LINES):
                self._create(name)
        else:
            self._reopen(kept)

    def _reopen(self, kept: StageStore) -> None:
        """Take the arrays as they are, and blank what came after `rows` steps."""
        written = len(kept.steps())
        for name in names_in(kept):
            self._arrays[name] = open_array(self.group, name)
        self._scalars = list(kept.scalars)
        self._size = self._arrays["step"].shape[0]
        for name in ("step", *(name for name in self._order() if name != "step")):
            array, block = self._arrays[name], self._empty(name)
            known = kept.read(name, self.rows).values[self._start :]
            block[: len(known)] = known
            self._block[name] = block
            for start in range(self._start, written, CHUNK):  # a reader sees the steps go first
                stop = min(start + CHUNK, self._size)
                array[start:stop] = (block if start == self._start else self._empty(name))[
                    : stop - start
                ]
        self._probed.reopen(kept, written)

    def _empty(self, name: str) -> np.ndarray:
        """A chunk of an array in which nothing was written."""
        array = self._arrays[name]
        return np.full((CHUNK, *array.shape[1:]), array.fill_value, dtype=array.dtype)

    @property
    def probed(self) -> Mapping[str, int]:
        """Axes after `step` of what probes measured so far."""
        return self._probed.axes

    def append(self, event: Stepped, seconds: float) -> None:
        """Take a step in, unless a chunk is `full`; `seconds` have passed since the search began.

        Raises:
            RunError: if a scalar is called like something else in a trace, or not by an identifier.
        """
        for name in event.scalars:
            if name in TAKEN or name in self._probed.axes or not name.isidentifier():
                raise _named(f"a scalar of Stepped is called {name!r}", self._probed.axes)
        if event.edges and EDGES not in self._arrays:
            self._create(EDGES)
            self._blank([EDGES])
            describe(self.group, {EDGES: True})
        self._waiting.append(event, seconds)
        self.rows += 1

    @property
    def full(self) -> bool:
        """Is a chunk full?  Then it is to be flushed before another step."""
        return self.rows == self._start + CHUNK

    def probe(self, event: Probed) -> dict[str, Tensor | Rows]:
        """Take in what was measured after the last step; returns what has no place in an array.

        That step may have been written by then: its measurements follow with the next flush.

        Raises:
            RunError: if a value is called like something else in a trace, or its rows do not fit.
        """
        if not self.rows:
            return dict(event.values)
        scalars = self._waiting.scalars
        for name in event.values:
            if name in TAKEN or name in scalars or not name.isidentifier():
                raise _named(f"a probe measured {name!r}", scalars)
        return self._probed.append(event, self.rows - 1)

    def flush(self) -> None:
        """Write what waits; a reader sees a step when its `step` is there, which comes last."""
        self._waiting.send()
        self._grow()
        self._probed.flush(self.rows)
        if not self._waiting.count:
            return
        self._name_scalars([name for name in self._waiting.scalars if name not in self._scalars])
        self._waiting.wait()
        self._fill()
        for name in self._order():
            write_chunk(self._arrays[name], self._start // CHUNK, self._block[name])
        self.written = self.rows
        self._waiting.clear()
        if self.rows == self._start + CHUNK:
            self._start = self.rows
            self._block = {}

    def _fill(self) -> None:
        """Put waiting rows into the block, which holds what earlier flushes of it wrote."""
        stop = self.rows - self._start
        here = slice(stop - self._waiting.count, stop)
        for name in self._order():
            if name not in self._block:
                self._block[name] = self._empty(name)
            if name in STATE:
                rows = self._waiting.state(name)
                self._block[name][here] = self.layout.spread(rows, STATE[name])
            elif name == EDGES:
                self._block[name][here] = self.layout.joined(self._waiting.state(name))
            else:
                self._block[name][here] = self._waiting.column(name)

    def _order(self) -> tuple[str, ...]:
        edges = (EDGES,) if EDGES in self._arrays else ()
        return (*STATE, *edges, *self._scalars, *LINES)  # "step" is the last of LINES

    def _grow(self) -> None:
        """Make room where a stage is longer than its clock said."""
        if self.rows > self._size:
            self._size = self._start + CHUNK
            for name in self._order():
                array = self._arrays[name]
                array.resize((self._size, *array.shape[1:]))
            self._probed.grow(self._size)

    def _name_scalars(self, new: Sequence[str]) -> None:
        for name in new:
            self._create(name)
        if new:
            self._blank(new)
            self._scalars += new
            describe(self.group, {SCALARS: list(self._scalars)})

    def _blank(self, names: Iterable[str]) -> None:
        """Blank chunks for all steps so far: a reader takes no lost chunk for a blank one."""
        for name in names if self.rows else ():
            self._arrays[name][: self._start + CHUNK] = np.nan

    def _create(self, name: str) -> None:
        axes = 2 if name in STATE else 1 if name == EDGES else 0
        self._arrays[name] = self._array(name, axes)

    def _array(self, name: str, axes: int) -> zarr.Array:
        """A new array of that many axes after `step`, as long as the stage."""
        shape = (self._size, *self.layout.shape[:axes])
        return new_array(self.group, name, shape, {**STATE, **LINES}.get(name, np.nan))


def names_in(kept: StageStore) -> tuple[str, ...]:
    """The arrays of a stage's steps; those of probes are beside them."""
    edges = (EDGES,) if kept.weighs_edges else ()
    return (*STATE, *LINES, *edges, *kept.scalars)


def _named(what: str, others: Iterable[str]) -> RunError:
    """The refusal of a name that is in the trace already, or that Python could not say."""
    return RunError(f"{what}; use an identifier other than {', '.join((*TAKEN, *others))}")
