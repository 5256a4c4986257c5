"""The neural tangent kernel of a batch, its scalars, and their logarithm as an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

ScalarName = Literal["fro", "trace", "mean", "cond", "lmin", "fro_per_trace"]


def gradients(outputs: Tensor, weights: Sequence[Tensor], *, create_graph: bool = False) -> Tensor:
    """Per-sample gradients of the sum of logits: row i is d (sum_c outputs_ic) / d w.

    Batch norms in training mode couple the samples: row i is then the gradient of sample i's
    logits *within this batch*, which other samples influence through the batch statistics.

    Args:
        outputs: logits `(batch, classes)`, with their graph.
        weights: what to differentiate by; a weight the outputs do not use gives zeros.
        create_graph: let the result be differentiated; keeps `batch` backward graphs in memory.

    Returns:
        `(batch, parameters)`, weights flattened and concatenated in their order.
    """
    rows = [
        _flat(_gradient(total, weights, create_graph=create_graph))
        for total in _totals(outputs).unbind(0)
    ]
    return torch.stack(rows)


def ntk(outputs: Tensor, weights: Sequence[Tensor], *, create_graph: bool = False) -> Tensor:
    """The empirical neural tangent kernel K = J Jᵀ with J from `gradients`.

    Symmetric and positive semi-definite up to rounding.  The product is in float64 whatever the
    network's format: small eigenvalues, and with them the condition number, drown in float32's.

    Returns:
        `(batch, batch)`, float64.

    Jacot et al., NeurIPS 2018, arXiv:1806.07572; of the sum of logits as in TE-NAS
    (arXiv:2102.11535).  Differs from TE-NAS: all weights count, not only those named "weight".
    """
    rows = gradients(outputs, weights, create_graph=create_graph).double()
    kernel = rows @ rows.T
    return (kernel + kernel.T) / 2  # some processors add up a product's halves differently


@dataclass(frozen=True)
class KernelScalar:
    """A number made of a kernel `(batch, batch)`: `value`, differentiable, and its direction."""

    value: Callable[[Tensor], Tensor]
    higher_is_better: bool = True


def _eigenvalue_ends(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest eigenvalue, the smallest lifted to what rounding can tell from 0."""
    values = torch.linalg.eigvalsh(kernel)
    eps = torch.finfo(kernel.dtype)
    top = values[-1].clamp_min(eps.tiny)
    return torch.maximum(values[0], len(kernel) * eps.eps * top), top


def _condition(kernel: Tensor) -> Tensor:
    low, top = _eigenvalue_ends(kernel)
    return top / low


def _alignment(kernel: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(kernel) / kernel.trace().clamp_min(
        torch.finfo(kernel.dtype).tiny
    )


SCALARS: Mapping[ScalarName, KernelScalar] = MappingProxyType(
    {
        "fro": KernelScalar(torch.linalg.matrix_norm),  # KNAS's F-norm
        "trace": KernelScalar(torch.trace),  # sum_i |g_i|²
        "mean": KernelScalar(torch.mean),  # KNAS's mean of the Gram matrix: |mean_i g_i|²
        "cond": KernelScalar(_condition, higher_is_better=False),  # TE-NAS
        "lmin": KernelScalar(lambda kernel: _eigenvalue_ends(kernel)[0]),
        "fro_per_trace": KernelScalar(_alignment),  # "fro" without its scale, in [batch**-.5, 1]
    }
)


def log_ntk(kernel: Tensor, scalar: ScalarName) -> Tensor:
    """The logarithm of a kernel's scalar, negative for one of which less is better.

    So a positive beta1 always asks for the better kernel: "cond" enters as -log(κ).  A kernel of
    zeros gives the logarithm of the smallest normal number, not -inf.
    """
    return _log(SCALARS[scalar].value(kernel), scalar)


def network_log_ntk(
    outputs: Tensor,
    weights: Sequence[Tensor],
    scalar: ScalarName,
    *,
    others: Sequence[Tensor] = (),
    signs: Tensor | None = None,
) -> Tensor:
    """`log_ntk(ntk(outputs, weights), scalar)`, differentiable without B graphs in memory.

    With S = d s / d K = sum_k σ_k u_k u_kᵀ, and K = J Jᵀ,

    d s(K) = 2 tr(S J dJᵀ) = 2 sum_k σ_k <Jᵀ u_k, d (Jᵀ u_k)>,   Jᵀ u = d (u · f) / d w

    so a backward pass is one double backward per eigenvector of S, one graph at a time: 1 for
    "lmin", 2 for "cond", B for the others.  "mean" is |d mean(f) / d w|²: one pass in all.
    Exact, but differentiable once.

    Args:
        outputs: logits `(batch, classes)` with their graph; do not free it before the backward.
        others: more tensors to be differentiable in, such as mixing weights.
        signs: random ±1 `(probes, batch)`.  With them the gradient is an unbiased estimate from
            one double backward per probe z, since E[z zᵀ] = 1: 2 <Jᵀ S z, d (Jᵀ z)>.  The value
            stays exact.

    Returns:
        A float64 scalar.

    Raises:
        FloatingPointError: if the kernel is not finite.
        NotImplementedError: in a backward pass with `create_graph`.
    """
    if scalar == "mean":
        return _log_mean(outputs, weights)
    kernel = ntk(outputs, weights)
    _check_finite(kernel.sum())
    with torch.enable_grad():
        value = log_ntk(kernel.requires_grad_(), scalar)
    (slope,) = torch.autograd.grad(value, kernel)
    passes = _passes(slope, signs, outputs.dtype)
    return _Rematerialised.apply(len(weights), passes, value.detach(), outputs, *weights, *others)


def _log_mean(outputs: Tensor, weights: Sequence[Tensor]) -> Tensor:
    mean = _gradient(_totals(outputs).mean(), weights, create_graph=True)
    square = torch.stack([tensor.double().square().sum() for tensor in mean]).sum()
    _check_finite(square)
    return _log(square, "mean")


class _Pass(NamedTuple):
    """A term l rᵀ of S; where l is `factor` times r the passes for both are one."""

    left: Tensor
    right: Tensor
    factor: Tensor | None = None


def _passes(slope: Tensor, signs: Tensor | None, dtype: torch.dtype) -> list[_Pass]:
    """S as a sum of l rᵀ: exactly, by its eigenvectors, or on average, by random signs."""
    if signs is not None:
        right = signs.to(slope)
        left = right @ slope / len(right)
        return [_Pass(*pair) for pair in zip(left.to(dtype), right.to(dtype), strict=True)]
    sizes, columns = torch.linalg.eigh(slope)
    keep = sizes.abs() > len(sizes) * torch.finfo(sizes.dtype).eps * sizes.abs().max()
    sizes, rows = sizes[keep].to(dtype), columns.T[keep].to(dtype)
    return [_Pass(size * row, row, size) for size, row in zip(sizes, rows, strict=True)]


class _Context(FunctionCtx):
    weights: int
    passes: list[_Pass]
    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]


class _Rematerialised(torch.autograd.Function):
    """Hands `value` on; its backward recomputes what `network_log_ntk` says.

    `outputs` is an input so that autograd keeps its graph until this backward is over.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        weights: int,
        passes: list[_Pass],
        value: Tensor,
        outputs: Tensor,
        *inputs: Tensor,
    ) -> Tensor:
        ctx.weights, ctx.passes = weights, passes
        ctx.save_for_backward(outputs, *inputs)
        return value.clone()

    @staticmethod
    def backward(ctx: _Context, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # torch's batch norm has no third derivative to build on
            raise NotImplementedError(
                "the logarithm of a tangent kernel is differentiable once; ask for its gradient "
                "without `create_graph`"
            )
        (upstream,) = grad_outputs
        outputs, *inputs = ctx.saved_tensors
        needed = ctx.needs_input_grad[-len(inputs) :]
        wanted = [x for x, need in zip(inputs, needed, strict=True) if need]
        slopes = iter(_slope(ctx.passes, outputs, inputs[: ctx.weights], wanted))
        grads = (
            upstream.to(x.dtype) * next(slopes) if n else None
            for x, n in zip(inputs, needed, strict=True)
        )
        return (None,) * 4 + tuple(grads)


def _slope(
    passes: Sequence[_Pass],
    outputs: Tensor,
    weights: Sequence[Tensor],
    wanted: Sequence[Tensor],
) -> list[Tensor]:
    """2 sum over passes of <Jᵀ l, d (Jᵀ r) / d wanted>."""
    sums = [torch.zeros_like(x) for x in wanted]
    with torch.enable_grad():
        totals = _totals(outputs)
        for left, right, factor in passes:
            moving = _gradient(totals @ right, weights, create_graph=True)
            still = (
                _gradient(totals @ left, weights)
                if factor is None
                else [factor * tensor.detach() for tensor in moving]
            )
            both = [(m, 2 * s) for m, s in zip(moving, still, strict=True) if m.requires_grad]
            if not both:  # a linear model: its kernel is a constant
                return sums
            ends, starts = zip(*both, strict=True)
            terms = torch.autograd.grad(ends, wanted, starts, retain_graph=True, allow_unused=True)
            for total, term in zip(sums, terms, strict=True):
                if term is not None:
                    total += term
    return sums


def _totals(outputs: Tensor) -> Tensor:
    return outputs.flatten(1).sum(dim=1)


def _gradient(
    value: Tensor, weights: Sequence[Tensor], *, create_graph: bool = False
) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        value, weights, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _log(value: Tensor, scalar: ScalarName) -> Tensor:
    log = value.clamp_min(torch.finfo(value.dtype).tiny).log()
    return log if SCALARS[scalar].higher_is_better else -log


def _check_finite(value: Tensor) -> None:
    if not torch.isfinite(value):
        raise FloatingPointError(
            "the network's tangent kernel is not finite: its weights have grown or are NaN; lower "
            "the learning rate or guard the weights' norms (`Sgd(keep_norms=True)`)"
        )
