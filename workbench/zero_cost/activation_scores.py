"""Scores of where a network is linear: its ReLU patterns, its slopes in the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from workbench.protocols import Batch, Pictures
from workbench.zero_cost.scratch import ProxyError, scratch


@dataclass(frozen=True)
class JacobCov:
    """-sum (log(l + k) + 1 / (l + k)) over the eigenvalues l of the pictures' slopes' correlation.

    Row i of the slopes is d (sum of logits) / d picture i.  Largest where they are uncorrelated.

    Args:
        k: keeps the logarithm of 0 finite.

    Mellor et al., first version of arXiv:2006.04647; k as in arXiv:2101.08134.  Differs: pictures
    whose slope is 0 count as uncorrelated with others and with themselves; there it is NaN.
    """

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    k: float = 1e-5

    def __post_init__(self) -> None:
        if not self.k > 0:
            raise ValueError(f"`JacobCov(k={self.k})` must be above 0; 1e-5 is usual")

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net` on `batch.images`."""
        images = batch.images.detach().clone().requires_grad_()
        with scratch(net, generator) as copied:
            (slopes,) = torch.autograd.grad(
                copied(images).sum(), images, materialize_grads=True, allow_unused=True
            )
        return correlation_score(slopes.flatten(1), self.k)


def correlation_score(rows: Tensor, k: float = 1e-5) -> float:
    """`JacobCov`'s number for slopes `(batch, numbers)`, in float64."""
    rows = rows.double()
    rows = rows - rows.mean(dim=1, keepdim=True)
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    values = torch.linalg.eigvalsh(rows @ rows.T).clamp_min(0) + k
    return -float((values.log() + 1 / values).sum())


@dataclass(frozen=True)
class Naswot:
    """log det of the kernel of ReLU patterns: K_ij = units that agree for pictures i and j.

    Eigenvalues are lifted to what rounding can tell from 0: two pictures of one pattern give a
    low score, not minus infinity.

    Mellor et al., Neural Architecture Search without Training, ICML 2021, arXiv:2006.04647.
    """

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net` on `batch.images`."""
        with scratch(net, generator) as copied:
            return log_det(agreements(relu_patterns(copied, batch.images)))


@dataclass(frozen=True)
class LinearRegions:
    """How many linear pieces of the network random pictures fall into: different ReLU patterns.

    Never more than `samples`, which a wide network reaches: score a thin one.

    Args:
        samples: random pictures.
        side: their height and width in pixels.

    Chen et al., TE-NAS, ICLR 2021, arXiv:2102.11535.  Differs: pictures are Gaussian with the
    channels of the batch's, theirs are grey crops of the data's.
    """

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "gaussian"

    samples: int = 1000
    side: int = 3

    def __post_init__(self) -> None:
        if self.samples < 2 or self.side < 1:
            raise ValueError(
                f"`LinearRegions(samples={self.samples}, side={self.side})` needs 2 or more "
                "pictures of 1 pixel or more"
            )

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net`; of `batch` only the channels count."""
        shape = (self.samples, batch.images.shape[1], self.side, self.side)
        images = torch.randn(
            shape, generator=generator, device=batch.images.device, dtype=batch.images.dtype
        )
        with scratch(net, generator) as copied:
            codes = torch.cat(relu_patterns(copied, images), dim=1)
        return float(len(torch.unique(codes, dim=0)))


@torch.no_grad()
def relu_patterns(net: nn.Module, images: Tensor) -> list[Tensor]:
    """Which units of every ReLU let something through: bool `(batch, units)` per ReLU that runs.

    Raises:
        ProxyError: if none runs.
    """
    with _relu_inputs(net) as seen:
        net(images)
    if not seen:
        raise ProxyError("the network has no `nn.ReLU`, whose patterns this score counts")
    return seen


def agreements(codes: Sequence[Tensor]) -> Tensor:
    """Units whose state is the same for two pictures, all pairs: `(batch, batch)`, float64."""
    total = torch.zeros(len(codes[0]), len(codes[0]), dtype=torch.float64, device=codes[0].device)
    for code in codes:
        on = code.to(torch.float32)  # counts up to 2**24 are exact
        off = 1 - on
        total += (on @ on.T + off @ off.T).double()
    return total


def log_det(kernel: Tensor) -> float:
    """Log det of a positive semi-definite kernel, finite also of a singular one."""
    values = torch.linalg.eigvalsh(kernel)
    eps = torch.finfo(kernel.dtype)
    floor = (len(kernel) * eps.eps * values[-1]).clamp_min(eps.tiny)
    return float(torch.maximum(values, floor).log().sum())


@contextmanager
def _relu_inputs(net: nn.Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []

    def look(relu: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append((inputs[0] > 0).flatten(1))

    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    handles = [relu.register_forward_pre_hook(look) for relu in relus]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
