"""Architecture parameters: alpha, alive, and the mixing weights they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from workbench.protocols import Mixture, Relaxation
from workbench.spaces.space import Space


class Arch:
    """One alpha `(edges, ops)` and one `alive` of its shape per kind of cell.

    Operations that are no candidate, or were pruned, are not alive: they weigh exactly 0 and their
    logits do not move.
    """

    def __init__(
        self,
        space: Space,
        relaxation: Relaxation,
        alpha: Mapping[str, Tensor],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.space = space
        self.relaxation = relaxation
        self.dtype = dtype
        self.alpha = {
            kind: nn.Parameter(rows.detach().to(device, dtype, copy=True))
            for kind, rows in alpha.items()
        }
        self.alive = {
            cell.kind: torch.tensor(cell.candidates, device=device) for cell in space.cells
        }
        self._whole = all(bool(mask.all()) for mask in self.alive.values())
        columns = {cell.kind: len(cell.columns) for cell in space.cells}
        self._alike = [
            [kind for kind in space.kinds if columns[kind] == width]
            for width in sorted(set(columns.values()))
        ]

    def parameters(self) -> tuple[Tensor, ...]:
        """The alphas, in the order of the space's kinds."""
        return tuple(self.alpha[kind] for kind in self.space.kinds)

    def mixtures(self, t: float, generator: torch.Generator) -> dict[str, Mixture]:
        """Mixing weights for a forward pass at progress `t`, differentiable in alpha."""
        rows = self._relax(lambda z, alive: self.relaxation.sample(z, alive, t, generator))
        return {kind: Mixture(ops.to(self.dtype)) for kind, ops in rows.items()}

    @torch.no_grad()
    def mix(self, t: float) -> dict[str, Mixture]:
        """The deterministic mixing weights, detached, in the relaxation's own precision."""
        rows = self._relax(lambda z, alive: self.relaxation.mix(z, alive, t))
        return {kind: Mixture(ops) for kind, ops in rows.items()}

    def _relax(self, relax: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
        """`{kind: (edges, ops)}` by one call for all kinds that have equally many columns."""
        rows: dict[str, Tensor] = {}
        for kinds in self._alike:
            alpha = torch.cat([self.alpha[kind] for kind in kinds])
            alive = torch.cat([self.alive[kind] for kind in kinds])
            edges = [len(self.alpha[kind]) for kind in kinds]
            rows |= zip(kinds, relax(alpha, alive).split(edges), strict=True)
        return {kind: rows[kind] for kind in self.space.kinds}

    def snapshot(self) -> dict[str, Tensor]:
        """Detached copies of the alphas."""
        return {kind: rows.detach().clone() for kind, rows in self.alpha.items()}

    def prune(self, alive: Mapping[str, Tensor]) -> None:
        """Take the new `alive`; nothing comes back to life."""
        self.alive = {kind: self.alive[kind] & alive[kind] for kind in self.space.kinds}
        self._whole = False

    @torch.no_grad()
    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One optimizer step that leaves dead logits, and their optimizer state, where they are.

        Weight decay and old momentum would otherwise drag a pruned logit back to life.
        """
        before = None if self._whole else self.snapshot()
        optimizer.step()
        if before is None:
            return
        for kind, rows in self.alpha.items():
            rows.copy_(torch.where(self.alive[kind], rows, before[kind]))
        self.forget_dead(optimizer)

    def forget_dead(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero what the optimizer remembers of logits that are not alive."""
        for kind, rows in self.alpha.items():
            for value in optimizer.state[rows].values():
                if isinstance(value, Tensor) and value.shape == rows.shape:
                    value.mul_(self.alive[kind])
