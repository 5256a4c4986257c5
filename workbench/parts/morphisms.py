"""Between stages that prune and replace operations: which come, and with what weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from workbench.protocols import View
from workbench.spaces.morph_ops import Limits, Separable, separable
from workbench.spaces.space import Space, SpaceError

# The three published scripts: results DL1 and DL2, DR, and UR.
DARTS_LIKE = Limits(smallest=3, inserted=1, widest=1, total=1)
DEPTH_RESTRICTED = Limits(inserted=1, widest=5, total=5)
UNRESTRICTED = Limits()

# Which morphism hands weights over where a new operation could come from several: what computes
# the same first.
_BEST_FIRST = ("widen", "grow", "insert", "contract", "dilate", "shrink")


@dataclass(frozen=True)
class Primitives:
    """The search's space with other candidates: where PR-DARTS starts.

    On every edge, those of `ops` that are candidates there, and where the edge has a convolution
    those of `ops` that are separable convolutions, of whatever shape.  So a NAS-Bench-201 edge
    starts with skip connection, average pooling and the single separable convolution in place of
    its own two, for which there are no morphisms; what is found there is in no table of the
    benchmark.

    Laube and Zell, Prune and Replace NAS, arXiv:1906.07528.
    """

    ops: tuple[str, ...] = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3_x1")

    def __post_init__(self) -> None:
        if not self.ops or len(set(self.ops)) < len(self.ops):
            raise ValueError(f"`Primitives(ops={self.ops})` needs one or more different operations")
        for op in self.ops:
            separable(op)  # a misspelled one is refused here, not in the middle of a search

    def __call__(self, space: Space, view: View | None) -> Space:
        """`space` with fewer, and perhaps other, candidates."""
        return _with_candidates(
            space, {cell.kind: [self._edge(row) for row in cell.ops] for cell in space.cells}
        )

    def _edge(self, row: Sequence[str]) -> tuple[str, ...]:
        convolves = any("conv" in op for op in row)
        kept = tuple(op for op in self.ops if op in row or (convolves and separable(op)))
        if not kept:
            raise SpaceError(
                f"none of `Primitives(ops={self.ops})` can stand on an edge of {', '.join(row)}; "
                "name one of these"
            )
        return kept


@dataclass(frozen=True)
class PruneAndMorph:
    """Per edge the `keep` best operations of the last stage, and `morphs` new ones made of them.

    The best separable convolution of an edge is always kept.  The parent of a new operation is
    drawn in proportion to its mixing weight among the kept ones, the morphism evenly among those
    that `limits` allow, both again until the operation was no candidate of the edge in the last
    stage; where there is no such operation left, one that was just dropped comes back.  The drawing
    is fixed by the search's seed and the stage.

    Laube and Zell, Prune and Replace NAS, arXiv:1906.07528.  Differs from the released code: that
    remembers all that an edge has tried, so that what was dropped earlier comes back last, too.

    Args:
        keep: operations kept, the best convolution among them.
        morphs: operations added.
        limits: how far morphisms go.
    """

    keep: int
    morphs: int = 0
    limits: Limits = DARTS_LIKE

    def __post_init__(self) -> None:
        for name, least in (("keep", 1), ("morphs", 0)):
            if getattr(self, name) < least:
                value = getattr(self, name)
                raise ValueError(f"`PruneAndMorph({name}={value})` must be at least {least}")

    def __call__(self, space: Space, view: View | None) -> Space:
        """The last stage's space with other candidates."""
        if view is None:
            raise ValueError("`PruneAndMorph` needs a stage before it; start with `Primitives`")
        generator = np.random.default_rng((view.seed, view.clock.stage))
        return _with_candidates(
            view.space,
            {
                cell.kind: [
                    self._edge(cell.columns, weights, alive, generator)
                    for weights, alive in zip(
                        view.mix[cell.kind].ops.tolist(),
                        view.alive[cell.kind].tolist(),
                        strict=True,
                    )
                ]
                for cell in view.space.cells
            },
        )

    def _edge(
        self,
        columns: Sequence[str],
        weights: Sequence[float],
        alive: Sequence[bool],
        generator: np.random.Generator,
    ) -> tuple[str, ...]:
        here = [op for op, is_alive in zip(columns, alive, strict=True) if is_alive]
        if not here:
            return ("none",)  # an edge that a pruner took whole stays away
        weight = dict(zip(columns, weights, strict=True))
        ranked = sorted(here, key=lambda op: -weight[op])  # ties: the earlier column
        first = next((op for op in ranked if separable(op)), None)
        others = [op for op in ranked if op != first]
        kept = ([first] if first else []) + others[: self.keep - bool(first)]
        kept.sort(key=here.index)
        new: list[str] = []
        for _ in range(self.morphs):
            odds = self._odds(kept, weight, {*here, *new}) or self._odds(
                kept, weight, {*kept, *new}
            )
            if not odds:
                break
            chances = np.array(list(odds.values()))
            new.append(list(odds)[generator.choice(len(odds), p=chances / chances.sum())])
        return (*kept, *new)

    def _odds(
        self, kept: Sequence[str], weight: Mapping[str, float], known: set[str]
    ) -> dict[str, float]:
        """By new operation, how likely it is drawn, up to a factor."""
        parents = {op: what for op in kept if (what := separable(op))}
        ruled_out = not any(weight[op] for op in parents)  # a sparse relaxation may say 0 of all
        odds: dict[str, float] = {}
        for op, what in parents.items():
            children = [child.name for child in what.morphs(self.limits).values()]
            for child in children:
                chance = (1.0 if ruled_out else weight[op]) / len(children)
                if child not in known and chance > 0:
                    odds[child] = odds.get(child, 0.0) + chance
        return odds


def morph_weights(old: nn.Module, new: nn.Module) -> None:
    """Copy what both supernets have; a new convolution starts from a kept one that it is made of.

    Where several kept operations of the edge are one morphism away, from one that computes the
    same, and of these from the first.  With batch norms in training mode, as in a search,

    * a wider operation computes what its parent did: the weights that leave its new channels are 0,
      those that enter them stay as drawn, so that new channels learn to differ;
    * a larger kernel computes what its parent did: it is padded with zeros;
    * an inserted convolution is an identity behind the parent, but its ReLU and its batch norm are
      not: the operation computes the batch norm of the parent's rectified output;
    * another dilation keeps the taps, a smaller kernel the middle ones; both compute another thing.

    Batch-norm statistics start anew, as after `keep_weights`.

    Raises:
        ValueError: if a weight of one name has two shapes: stages share channels and depth.

    Laube and Zell, Prune and Replace NAS, arXiv:1906.07528.  Differs from the released code: that
    overwrites a kept operation with its parent's weights again after every later stage.
    """
    weights = dict(old.named_parameters())
    for name, weight in new.named_parameters():
        if name not in weights:
            continue
        if weight.shape != weights[name].shape:
            raise ValueError(
                f"`morph_weights` cannot carry {name}: {tuple(weights[name].shape)} does not fit "
                f"{tuple(weight.shape)}; give both stages the same channels and depth"
            )
        weight.data.copy_(weights[name].data)
    for child, parent in _families(old, new):
        _start_from(child, parent)


def _families(old: nn.Module, new: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """New operations and the kept ones, with the old weights, that they start from."""
    before = {path: m for path, m in old.named_modules() if isinstance(m, nn.ModuleDict)}
    for path, ops in new.named_modules():
        if not isinstance(ops, nn.ModuleDict) or path not in before:
            continue
        kept = {op: what for op in ops if op in before[path] and (what := separable(op))}
        for op, module in ops.items():
            what = separable(op)
            if what is not None and op not in before[path]:
                parent = _parent(what, kept)
                if parent is not None:
                    yield module, before[path][parent]


def _parent(child: Separable, kept: Mapping[str, Separable]) -> str | None:
    for morphism in _BEST_FIRST:
        for op, what in kept.items():
            if what.morphs(UNRESTRICTED).get(morphism) == child:
                return op
    return None


@torch.no_grad()
def _start_from(child: nn.Module, parent: nn.Module) -> None:
    ours, theirs = (
        [module for module in op.modules() if isinstance(module, nn.Conv2d)]
        for op in (child, parent)
    )
    for conv, old in zip(ours, theirs, strict=False):
        _fit(conv.weight, old.weight)
    for conv in ours[len(theirs) :]:
        nn.init.dirac_(conv.weight, conv.groups)


def _fit(weight: Tensor, old: Tensor) -> None:
    """Write `old` `(out, in, k, k)` into the middle of `weight`; what is new among its own is 0.

    Rows of new outputs stay as they are.
    """
    rows, columns, size, _ = old.shape
    margin = (weight.shape[2] - size) // 2
    weight[:rows] = 0.0
    if margin < 0:
        weight[:rows, :columns] = old[:, :, -margin : size + margin, -margin : size + margin]
    else:
        into = slice(margin, margin + size)
        weight[:rows, :columns, into, into] = old


def _with_candidates(space: Space, rows: Mapping[str, Sequence[tuple[str, ...]]]) -> Space:
    cells = tuple(replace(cell, ops=tuple(rows[cell.kind])) for cell in space.cells)
    return replace(space, cells=cells)
