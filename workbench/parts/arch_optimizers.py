"""Architecture optimizers: the geometry of an alpha step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True)
class Adam:
    """Adam with L2 in the gradient (not decoupled); defaults of DARTS, arXiv:1806.09055."""

    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"`Adam(lr={self.lr})` needs a positive learning rate")

    def __call__(self, params: Sequence[Tensor]) -> torch.optim.Optimizer:
        """A torch Adam of `params`."""
        return torch.optim.Adam(
            params, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay
        )


@dataclass(frozen=True)
class ClippedSgd:
    """Plain gradient descent with a bound on the gradient norm of all alphas together.

    The bound is met inside the step, on what the step is given: regularizers too.  Defaults of
    SNAS, arXiv:1812.09926.
    """

    lr: float = 3e-4
    clip: float = 10.0

    def __post_init__(self) -> None:
        for name in ("lr", "clip"):
            if getattr(self, name) <= 0:
                value = getattr(self, name)
                raise ValueError(f"`ClippedSgd({name}={value})` needs a positive number")

    def __call__(self, params: Sequence[Tensor]) -> torch.optim.Optimizer:
        """A torch SGD of `params`."""
        optimizer = torch.optim.SGD(params, lr=self.lr)
        optimizer.register_step_pre_hook(partial(_clip, bound=self.clip))
        return optimizer


def _clip(optimizer: torch.optim.Optimizer, args: object, kwargs: object, *, bound: float) -> None:
    alphas = [alpha for group in optimizer.param_groups for alpha in group["params"]]
    torch.nn.utils.clip_grad_norm_(alphas, bound)


@dataclass(frozen=True)
class HeavyBall:
    """Gradient descent with momentum and no decay; GOLD-NAS: 1 and 0.9 (arXiv:2007.03331)."""

    lr: float = 1.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"`HeavyBall(lr={self.lr})` needs a positive learning rate")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"`HeavyBall(momentum={self.momentum})` needs a number in [0, 1)")

    def __call__(self, params: Sequence[Tensor]) -> torch.optim.Optimizer:
        """A torch SGD of `params`."""
        return torch.optim.SGD(params, lr=self.lr, momentum=self.momentum)


@dataclass(frozen=True)
class ExponentiatedGradient:
    """Mirror descent on the simplex: every row of alpha is a distribution, and stays one.

    alpha <- alpha exp(-lr g) over the row's sum, then no number below `floor`, then over the sum

    A number that is exactly 0, as where an operation is no candidate, stays 0.  A constant added
    to a row of g changes nothing.

    Args:
        floor: smallest weight, so that none is lost for good.

    Li et al., GAEA, ICLR 2021, arXiv:2004.07802.  Differs from the released code: rows are divided
    by their sum before the floor too, so that the floor is one of weights at any gradient.
    """

    lr: float = 0.1
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(
                f"`ExponentiatedGradient(lr={self.lr})` needs a positive learning rate"
            )
        if not 0 <= self.floor < 1:
            raise ValueError(
                f"`ExponentiatedGradient(floor={self.floor})` needs a weight in [0, 1); "
                "the paper's is 1e-5"
            )

    def __call__(self, params: Sequence[Tensor]) -> torch.optim.Optimizer:
        """An optimizer of `params`, whose rows (last dimension) are on the simplex."""
        return _ExponentiatedGradient(params, self.lr, self.floor)


class _ExponentiatedGradient(torch.optim.Optimizer):
    def __init__(self, params: Sequence[Tensor], lr: float, floor: float) -> None:
        super().__init__(params, {"lr": lr, "floor": floor})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for alpha in group["params"]:
                if alpha.grad is None:
                    continue
                # By logarithms: a large gradient cannot overflow; log 0 stays 0.
                rows = torch.softmax(alpha.log() - group["lr"] * alpha.grad, dim=-1)
                rows = torch.where(alpha > 0, rows.clamp(min=group["floor"]), 0.0)
                alpha.copy_(rows / rows.sum(dim=-1, keepdim=True))
        return loss
