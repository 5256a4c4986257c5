"""The batch-norm term of the Zen-score: how much each layer's map spreads before it is normed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

Source = Literal["batch", "running"]


@contextmanager
def batch_norm_variances(module: nn.Module, source: Source = "batch") -> Iterator[list[Tensor]]:
    """Collect mean_c σ²_c + eps of every batch norm that runs inside the `with`, in that order.

    The hooks are gone at its end, also after an error, and change no output.

    Args:
        module: the network; batch norms are found by torch's own class.
        source: "batch", the (biased) variance of the batch, which the norm divides by and which is
            differentiable; or "running", the running variance after the pass, which is a constant.

    Yields:
        A list that fills with scalars, one per execution of a batch norm.

    Raises:
        ValueError: if a batch norm has no running variance and it is asked for.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if source == "running" and any(norm.running_var is None for norm in norms):
        raise ValueError(
            '`bn="running"` needs batch norms that track statistics; some here do not: '
            'use bn="batch"'
        )
    seen: list[Tensor] = []

    def look(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
        if source == "running":
            assert norm.running_var is not None
            seen.append(norm.running_var.detach().mean() + norm.eps)
            return
        x = inputs[0]
        dims = [dim for dim in range(x.ndim) if dim != 1]
        seen.append(x.var(dim=dims, correction=0).mean() + norm.eps)

    handles = [norm.register_forward_hook(look) for norm in norms]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def bn_term(variances: Sequence[Tensor]) -> Tensor:
    """Sum over batch norms of log sqrt(mean_c σ²_c + eps); 0 of a network without any.

    With its `eps` a layer that sees a constant map counts log sqrt(eps) = -5.8, not -inf.

    Lin et al., Zen-NAS, ICCV 2021, arXiv:2102.01063.  Differs: their code reads `running_var`, a
    moving average that starts at 1 (`source="running"` here), and adds no eps.
    """
    if not variances:
        return torch.zeros(())
    return 0.5 * torch.stack(list(variances)).log().sum()
