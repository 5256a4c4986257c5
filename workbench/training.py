"""Training a derived network from scratch: its recipe, and steps that can go on another time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.data import Loader
from workbench.divergence import EVERY, Flags
from workbench.engine import Machine
from workbench.epochs import Stopwatch
from workbench.errors import WorkbenchError
from workbench.events import Diverged, DivergenceError
from workbench.generators import generators, set_generators
from workbench.memory import held_by
from workbench.protocols import Clock
from workbench.snapshots import State
from workbench.spaces.network import Network

_AGAIN = (
    "what was saved goes on to the same numbers, so remove `evaluation/checkpoints` of the run and "
    "evaluate it with other settings, unless the machine was at fault"
)


class RecipeError(WorkbenchError):
    """A recipe that cannot be, or does not fit the pictures."""


@dataclass(frozen=True)
class Recipe:
    """How a derived network is trained.  SGD, cosine from `lr` to 0, gradient norm at most `clip`.

    Args:
        channels: of the first cell's nodes.
        cells: in the stack; cells per stage for a NAS-Bench-201 genotype.
        auxiliary: weight of the auxiliary classifier's loss, 0 for none.
        drop_path: probability at the last epoch; it rises linearly from 0.
        cutout: side in pixels of the square taken out of a training picture, 0 for none; crop and
            flip are the data's own, noise belongs to the search phase.
        hidden: widths of fully connected layers before the classifier.
    """

    channels: int
    cells: int
    epochs: int
    batch_size: int
    lr: float = 0.025
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0
    auxiliary: float = 0.0
    drop_path: float = 0.0
    cutout: int = 0
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("channels", "cells", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise RecipeError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.drop_path < 1:
            raise RecipeError(f"`drop_path` must be in [0, 1), not {self.drop_path}")


class Training:
    """The training of `net` as `recipe` says, step by step.

    Args:
        generator: of what the network drops, on its device.
    """

    def __init__(
        self,
        net: Network,
        loader: Loader,
        recipe: Recipe,
        machine: Machine,
        generator: torch.Generator,
    ) -> None:
        self.net, self.loader, self.recipe = net, loader, recipe
        self.machine, self.generator = machine, generator
        self.optimizer = torch.optim.SGD(
            net.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.clock = Clock(0, 0, recipe.epochs, 0, recipe.epochs * len(loader))
        self._epoch = self._taken = 0  # epochs that ended; steps of the next one
        self._losses: list[Tensor] = []
        self._hits: list[Tensor] = []
        self._flags = Flags(machine.torch_device)
        self._watch = Stopwatch()
        self.seconds = 0.0  # that the last epoch took

    def held(self) -> dict[str, int]:
        """Bytes of what is held between steps, by name."""
        return held_by(self.net, self.optimizer, self.loader.held())

    def epochs(self) -> Iterator[dict[str, float]]:
        """What each epoch measured, and its learning rate.

        Raises:
            DivergenceError: if a loss or a gradient is not finite.
        """
        return (scalars for scalars in self.steps() if scalars is not None)

    def steps(self) -> Iterator[dict[str, float] | None]:
        """Take every step that is left; None after a step, after an epoch what it measured.

        Raises:
            DivergenceError: if a loss or a gradient is not finite.
        """
        while self._epoch < self.recipe.epochs:
            lr = self._set_rates()
            while self._taken < len(self.loader):
                self._step()
                yield None
            scalars = {**self._measured(), "lr": lr}
            self._epoch, self._taken = self._epoch + 1, 0
            self._losses, self._hits = [], []
            self.seconds = self._watch.lap()
            yield scalars

    @property
    def begun(self) -> bool:
        """Was a step taken?"""
        return bool(self._epoch or self._taken)

    def _set_rates(self) -> float:
        """Learning rate and drop-path of the epoch."""
        recipe, progress = self.recipe, self._epoch / self.recipe.epochs
        self.net.train()
        self.net.drop_path = recipe.drop_path * progress
        lr = recipe.lr * (1 + math.cos(math.pi * progress)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _step(self) -> None:
        step = self._epoch * len(self.loader) + self._taken
        self.clock = Clock(0, self._epoch, self.clock.epochs, step, self.clock.steps)
        self._flags.begins(step)
        batch = self.loader.next()
        logits, auxiliary = self.net(batch.images.to(self.machine.dtype), self.generator)
        loss = functional.cross_entropy(logits, batch.labels)
        self._losses.append(loss.detach())
        self._hits.append((logits.detach().argmax(dim=1) == batch.labels).float().mean())
        if auxiliary is not None:
            loss = loss + self.recipe.auxiliary * functional.cross_entropy(auxiliary, batch.labels)
        self.optimizer.zero_grad(set_to_none=True)
        self._look("loss_train", loss)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        self._look("gradient of the weights", norm)
        self.optimizer.step()
        self._taken += 1
        if self._taken % EVERY == 0:
            self._read()

    def _look(self, name: str, value: Tensor) -> None:
        """On a CPU a number that is none ends the training before the step moves anything."""
        if self._flags.raised(name, value.detach().isfinite()):
            raise self.diverged(f"{name} became {float(value.detach())}", self.clock)

    def _read(self) -> None:
        """Ask the device whether it has met a number that is none."""
        found = self._flags.first()
        if found:
            name, step = found
            clock = replace(self.clock, step=step, epoch=step // len(self.loader))
            raise self.diverged(f"{name} became infinite or nan", clock)

    def diverged(self, what: str, clock: Clock | None = None) -> DivergenceError:
        """The error that says so, with what to try; of now if no clock is given."""
        recipe, lr = self.recipe, self.optimizer.param_groups[0]["lr"]
        remedy = (
            f"lower `lr` (now {lr:.3g}, from {recipe.lr:g}), or take larger batches (now "
            f"`batch_size={recipe.batch_size}`), or in Python lower the recipe's clip (now "
            f"{recipe.clip:g}); {_AGAIN}"
        )
        return DivergenceError(Diverged(clock or self.clock, what, None, remedy))

    def _measured(self) -> dict[str, float]:
        self._read()
        loss = float(torch.stack(self._losses).mean())
        return {"loss_train": loss, "accuracy_train": float(torch.stack(self._hits).mean())}

    def state_dict(self) -> State:
        """Everything that is needed to go on, as tensors and plain values.

        Raises:
            DivergenceError: if it has diverged, which on a GPU is asked for only now.
        """
        self._read()
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loader": self.loader.state_dict(),
            "generator": self.generator.get_state(),
            "generators": generators(),
            "clock": asdict(self.clock),
            "epoch": self._epoch,
            "taken": self._taken,
            "losses": list(self._losses),
            "hits": list(self._hits),
            "seconds": self._watch.seconds,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on where `state` was taken, with a network and a loader built alike."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.loader.load_state_dict(state["loader"])
        self.generator.set_state(state["generator"])
        set_generators(state["generators"])
        self.clock = Clock(**state["clock"])
        self._epoch, self._taken = state["epoch"], state["taken"]
        device = self.machine.torch_device
        self._losses = [value.to(device) for value in state["losses"]]
        self._hits = [value.to(device) for value in state["hits"]]
        self._watch.go_on(state["seconds"])
