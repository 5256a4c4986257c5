"""Weight optimizers: the step of the supernet's own parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.parts.schedules import Cosine, Scalar, scalar_at, scalar_range


@dataclass(frozen=True)
class Sgd:
    """SGD with momentum, L2 and a bound on the global gradient norm; defaults of DARTS.

    Args:
        lr: constant, or a schedule over the stage's epochs: the first epoch has its start.
        clip: bound on the global gradient norm, or None.
        keep_norms: scale every weight tensor back to its first Frobenius norm after each step: the
            guard of a zero-cost warm-up, whose objective grows with the scale of weights.

    Liu et al., DARTS, arXiv:1806.09055.
    """

    lr: Scalar = Cosine(0.025, 0.001)
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float | None = 5.0
    keep_norms: bool = False

    def __post_init__(self) -> None:
        if scalar_range(self.lr)[0] < 0 or scalar_range(self.lr)[1] <= 0:
            raise ValueError(f"`Sgd(lr={self.lr})` needs a positive learning rate")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"`Sgd(clip={self.clip})` needs a positive bound, or None")

    @property
    def elementwise(self) -> bool:
        """Whether a step treats every number alike, whichever tensor it lies in."""
        return not self.keep_norms

    def lr_at(self, progress: float) -> float:
        """The learning rate after `progress` in [0, 1) of the stage's epochs."""
        return scalar_at(self.lr, progress)

    def __call__(self, params: Sequence[Tensor]) -> torch.optim.Optimizer:
        """A torch SGD of `params`."""
        optimizer = torch.optim.SGD(
            params, lr=self.lr_at(0.0), momentum=self.momentum, weight_decay=self.weight_decay
        )
        if self.keep_norms:
            for weight in params:
                norm = torch.linalg.vector_norm(weight.detach())
                optimizer.state[weight]["norm"] = norm  # in the state, so a checkpoint has it
            optimizer.register_step_post_hook(_restore_norms)
        return optimizer


def _restore_norms(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
    """Norms of 0 (a bias that starts at zeros) are left alone: there is no scale to keep."""
    with torch.no_grad():
        for weight, state in optimizer.state.items():
            norm = torch.linalg.vector_norm(weight)
            moved = (norm > 0) & (state["norm"] > 0)
            weight.mul_(torch.where(moved, state["norm"] / norm.clamp_min(1e-30), 1.0))


@dataclass(frozen=True)
class PartialSgd:
    """SGD that leaves a weight alone where its gradient is exactly 0: no decay, no old momentum.

    So the weights of an operation that a step leaves out stay as they are.  Elsewhere it is `Sgd`.

    Hong et al., DropNAS, IJCAI 2020, arXiv:2201.11679: "partial decay".  Differs from the released
    code, which decides tensor by tensor and decays in a second step of its own, along the gradient
    of weight_decay ||w||^2 (twice the usual), clipped too, with momentum that thus advances twice;
    here it is number by number, and the usual L2 within the one step.
    """

    lr: Scalar = Cosine(0.025, 0.001)
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float | None = 5.0

    def __post_init__(self) -> None:
        if scalar_range(self.lr)[0] < 0 or scalar_range(self.lr)[1] <= 0:
            raise ValueError(f"`PartialSgd(lr={self.lr})` needs a positive learning rate")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"`PartialSgd(clip={self.clip})` needs a positive bound, or None")

    @property
    def elementwise(self) -> bool:
        """True: a step treats every number alike, whichever tensor it lies in."""
        return True

    def lr_at(self, progress: float) -> float:
        """The learning rate after `progress` in [0, 1) of the stage's epochs."""
        return scalar_at(self.lr, progress)

    def __call__(self, params: Sequence[Tensor]) -> torch.optim.Optimizer:
        """An optimizer of `params`."""
        return _PartialSgd(params, self.lr_at(0.0), self.momentum, self.weight_decay)


class _PartialSgd(torch.optim.Optimizer):
    def __init__(
        self, params: Sequence[Tensor], lr: float, momentum: float, weight_decay: float
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                old = state["momentum_buffer"]
                new = group["momentum"] * old + weight.grad + group["weight_decay"] * weight
                has_gradient = weight.grad != 0
                old.copy_(torch.where(has_gradient, new, old))
                weight.sub_(torch.where(has_gradient, group["lr"] * new, 0.0))
        return loss
