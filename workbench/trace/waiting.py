"""Steps that wait to be written, in buffers on the device they come from.

Torch is not imported: what happens to tensors is done by their own methods.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.events import Rows, Stepped

Shapes = Mapping[str, tuple[int, ...]]  # {kind: (edges, ops)}, or (edges,)
MEMORY = "memory"  # a scalar that no event calls so: it tells of the machine
FIELDS = {"edge_weight": "edges"}  # of Stepped, where it is called otherwise than its array


class Waiting:
    """Room for `size` steps.  Taking one in copies its tensors, device to device, and no more.

    `send` starts one copy to the host per buffer; after `wait`, `state` and `column` read what it
    brought.  On a CPU there is nothing to bring: the buffers are read where they are.

    Args:
        size: steps.
        states: shapes of the arrays by kind of a step, such as `alpha`; one that the first step
            lacks is left out.
    """

    def __init__(self, size: int, states: Mapping[str, Shapes]) -> None:
        self.count = 0
        self._size, self._states = size, states
        self._tables: dict[str, _Table] = {}
        self._columns: dict[str, _Column] = {}
        self._lines: dict[str, list[float]] = {"epoch": [], "seconds": [], "step": []}

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of all scalars so far, in order of first appearance."""
        return tuple(self._columns)

    def append(self, event: Stepped, seconds: float) -> None:
        """Take a step in; `seconds` have passed since the search began."""
        row = self.count
        if not self._tables:
            self._tables = {
                name: _Table(like, self._size, shapes)
                for name, shapes in self._states.items()
                if (like := _rows(event, name))
            }
        for name, table in self._tables.items():
            table.put(row, _rows(event, name))
        own = {} if event.memory is None else {MEMORY: float(event.memory)}
        for name, value in {**event.scalars, **own}.items():
            if name not in self._columns:
                self._columns[name] = _Column(self._size)
            self._columns[name].put(row, value)
        self._lines["epoch"].append(event.clock.epoch)
        self._lines["seconds"].append(seconds)
        self._lines["step"].append(event.clock.step)
        self.count += 1

    def send(self) -> None:
        """Start the copies to the host."""
        for buffer in self._buffers():
            buffer.send(self.count)

    def wait(self) -> None:
        """Until everything that was sent is there: once per device."""
        for buffer in {buffer.device: buffer for buffer in self._buffers()}.values():
            buffer.wait()

    def state(self, name: str) -> dict[str, np.ndarray]:
        """One of the states by kind: `(steps, …)`, each of its shape; to be copied, not kept."""
        return self._tables[name].read(self.count)

    def column(self, name: str) -> np.ndarray:
        """A scalar or a line, `(steps,)`; NaN where a scalar was not measured."""
        if name in self._lines:
            return np.array(self._lines[name])
        if name not in self._columns:  # measured before the search was taken up again
            return np.full(self.count, np.nan, dtype=np.float32)
        return self._columns[name].read(self.count)

    def clear(self) -> None:
        """Forget what waits."""
        self.count = 0
        for line in (*self._lines.values(), *self._columns.values()):
            line.clear()

    def _buffers(self) -> Iterator[_Buffer]:
        yield from (table.buffer for table in self._tables.values())
        yield from (c.buffer for c in self._columns.values() if c.buffer is not None)


def _rows(event: Stepped, name: str) -> Rows:
    return getattr(event, FIELDS.get(name, name))


class _Buffer:
    """`size` rows of `width` float32 numbers on the device of `like`, and their place on the host.

    On a GPU that place is pinned, so that a copy into it does not wait.
    """

    def __init__(self, like: Tensor, size: int, width: int) -> None:
        like = like.detach().float()
        self.device = like.device
        self.rows = self.host = like.new_empty((size, width))
        if self.device.type != "cpu":
            pinned = self.device.type == "cuda"
            self.host = like.new_empty((size, width), device="cpu", pin_memory=pinned)

    def send(self, count: int) -> None:
        """Start copying the first `count` rows to the host."""
        if self.host is not self.rows:
            self.host[:count].copy_(self.rows[:count], non_blocking=True)

    def wait(self) -> None:
        """Until all copies from this device are there: a blocking one comes after them."""
        if self.host is not self.rows:
            self.rows[:1, :1].cpu()


class _Table:
    """Rows of every kind, side by side in one buffer."""

    def __init__(self, like: Rows, size: int, shapes: Shapes) -> None:
        width = sum(math.prod(shape) for shape in shapes.values())
        self.buffer = _Buffer(next(iter(like.values())), size, width)
        self._places: dict[str, tuple[Tensor, ...]] = {}  # by kind, one per row
        self._host: dict[str, Tensor] = {}
        first = 0
        for kind, shape in shapes.items():
            last = first + math.prod(shape)
            self._places[kind] = self.buffer.rows[:, first:last].unflatten(1, shape).unbind()
            self._host[kind] = self.buffer.host[:, first:last].unflatten(1, shape)
            first = last

    def put(self, row: int, values: Rows) -> None:
        for kind, places in self._places.items():
            places[row].copy_(values[kind].detach())

    def read(self, count: int) -> dict[str, np.ndarray]:
        return {kind: rows[:count].numpy() for kind, rows in self._host.items()}


class _Column:
    """A scalar: floats on the host, tensors in a buffer on the device of the first of them."""

    def __init__(self, size: int) -> None:
        self.buffer: _Buffer | None = None
        self._floats = np.full(size, np.nan, dtype=np.float32)
        self._places: tuple[Tensor, ...] = ()
        self._tensors: list[int] = []  # rows that are in the buffer

    def put(self, row: int, value: Tensor | float) -> None:
        if isinstance(value, int | float):
            self._floats[row] = value
            return
        if self.buffer is None:
            self.buffer = _Buffer(value, len(self._floats), 1)
            self._places = self.buffer.rows[:, 0].unbind()
        self._places[row].copy_(value.detach())
        self._tensors.append(row)

    def read(self, count: int) -> np.ndarray:
        values = self._floats[:count].copy()
        if self.buffer is not None:
            values[self._tensors] = self.buffer.host[:, 0].numpy()[self._tensors]
        return values

    def clear(self) -> None:
        self._floats.fill(np.nan)
        self._tensors.clear()
