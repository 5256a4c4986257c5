"""Watching a search for numbers that are none, so that it ends there and says where.

A search has diverged once a loss or a gradient is not finite, a relaxation gives no valid mixing
weights, or a pruner leaves a node without anything alive.  On a CPU every number is looked at in
its step, before an optimizer moves anything.  On a GPU that would wait for the device: the first
bad step stays on it, and is asked for every 50 steps, at epochs' ends and before a state is saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from workbench import culprit
from workbench.culprit import Place
from workbench.events import Diverged, DivergenceError
from workbench.part_text import part_text
from workbench.protocols import Clock, Pruner, Rows, View
from workbench.spaces.space import CellShape

if TYPE_CHECKING:
    from workbench.run import Run

EVERY = 50  # steps between two readings of a GPU's flags
AGAIN = (
    "a saved state goes on to the same numbers, so other settings need a new search, unless the "
    "machine was at fault"
)
_Event = TypeVar("_Event")


def telling(events: Iterator[_Event]) -> Iterator[_Event | Diverged]:
    """`events`; where they end with a DivergenceError its event comes first."""
    try:
        yield from events
    except DivergenceError as error:
        yield error.event
        raise


class Flags:
    """For every number that is watched the first step in which it was bad.

    Args:
        device: on a CPU a flag is read at once, elsewhere by `first` only.
    """

    def __init__(self, device: torch.device) -> None:
        self._deferred = device.type != "cpu"
        self._now = torch.zeros((), dtype=torch.int64, device=device)
        self._steps: dict[str, Tensor] = {}

    def begins(self, step: int) -> None:
        """What is noted down from now on is noted for `step`."""
        self._now.fill_(step)

    def raised(self, name: str, fine: Tensor) -> bool:
        """Whether `fine` is known to be False; otherwise it may be noted down for later.

        Noting writes into memory that stays where it is, so that a CUDA graph can do it again.
        """
        if not self._deferred:
            return not bool(fine)
        if name not in self._steps:
            self._steps[name] = torch.full_like(fine, -1, dtype=torch.int64)
        seen = self._steps[name]
        seen.copy_(torch.where((seen < 0) & ~fine, self._now, seen))
        return False

    def first(self) -> tuple[str, int] | None:
        """What was bad in the earliest step, and that step; waits for the device."""
        if not self._steps:
            return None
        steps = torch.stack(list(self._steps.values())).tolist()
        bad = [(step, name) for step, name in zip(steps, self._steps, strict=True) if step >= 0]
        return (min(bad)[1], min(bad)[0]) if bad else None


class Watch:
    """What `Run` shows its numbers to."""

    def __init__(self, device: torch.device) -> None:
        self.flags = Flags(device)
        self.met: list[float] | None = None  # losses a pruner asks for, while it decides

    def begins(self, run: Run) -> None:
        """A step begins: before a stage's first one, look at its first mixing weights.

        Raises:
            DivergenceError: if a row is none.
        """
        self.flags.begins(run.clock.step)
        if not run.clock.step:
            self._mix(run)

    def ends(self, run: Run) -> None:
        """A step ends: look at the mixing weights it led to, and at times ask the device.

        Raises:
            DivergenceError: if a row is none, or something was bad before.
        """
        self._mix(run)
        if (run.clock.step + 1) % EVERY == 0:
            self.read(run)

    def weights(self, run: Run, loss: Tensor, grads: Sequence[Tensor]) -> Tensor:
        """Look at a weight step's loss and gradients; alphas' may follow those of all weights.

        Returns:
            The norm of the weights' gradient, on its device.

        Raises:
            DivergenceError: if one of them is not finite.
        """
        weights = tuple(run.net.parameters())
        train = run.last_batches[0]
        self._look(run, "loss_train", loss, lambda: culprit.in_forward(run, train))
        own, others = grads[: len(weights)], grads[len(weights) :]
        norm = get_total_norm(own)
        name = "gradient of the weights"
        self._look(run, name, norm, lambda: culprit.in_gradients(run, own))
        if others:  # looked at before the weights move, so that they stay good
            self.alphas(run, others)
        return norm

    def losses(self, run: Run, logs: Mapping[str, Tensor | float]) -> None:
        """Look at the losses that an architecture gradient met.

        Raises:
            DivergenceError: if one of them is not finite.
        """
        for name, value in logs.items():
            if name.startswith("loss") and isinstance(value, Tensor):
                batch = run.last_batches[0 if name.endswith("_train") else 1]
                self._look(run, name, value, partial(culprit.in_forward, run, batch))

    def decided(self, run: Run, pruner: Pruner, view: View) -> Mapping[str, Tensor]:
        """What a pruner leaves alive, and look at the losses it decided by.

        Raises:
            DivergenceError: if one of them is not finite: then it decided by nothing.
        """
        met = self.met = []
        try:
            alive = pruner(view)
        finally:
            self.met = None
        bad = next((loss for loss in met if not math.isfinite(loss)), None)
        if bad is not None:
            raise diverged(run, f"loss on the held-out images became {bad}", Place())
        return alive

    def alphas(self, run: Run, grads: Sequence[Tensor]) -> Tensor:
        """Look at the gradient of all alphas and betas.

        Returns:
            Its norm, on its device.

        Raises:
            DivergenceError: if it is not finite.
        """
        norm = get_total_norm(grads)
        name = "gradient of the alphas"
        self._look(run, name, norm, lambda: culprit.in_alpha_gradients(run, grads))
        return norm

    def _mix(self, run: Run) -> None:
        relaxation = run.stage.relaxation
        bad = culprit.invalid_rows(run.mix, run.arch.alive, relaxation.row_sum)
        if self.flags.raised("no valid mixing weights", ~bad.any()):
            edges = [len(mixture.ops) for mixture in run.mix.values()]
            place = culprit.in_rows(run, dict(zip(run.mix, bad.split(edges), strict=True)))
            raise diverged(run, "no valid mixing weights", place)

    def nodes(self, run: Run, alive: Rows) -> None:
        """Look at what a pruner would leave.

        Raises:
            DivergenceError: if a node that feeds the output has nothing alive into it.
        """
        for cell in run.space.cells:
            left = (alive[cell.kind] & run.arch.alive[cell.kind]).any(dim=1).tolist()
            dead = dead_nodes(cell, left)
            if dead:
                what = f"nothing alive into node {dead[0]} of {cell.kind}"
                into = next(
                    name
                    for name, (_, dst) in zip(cell.edge_names, cell.edges, strict=True)
                    if dst == dead[0]
                )
                raise diverged(run, what, Place(edge=into))

    def read(self, run: Run) -> None:
        """Ask the device for what it has met.

        Raises:
            DivergenceError: if something was bad, of the first step where it was.
        """
        found = self.flags.first()
        if found:
            name, step = found
            clock = replace(run.clock, step=step, epoch=step // run.steps_per_epoch)
            what = name if name.startswith("no ") else f"{name} became infinite or nan"
            raise diverged(run, what, Place(), clock)

    def _look(self, run: Run, name: str, value: Tensor, where: Callable[[], Place]) -> None:
        value = value.detach()
        if self.flags.raised(name, value.isfinite()):
            raise diverged(run, f"{name} became {float(value)}", where())


def dead_nodes(cell: CellShape, left: Sequence[bool]) -> list[int]:
    """Nodes that the output depends on, and that no edge in `left` `(edges,)` leads into.

    An edge on which only `none` is alive is left: that a node may be zeros is the space's choice.
    """
    last = cell.inputs + cell.nodes - 1
    needed = {last} if cell.output == "last" else set(range(cell.inputs, last + 1))
    for (src, dst), alive in sorted(zip(cell.edges, left, strict=True), reverse=True):
        if alive and dst in needed and src >= cell.inputs:
            needed.add(src)
    fed = {dst for (_, dst), alive in zip(cell.edges, left, strict=True) if alive}
    return sorted(needed - fed)


def diverged(run: Run, what: str, place: Place, clock: Clock | None = None) -> DivergenceError:
    """The error, with what to try at the settings of `run`."""
    where = f"{what}, first in {place.part}" if place.part else what
    return DivergenceError(
        Diverged(
            clock or run.clock, where, place.edge, _remedy(run, what),
            cell=place.cell, op=place.op, stage=run.stage.name,
        )
    )  # fmt: skip


def _remedy(run: Run, what: str) -> str:
    """What to try, most likely first."""
    stage = run.stage
    rule = part_text(stage.relaxation)
    if what.startswith("nothing alive"):
        return f"let the pruner {part_text(stage.pruner)} keep something into every node; {AGAIN}"
    if stage.op_dropout is not None and culprit.emptied(run):
        dropout = part_text(stage.op_dropout)
        return f"let `kept` of {dropout} leave something of every row that is alive; {AGAIN}"
    arch_lr = run.arch_optimizer.param_groups[0]["lr"]
    lr = run.weight_optimizer.param_groups[0]["lr"]
    weights = [f"lower weight_lr (now {lr:.3g})"]
    if stage.weight_optimizer.clip is None:
        weights.append("clip the weights' gradient")
    alphas = [f"lower arch_lr (now {arch_lr:.3g})"]
    alphas.append(f"set clip_arch (now {stage.clip_arch})")
    alphas.append(f"take a flatter relaxation than {rule} (of an entmax, a lower entmax_order)")
    if what.startswith("no valid"):
        tries, others = _of_rows(run)
        if not others:
            return f"{tries[0]}; {AGAIN}"
        tries += alphas[:2]
    else:
        tries = alphas + weights[:1] if "alpha" in what else weights + alphas[:1]
    noise = run.data.augment.noise
    tries += [f"lower noise (now {noise:g})"] if noise else []
    if run.machine.precision != "float64":
        higher = "float64" if run.machine.precision == "float32" else "float32"
        tries.append(f"take precision {higher} (now {run.machine.precision})")
    tries.append(f"take larger batches (batch_size is {stage.batch_size})")
    return f"{', or '.join(tries)}; {AGAIN}"


def _of_rows(run: Run) -> tuple[list[str], bool]:
    """What to look at in the part whose mixing weights are none, and whether rates may do it too.

    What a GPU tells of later can be over: then all rules are named.
    """
    stage = run.stage
    broken = culprit.broken_rule(run.mix, run.arch.alive, stage.relaxation.row_sum)
    rows = part_text(stage.relaxation)
    if broken is None:
        rules = "finite, not negative, 0 where not alive and of the sum that its row_sum says"
        edges = "" if stage.edge_weights is None else "; weights of edges are finite, not negative"
        return [f"check that {rows} gives rows that are {rules}{edges}"], True
    gives = f"{rows} gives rows"
    if broken.of_edges:
        gives = f"the edge weights {part_text(stage.edge_weights)} give weights"
    line = f"check that {gives} that are {broken.rule} ({broken.met})"
    return [line], broken.rule == "finite"
