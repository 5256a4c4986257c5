"""Scores made of the tangent kernel of a batch, and the Zen-score of paper A that contains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from workbench.protocols import Batch, Pictures
from workbench.zero_cost.batch_norm import batch_norm_variances, bn_term
from workbench.zero_cost.kernels import SCALARS, ScalarName, log_ntk, ntk
from workbench.zero_cost.scratch import ProxyError, scratch, weights_of


@dataclass(frozen=True)
class KernelScore:
    """A scalar of the neural tangent kernel of which more is better, as it is: no logarithm.

    "mean" is KNAS's mean of the Gram matrix, "fro" its F-norm; see `SCALARS`.

    Xu et al., KNAS, ICML 2021, arXiv:2111.13293.  Differs: its released code takes gradients of the
    loss, hence labels, and only the first 100 numbers of each; its formula, which is here, does
    neither.
    """

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    scalar: ScalarName = "fro"

    def __post_init__(self) -> None:
        good = [name for name, scalar in SCALARS.items() if scalar.higher_is_better]
        if self.scalar not in good:
            raise ValueError(
                f"`KernelScore(scalar={self.scalar!r})`: choose {', '.join(good)}; the condition "
                "number, of which less is better, is `ConditionNumber()`"
            )

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The scalar of `net`'s kernel on `batch.images`."""
        return float(SCALARS[self.scalar].value(_kernel(net, batch.images, generator)))


@dataclass(frozen=True)
class ConditionNumber:
    """Largest over smallest eigenvalue of the neural tangent kernel; less is better.

    Chen et al., TE-NAS, ICLR 2021, arXiv:2102.11535.
    """

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = False
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The number for `net` on `batch.images`."""
        return float(SCALARS["cond"].value(_kernel(net, batch.images, generator)))


@dataclass(frozen=True)
class LabelGradientAlignment:
    """How much the tangent kernel looks like the kernel of the labels: a cosine in [-1, 1].

    <K - mean K, L - mean L> / (|K - mean K| |L - mean L|),   L_ij = 1 of one class, else -1

    Mok et al., CVPR 2022, arXiv:2203.14577.  They take the kernel after a few epochs of training
    for meaningful values; nothing is trained here.  Means are over all entries.
    """

    needs_labels: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "data"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The cosine for `net` on `batch`."""
        return alignment(_kernel(net, batch.images, generator), batch.labels)


def alignment(kernel: Tensor, labels: Tensor) -> float:
    """The cosine between a kernel `(batch, batch)` and that of `labels` `(batch,)`, both centred.

    0 of a constant kernel.

    Raises:
        ProxyError: if all labels are of one class: their kernel is a constant.
    """
    same = 2.0 * (labels[:, None] == labels[None, :]).to(kernel) - 1.0
    if bool((same > 0).all()):
        raise ProxyError(
            "label-gradient alignment needs a batch of two or more classes; take a larger batch"
        )
    left, right = kernel - kernel.mean(), same - same.mean()
    scale = torch.linalg.matrix_norm(kernel) * torch.finfo(kernel.dtype).eps * len(kernel)
    if float(torch.linalg.matrix_norm(left)) <= float(scale):  # nothing but rounding is left
        return 0.0
    norms = torch.linalg.matrix_norm(left) * torch.linalg.matrix_norm(right)
    return float((left * right).sum() / norms)


@dataclass(frozen=True)
class ZenPaperA:
    """Zen(F) = beta1 log(NTK) + beta2 BN of a network at its own weights.

    Paper A's score, which shares no term but BN with the Zen-score it is named after (`ZenNas`).

    Zhang, "A Zero-Cost DARTS Base on Multi-Step Optimization", eq. 10.  Betas and the scalar are
    not given: the defaults are ours (docs/zero_cost.md).
    """

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "gaussian"

    beta1: float = 1.0
    beta2: float = 1.0
    scalar: ScalarName = "fro"

    def __post_init__(self) -> None:
        if self.scalar not in SCALARS:
            raise ValueError(f"`ZenPaperA(scalar={self.scalar!r})`: choose {', '.join(SCALARS)}")

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The score of `net` on `batch.images`."""
        with scratch(net, generator) as copied:
            with batch_norm_variances(copied) as variances:
                logits = copied(batch.images)
            kernel = log_ntk(ntk(logits, weights_of(copied)), self.scalar)
            return float(self.beta1 * kernel) + float(self.beta2 * bn_term(variances).detach())


@dataclass(frozen=True)
class BnTerm:
    """The batch-norm term of the Zen-score by itself, at the network's own weights.

    sum over batch norms of log sqrt(mean_c var_c + eps)

    Lin et al., Zen-NAS, ICCV 2021, arXiv:2102.01063.
    """

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    pictures: ClassVar[Pictures] = "gaussian"

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> float:
        """The term of `net` on `batch.images`."""
        with scratch(net, generator) as copied, torch.no_grad():
            with batch_norm_variances(copied) as variances:
                copied(batch.images)
            return float(bn_term(variances))


def _kernel(net: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
    with scratch(net, generator) as copied:
        return ntk(copied(images), weights_of(copied))
