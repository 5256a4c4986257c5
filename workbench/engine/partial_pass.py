"""Both passes, on a CPU, of a cell whose operations see the first 1/k of the channels.

`engine.partial` says what it computes.  Operations read the first channels where a map lies, and
hand back the gradient of these alone; a node is woven of its two parts, its gradient taken apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from workbench.engine.backward import Backward
from workbench.engine.forward import Forward, flat, room
from workbench.engine.geometry import Placed
from workbench.engine.kernels.mixing import mix, mix_sums
from workbench.engine.kernels.weaving import unweave, weave
from workbench.engine.partial import passing
from workbench.engine.workers import added_up, in_parts, threads_for


class PartialForward(Forward):
    """One pass; see `Forward`."""

    def run(self) -> Tensor:
        """The cell's output, as `Forward.run` has it."""
        out = super().run()
        del self.parts  # the gradient does not need them
        return out

    @cached_property
    def wide(self) -> int:
        """Channels that pass."""
        return self.layout.width - self.c

    @cached_property
    def pooled(self) -> list[tuple[Tensor, Tensor]]:
        """Of every input what it is differentiated by, and what of it passes, channels-last.

        Nothing where all of it does as it is.
        """
        found = []
        if not self.layout.reduction:
            return found
        for source, x in enumerate(self.tensors):
            with torch.enable_grad():
                leaf = x.requires_grad_()
                out = passing(self.layout, leaf.permute(0, 3, 1, 2), source)
                found.append((leaf, out.permute(0, 2, 3, 1).contiguous()))
        return found

    @cached_property
    def past(self) -> list[np.ndarray]:
        """The arrays that what passes of the inputs lies in."""
        return [flat(out) for _, out in self.pooled] or self.inputs

    @cached_property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Room for both parts of a node: what operations make, and what passes."""
        pixels, like = self.geometry.pixels, self.tensors[0]
        return room(pixels * self.c, like), room(pixels * self.wide, like)

    def weighed(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scale, one for every channel that passes `edges`, and shift, as `mix` takes them."""
        scale = np.repeat(self.rows[edges, -1:].astype(self.dtype), self.wide, axis=1)
        return scale.ravel(), np.zeros(self.wide, self.dtype)

    def _node(self, state: int) -> None:
        mixed, rest = self.parts
        self._mix(state, mixed, 0, self.c)
        past = self.geometry.past[state - self.shape.inputs]
        scale, shift = self.weighed(past.edge)
        at, gap = self.geometry.node(state)

        def run(thread: int, start: int, stop: int) -> None:
            mix(
                self.tile(), self.outputs, self.past[0], self.past[-1], self.nodes,
                past.base, past.at, past.gap, scale, shift, rest, 0, self.wide,
                start, stop, self.wide, False,
            )  # fmt: skip
            weave(mixed, rest, self.nodes, at, gap, self.c, self.layout.form.k, start, stop)

        in_parts(run, self.geometry.pixels, threads_for(len(past.edge) * rest.size))


class PartialBackward(Backward):
    """The gradients of one `PartialForward`; see `Backward`.

    `whole` are the gradients of nodes as the cell's output has them, `firsts` those of the first
    channels of every state.  `nodes` and `rests` hold the parts of a node once its turn has come.
    """

    def __init__(
        self, done: PartialForward, grad: Tensor, *, weights: bool, inputs: Sequence[bool]
    ) -> None:
        super().__init__(done, grad, weights=weights, inputs=inputs)
        self.partial, self.whole, geometry = done, self.nodes, self.geometry
        count, like = done.shape.nodes, done.tensors[0]
        self.nodes = room(count * geometry.node_map, like)
        self.rests = room(count * geometry.pixels * done.wide, like)
        sizes = [x.numel() // done.layout.form.k for x in done.tensors]
        self.firsts = [room(size, like) for size in (*sizes, *[geometry.node_map] * count)]
        self.fresh = set(range(len(self.firsts)))

    def _into(self, placed: Placed) -> tuple[np.ndarray, bool]:
        return self._written(placed, self.firsts[placed.bundle.source])

    def _gathered(self, state: int) -> None:
        if state in self.fresh:
            self.firsts[state][:] = 0  # no operation reads it
        number, done = state - self.done.shape.inputs, self.partial
        if number < 0:
            self._input(state)
            return
        size = self.geometry.pixels
        width, k = done.layout.width, done.layout.form.k
        self._back(state, self.whole, number * size * width + self.c, width, more=True)

        def run(thread: int, start: int, stop: int) -> None:
            unweave(
                self.whole, number * size * width, self.firsts[state], self.nodes, self.rests,
                number * size, self.c, k, start, stop,
            )  # fmt: skip

        in_parts(run, size, threads_for(size * width))

    def _back(self, state: int, out: np.ndarray, at: int, gap: int, *, more: bool) -> None:
        """What comes back past the operations of a state's edges; as they are after pooling."""
        done, geometry = self.partial, self.geometry
        leaving = [e for e, (src, _) in enumerate(done.shape.edges) if src == state]
        edges = np.array(leaving, dtype=np.int64)
        nodes = np.array([done.shape.edges[e][1] - done.shape.inputs for e in leaving], np.int64)
        scale, shift = done.weighed(edges)
        starts, gaps = nodes * geometry.pixels * done.wide, np.full_like(nodes, done.wide)

        def run(thread: int, start: int, stop: int) -> None:
            mix(
                done.tile(), self.rests, self.rests, self.rests, self.rests, np.zeros_like(nodes),
                starts, gaps, scale, shift, out, at, gap, start, stop, done.wide, more,
            )  # fmt: skip

        in_parts(run, geometry.pixels, threads_for(len(leaving) * geometry.pixels * done.wide))

    def _input(self, state: int) -> None:
        """An input's gradient of both its parts."""
        done = self.partial
        grad = torch.from_numpy(self.inputs[state]).view_as(done.tensors[state])
        if done.pooled:
            leaf, out = done.pooled[state]
            back = torch.empty_like(out)
            self._back(state, flat(back), 0, done.wide, more=False)
            (through,) = torch.autograd.grad(out, leaf, back, retain_graph=True)
            grad.copy_(through)
        else:
            self._back(state, self.inputs[state], self.c, done.layout.width, more=False)
        grad[..., : self.c] = torch.from_numpy(self.firsts[state]).view(*grad.shape[:3], self.c)

    def _node(self, state: int) -> None:
        super()._node(state)
        done, number = self.partial, state - self.done.shape.inputs
        past, size = self.geometry.past[number], self.geometry.pixels * done.wide
        threads = threads_for(len(past.edge) * size)
        parts = np.zeros((threads, len(past.edge) + 1, done.wide))

        def run(thread: int, start: int, stop: int) -> None:
            mix_sums(
                done.tile(), self.rests, number * size, done.outputs, done.past[0], done.past[-1],
                done.nodes, past.base, past.at, past.gap, parts[thread].ravel(), start, stop,
                done.wide,
            )  # fmt: skip

        in_parts(run, self.geometry.pixels, threads)
        self.gains[past.edge, -1] += added_up(parts)[:-1].sum(axis=1)
