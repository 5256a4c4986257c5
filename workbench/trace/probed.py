"""What probes measure in a stage, as arrays beside those of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
import zarr

from workbench.trace.chunks import write_chunk
from workbench.trace.folder import RunError
from workbench.trace.store import PROBES, StageStore, describe, open_array

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.events import Probed, Rows


Create = Callable[[str, int], "zarr.Array"]  # an array by its name and its axes after `step`


class ProbedArrays:
    """Values that wait on their device until a flush, then chunk by chunk.

    A value belongs to a step that may have been written before; only chunks with something new
    are written, and once each of the others, so that a reader takes no lost chunk for a blank one.

    Args:
        create: makes an array of the stage, as long as the stage is now.
        shapes: edges and operations by kind of cell.
        spread: puts rows `{kind: (edges,)}` or `{kind: (edges, ops)}` on the axes of the trace.
        chunk: steps.
        before: the `axes` of the stage before, whose names keep their form.
    """

    def __init__(
        self,
        group: zarr.Group,
        create: Create,
        shapes: Mapping[str, tuple[int, int]],
        spread: Callable[[Mapping[str, np.ndarray]], np.ndarray],
        chunk: int,
        before: Mapping[str, int],
    ) -> None:
        self.axes = dict(before)  # by name: how many there are after `step`
        self._group, self._create, self._shapes, self._spread = group, create, shapes, spread
        self._chunk = chunk
        self._arrays: dict[str, zarr.Array] = {}
        self._blocks: dict[str, np.ndarray] = {}  # the chunk that was written last, by array
        self._start = 0  # its first step
        self._there: dict[str, int] = {}  # how many chunks there are, by array
        self._waiting: list[tuple[int, str, Tensor | Rows]] = []

    def reopen(self, kept: StageStore, written: int) -> None:
        """Take the arrays that are there, and blank what came after what is `kept` of `written`.

        What is measured next may belong to the last of these steps.
        """
        rows = kept.least
        self._start = max(rows - 1, 0) // self._chunk * self._chunk
        for name, axes in probed_axes(self._group).items():
            self.axes[name] = axes
            array = self._arrays[name] = open_array(self._group, name)
            stop = min(-(-written // self._chunk) * self._chunk, array.shape[0])
            values = np.full((stop - self._start, *array.shape[1:]), np.nan, dtype=np.float32)
            values[: rows - self._start] = kept.read(name, rows).values[self._start :]
            array[self._start : stop] = values
            block = np.full((self._chunk, *array.shape[1:]), np.nan, dtype=np.float32)
            block[: len(values)] = values[: self._chunk]
            self._blocks[name] = block
            self._there[name] = -(-rows // self._chunk)

    def append(self, event: Probed, row: int) -> dict[str, Tensor | Rows]:
        """Take in what was measured after step `row`; returns what has no place in an array.

        Raises:
            RunError: if a value is called like another's of another form, or rows do not fit.
        """
        others: dict[str, Tensor | Rows] = {}
        for name, value in event.values.items():
            axes = self._form(name, value)
            if axes is None:
                others[name] = value
                continue
            if self.axes.setdefault(name, axes) != axes:
                raise RunError(
                    f"a probe measured {name!r} as {_words(axes)} and as {_words(self.axes[name])}"
                    "; give one of them another name"
                )
            self._waiting.append((row, name, _copied(value)))
        return others

    def _form(self, name: str, value: Tensor | Rows) -> int | None:
        """How many axes there are beside `step`; None where it is no scalar and no rows."""
        if not isinstance(value, Mapping):
            return None if value.ndim else 0
        for kind, rows in value.items():
            want = self._shapes.get(kind)
            if want is None or not rows.ndim or tuple(rows.shape) != want[: rows.ndim]:
                shapes = ", ".join(f"{kind} {shape}" for kind, shape in self._shapes.items())
                raise RunError(
                    f"a probe measured {name!r} with rows {tuple(rows.shape)} of {kind!r}; rows "
                    f"are (edges,) or (edges, ops), here of {shapes}"
                )
        forms = {rows.ndim for rows in value.values()}
        if len(forms) != 1:
            met = "rows of two forms" if forms else "no rows"
            raise RunError(
                f"a probe measured {name!r} with {met}; "
                "rows are (edges,) or (edges, ops), of one or more kinds of cells"
            )
        return forms.pop()

    def grow(self, size: int) -> None:
        """Make room for `size` steps."""
        for array in self._arrays.values():
            array.resize((size, *array.shape[1:]))

    def flush(self, rows: int) -> None:
        """Write what waits; of all `rows` steps so far there is a chunk then."""
        chunks = -(-rows // self._chunk)
        for name in dict.fromkeys(name for _, name, _ in self._waiting):
            if name not in self._arrays:
                self._arrays[name] = self._create(name, self.axes[name])
                self._blank(name, chunks)
                describe(self._group, {PROBES: list(self._arrays)})
        for name in self._arrays:
            self._blank(name, chunks)
        changed: set[str] = set()
        for row, name, value in self._waiting:
            if row >= self._start + self._chunk:
                self._write(changed)
                changed, self._blocks = set(), {}
                self._start = row - row % self._chunk
            if name not in self._blocks:
                shape = (self._chunk, *self._arrays[name].shape[1:])
                self._blocks[name] = np.full(shape, np.nan, dtype=np.float32)
            self._blocks[name][row - self._start] = self._numbers(value)
            changed.add(name)
        self._write(changed)
        self._waiting.clear()

    def _blank(self, name: str, chunks: int) -> None:
        there, array = self._there.get(name, 0), self._arrays[name]
        if there < chunks:
            array[there * self._chunk : min(chunks * self._chunk, array.shape[0])] = np.nan
            self._there[name] = chunks

    def _numbers(self, value: Tensor | Rows) -> np.ndarray:
        if not isinstance(value, Mapping):
            return value.numpy(force=True)
        rows = {kind: rows.numpy(force=True) for kind, rows in value.items()}
        columns = next(iter(rows.values())).ndim
        for kind, shape in self._shapes.items():
            rows.setdefault(kind, np.full(shape[:columns], np.nan, dtype=np.float32))
        return self._spread(rows)

    def _write(self, names: set[str]) -> None:
        for name in sorted(names):
            write_chunk(self._arrays[name], self._start // self._chunk, self._blocks[name])


def probed_axes(group: zarr.Group) -> dict[str, int]:
    """By name of what probes measured in a stage: how many axes there are after `step`."""
    names = cast("list[str]", group.attrs.get(PROBES, []))
    return {name: len(open_array(group, name).shape) - 1 for name in names}


def _copied(value: Tensor | Rows) -> Tensor | Rows:
    if isinstance(value, Mapping):
        return {kind: rows.detach().float().clone() for kind, rows in value.items()}
    return value.detach().float().clone()


def _words(axes: int) -> str:
    return ("a scalar", "a row per edge", "a row per edge and operation")[axes]
