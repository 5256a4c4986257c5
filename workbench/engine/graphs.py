"""CUDA graphs of the fast supernet: one launch for a forward pass, one for its gradient.

For steps that cannot be captured as wholes (`engine.step_graphs`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import cast
from weakref import ref

import torch
from torch import Tensor, nn

from workbench.protocols import Mixture, Mixtures

Eager = Callable[[Tensor, Mixtures], Tensor]


class Graphs:
    """Captured passes, one for every shape of batch and every set of rows that want a gradient.

    Passes at other weights than the module's own, with statistics frozen, or while an earlier one
    waits for its gradient, are not captured.

    Args:
        eager: the pass, operation by operation.
    """

    def __init__(self, eager: Eager) -> None:
        self._eager = eager
        self._captured: dict[object, Callable[..., Tensor]] = {}
        self._waiting: dict[object, ref[_Waiting]] = {}

    def __call__(self, net: nn.Module, images: Tensor, mixtures: Mixtures) -> Tensor:
        """Logits `(batch, classes)`."""
        own = all(isinstance(weight, nn.Parameter) for weight in net.parameters())
        if not own or _frozen(net):
            return self._eager(images, mixtures)
        tensors = [
            images,
            *(x for m in mixtures.values() for x in (m.ops, m.edges) if x is not None),
        ]
        kinds = tuple((kind, m.edges is not None) for kind, m in mixtures.items())
        looks = tuple((x.shape, x.dtype, x.requires_grad) for x in tensors)
        key = (kinds, looks, torch.is_autocast_enabled("cuda"))
        if self._pending(key):
            return self._eager(images, mixtures)
        if key not in self._captured:
            self._captured[key] = _capture(net, _Pass(net, self._eager, kinds), tensors)
        logits = self._captured[key](*tensors)
        if logits.grad_fn is not None:
            waiting = _Waiting()
            logits.grad_fn.register_hook(waiting.end)  # the graph of the pass keeps it alive
            self._waiting[key] = ref(waiting)
        return logits

    def _pending(self, key: object) -> bool:
        """Whether the last pass's gradient is still to come: its memory is the next pass's."""
        waiting = self._waiting[key]() if key in self._waiting else None
        return waiting is not None and not waiting.over

    def forget(self) -> None:
        """Capture anew: the net has changed."""
        self._captured.clear()
        self._waiting.clear()

    def __deepcopy__(self, memo: dict[int, object]) -> Graphs:
        """Of a copied net, which nothing has been captured of."""
        return Graphs(deepcopy(self._eager, memo))


class _Waiting:
    """A pass whose gradient nobody has asked for yet."""

    over = False

    def end(self, *_: object) -> None:
        self.over = True


class _Pass(nn.Module):
    """A pass as a module of its tensors, as torch wants to capture it."""

    def __init__(self, net: nn.Module, eager: Eager, kinds: Sequence[tuple[str, bool]]) -> None:
        super().__init__()
        self.net, self.eager, self.kinds = net, eager, kinds

    def forward(self, images: Tensor, *rows: Tensor) -> Tensor:
        left = iter(rows)
        mixtures = {
            kind: Mixture(next(left), next(left) if weighted else None)
            for kind, weighted in self.kinds
        }
        return self.eager(images, mixtures)


def _capture(net: nn.Module, whole: nn.Module, tensors: Sequence[Tensor]) -> Callable[..., Tensor]:
    """Trial runs come before a capture: running statistics are put back after them."""
    sample = tuple(x.detach().clone().requires_grad_(x.requires_grad) for x in tensors)
    before = [buffer.clone() for buffer in net.buffers()]
    graphed = torch.cuda.make_graphed_callables(whole, sample, allow_unused_input=True)
    for buffer, old in zip(net.buffers(), before, strict=True):
        buffer.copy_(old)
    return cast("Callable[..., Tensor]", graphed)


def _frozen(net: nn.Module) -> bool:
    norms = (m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return not all(norm.track_running_stats for norm in norms)
