"""Architecture parameters: alpha, beta, alive, and the mixing weights they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy

import torch
from torch import Tensor, nn

from workbench.contracts import by_kind, shaped
from workbench.protocols import EdgeWeights, Mixture, OpDropout, Relaxation
from workbench.spaces.space import CellShape, Space


class Arch:
    """One alpha `(edges, ops)` and one `alive` of its shape per kind of cell.

    Operations that are no candidate, or were pruned, are not alive: they weigh exactly 0 and their
    logits do not move.  An edge with nothing alive is gone.  With edge weights there is also one
    beta `(nodes, sources)` per kind, whose entry is alive where an edge is.
    """

    def __init__(
        self,
        space: Space,
        relaxation: Relaxation,
        alpha: Mapping[str, Tensor],
        device: torch.device,
        dtype: torch.dtype,
        *,
        beta: Mapping[str, Tensor] | None = None,
        edge_weights: EdgeWeights | None = None,
        op_dropout: OpDropout | None = None,
    ) -> None:
        self.space = space
        self.relaxation = relaxation
        self.edge_weights, self.op_dropout = edge_weights, op_dropout
        self.dtype = dtype
        self.alpha = _parameters(alpha, device, dtype)
        self.beta = _parameters(beta or {}, device, dtype)
        self.alive = {
            cell.kind: torch.tensor(cell.candidates, device=device) for cell in space.cells
        }
        self.kept = self.alive  # those that take part in this step
        self._slots = {cell.kind: edge_slots(cell, device) for cell in space.cells}
        self._whole = all(bool(mask.all()) for mask in self.alive.values())
        self._gaps = False  # is some edge gone?
        columns = {cell.kind: len(cell.columns) for cell in space.cells}
        self._alike = [
            [kind for kind in space.kinds if columns[kind] == width]
            for width in sorted(set(columns.values()))
        ]

    def parameters(self) -> tuple[Tensor, ...]:
        """The alphas, in the order of the space's kinds, then the betas where there are any."""
        alphas = [self.alpha[kind] for kind in self.space.kinds]
        return (*alphas, *(self.beta[kind] for kind in self.space.kinds if kind in self.beta))

    def at(self, parameters: Sequence[Tensor]) -> Arch:
        """The same with other numbers in place of `parameters()`, for a look at them.

        Raises:
            ValueError: if there are more or fewer, or a shape is another.
        """
        own = self.parameters()
        shapes = [tuple(x.shape) for x in parameters]
        if shapes != [tuple(x.shape) for x in own]:
            raise ValueError(
                f"mixing weights of alphas of the shapes {shapes} were asked for; they must be "
                f"those of `bilevel.alphas`, {[tuple(x.shape) for x in own]}, in that order"
            )
        other, left = copy(self), iter(parameters)
        other.alpha = {kind: next(left) for kind in self.space.kinds}
        other.beta = {kind: next(left) for kind in self.space.kinds if kind in self.beta}
        return other

    def draw(self, t: float, generator: torch.Generator) -> None:
        """Decide which operations take part until the next draw."""
        rule = self.op_dropout
        if rule is not None:
            kept = {
                cell.kind: rule.kept(cell, self.alive[cell.kind], t, generator)
                for cell in self.space.cells
            }
            by_kind(("`kept` of the op_dropout", rule), kept, self.alive, mask=True)
            self.kept = kept

    def mixtures(self, t: float, generator: torch.Generator) -> dict[str, Mixture]:
        """Mixing weights for a forward pass at progress `t`, differentiable in alpha and beta."""
        rule, whose = self.relaxation, ("`sample` of the relaxation", self.relaxation)
        rows = self._relax(
            lambda z, alive: shaped(whose, rule.sample(z, alive, t, generator), z), self.kept
        )
        edges = self._edges(t)
        return {
            kind: Mixture(ops.to(self.dtype), edges[kind].to(self.dtype) if kind in edges else None)
            for kind, ops in rows.items()
        }

    @torch.no_grad()
    def mix(self, t: float) -> dict[str, Mixture]:
        """The deterministic mixing weights, detached, in the relaxation's own precision."""
        rule, whose = self.relaxation, ("`mix` of the relaxation", self.relaxation)
        rows = self._relax(lambda z, alive: shaped(whose, rule.mix(z, alive, t), z), self.alive)
        edges = self._edges(t)
        return {kind: Mixture(ops, edges.get(kind)) for kind, ops in rows.items()}

    def _relax(
        self, relax: Callable[[Tensor, Tensor], Tensor], masks: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """`{kind: (edges, ops)}` by one call for all kinds that have equally many columns."""
        rows: dict[str, Tensor] = {}
        for kinds in self._alike:
            alpha = torch.cat([self.alpha[kind] for kind in kinds])
            alive = torch.cat([masks[kind] for kind in kinds])
            edges = [len(self.alpha[kind]) for kind in kinds]
            rows |= zip(kinds, self._some(relax, alpha, alive).split(edges), strict=True)
        return {kind: rows[kind] for kind in self.space.kinds}

    def _some(
        self, relax: Callable[[Tensor, Tensor], Tensor], logits: Tensor, alive: Tensor
    ) -> Tensor:
        """Rows without a choice weigh 0, whatever the relaxation makes of them."""
        if not self._gaps:
            return relax(logits, alive)
        some = alive.any(dim=-1, keepdim=True)
        return torch.where(some, relax(logits, alive | ~some), 0.0)

    def _edges(self, t: float) -> dict[str, Tensor]:
        """`{kind: (edges,)}`, of the kinds that have betas."""
        rule = self.edge_weights
        if rule is None:
            return {}
        out, whose = {}, ("`mix` of the edge_weights", rule)
        for kind, beta in self.beta.items():
            weights = self._some(
                lambda z, alive: shaped(whose, rule.mix(z, alive, t), z),
                beta,
                self.beta_alive(kind),
            )
            out[kind] = weights.flatten()[self._slots[kind]]
        return out

    def beta_alive(self, kind: str) -> Tensor:
        """`(nodes, sources)`: where an edge is that has something alive."""
        some = torch.zeros_like(self.beta[kind], dtype=torch.bool)
        some.view(-1)[self._slots[kind]] = self.alive[kind].any(dim=1)
        return some

    def snapshot(self) -> dict[str, Tensor]:
        """Detached copies of the alphas."""
        return {kind: rows.detach().clone() for kind, rows in self.alpha.items()}

    def reopen(self, alive: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
        """Take what is alive, and what takes part in this step, from a saved state."""
        if any(not torch.equal(alive[kind], self.alive[kind]) for kind in self.space.kinds):
            self.prune(alive)
        if self.op_dropout is not None:
            self.kept = dict(kept)

    def prune(self, alive: Mapping[str, Tensor]) -> None:
        """Take the new `alive`; nothing comes back to life."""
        self.alive = {kind: self.alive[kind] & alive[kind] for kind in self.space.kinds}
        self.kept = self.alive
        self._whole = False
        self._gaps = not all(bool(mask.any(dim=1).all()) for mask in self.alive.values())

    @torch.no_grad()
    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One optimizer step that leaves dead logits, and their optimizer state, where they are.

        Weight decay and old momentum would otherwise drag a pruned logit back to life.  Logits of
        operations that do not take part in this step stay too, unless the dropout adjusts them.
        """
        dropout = self.op_dropout
        still = self._whole and dropout is None and not self.beta
        before = [] if still else [rows.detach().clone() for rows in self.parameters()]
        optimizer.step()
        if not before:
            return
        masks = [self.kept[kind] for kind in self.space.kinds]
        masks += [self.beta_alive(kind) for kind in self.space.kinds if kind in self.beta]
        for rows, old, mask in zip(self.parameters(), before, masks, strict=True):
            rows.copy_(torch.where(mask, rows, old))
        if dropout is not None:
            for old, (kind, rows) in zip(before, self._ordered_alphas(), strict=False):
                whose = ("`adjusted` of the op_dropout", dropout)
                new = dropout.adjusted(old, rows, self.alive[kind], self.kept[kind])
                rows.copy_(shaped(whose, new, rows))
        self.forget_dead(optimizer)

    def forget_dead(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero what the optimizer remembers of logits that are not alive."""
        masks = [(rows, self.alive[kind]) for kind, rows in self._ordered_alphas()]
        masks += [(rows, self.beta_alive(kind)) for kind, rows in self.beta.items()]
        for rows, alive in masks:
            for value in optimizer.state[rows].values():
                if isinstance(value, Tensor) and value.shape == rows.shape:
                    value.mul_(alive)

    def _ordered_alphas(self) -> list[tuple[str, Tensor]]:
        return [(kind, self.alpha[kind]) for kind in self.space.kinds]


def edge_slots(cell: CellShape, device: torch.device) -> Tensor:
    """`(edges,)`: where each edge's weight stands in a flattened beta `(nodes, sources)`."""
    sources = cell.inputs + cell.nodes - 1
    places = [(dst - cell.inputs) * sources + src for src, dst in cell.edges]
    return torch.tensor(places, device=device)


def first_betas(rule: EdgeWeights, space: Space, generator: torch.Generator) -> dict[str, Tensor]:
    """The betas `(nodes, sources)` that a search starts from."""
    betas = {}
    for cell in space.cells:
        alive = torch.zeros(cell.nodes, cell.inputs + cell.nodes - 1, dtype=torch.bool)
        alive.view(-1)[edge_slots(cell, alive.device)] = True
        whose = ("`first` of the edge_weights", rule)
        betas[cell.kind] = shaped(whose, rule.first(alive, generator), alive)
    return betas


def _parameters(
    rows: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
) -> dict[str, nn.Parameter]:
    return {
        kind: nn.Parameter(values.detach().to(device, dtype, copy=True))
        for kind, values in rows.items()
    }
