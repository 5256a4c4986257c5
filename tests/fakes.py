"""Searches that never happened: realistic event streams, and run folders made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench import events as ev
from workbench.protocols import Clock
from workbench.spaces.darts import darts
from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.spaces.nasbench201 import nasbench201
from workbench.spaces.space import CellShape, Space

if TYPE_CHECKING:
    from workbench.trace import Run

COST = {"none": 0, "skip_connect": 0, "max_pool_3x3": 0, "avg_pool_3x3": 0}  # others: 1000


def fake_space(kinds: Sequence[str], nodes: int, ops: Sequence[str] | None = None) -> Space:
    """A DARTS space with only `kinds`; the kind `cell` makes it a NAS-Bench-201 space."""
    if tuple(kinds) == ("cell",):
        space = nasbench201(channels=4, cells_per_stage=1, nodes=nodes)
    else:
        space = darts(channels=4, cells=4, nodes=nodes)
        cells = tuple(cell for cell in space.cells if cell.kind in kinds)
        layers = tuple(layer for layer in space.layers if layer.kind in kinds)
        space = replace(space, cells=cells, layers=layers)
    return space if ops is None else space.restricted(tuple(ops))


def fake_events(
    *,
    kinds: Sequence[str] = ("normal", "reduce"),
    nodes: int = 2,
    epochs: int = 3,
    steps_per_epoch: int = 5,
    prune: bool = True,
    seed: int = 0,
    ops: Sequence[str] | None = None,
    stages: int = 1,
) -> Iterator[ev.SearchEvent]:
    """A search whose alphas walk at random: a warm-up epoch, then two operations lost per epoch.

    Every stage after the first has one operation less, as in P-DARTS.  `loss_val` and
    `accuracy_val` are missing in the warm-up epoch; alpha of what was pruned is -inf.
    """
    space = fake_space(kinds, nodes, ops)
    walk = _Walk(space, torch.Generator().manual_seed(seed))
    clock = Clock(0, 0, epochs, 0, epochs * steps_per_epoch)
    for stage in range(stages):
        if stage:
            space = space.restricted(space.columns[:-1])
            walk = _Walk(space, walk.generator)
        clock = Clock(stage, 0, epochs, 0, epochs * steps_per_epoch)
        split = {"weights": torch.tensor([0, 3, 4]), "arch": torch.tensor([1, 2])}
        yield ev.StageStarted(clock, space, *walk.state(), parameters=12345, split=split)
        for epoch in range(epochs):
            for step in range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch):
                clock = replace(clock, epoch=epoch, step=step)
                yield from _one_step(walk, clock, steps_per_epoch, prune=prune)
            yield _epoch_ended(walk, clock)
    yield ev.Derived(clock, walk.genotype(), walk.entropy())


def fake_evaluation(genotype: Genotype, *, epochs: int = 3) -> Iterator[ev.EvaluationEvent]:
    """An evaluation phase of `genotype` on ten classes."""
    for epoch in range(epochs):
        accuracy = 0.9 - 0.6 / (epoch + 1)
        scalars = {
            "loss_train": 1.5 / (epoch + 1),
            "accuracy_train": accuracy + 0.05,
            "lr": 0.025 * (1 - epoch / epochs),
        }
        yield ev.EpochEnded(Clock(0, epoch, epochs, epoch, epochs), scalars, 0.5, 1 << 20)
    confusion = tuple(tuple(8 if i == j else int(j == i - 1) for j in range(10)) for i in range(10))
    yield ev.Evaluated(genotype, 80 / 89, 0.91, confusion, 54321, 987654, 1.5)


def fake_run(
    path: Path | str,
    *,
    meta: Mapping[str, object] | None = None,
    kinds: Sequence[str] = ("normal", "reduce"),
    nodes: int = 2,
    epochs: int = 3,
    steps_per_epoch: int = 5,
    prune: bool = True,
    seed: int = 0,
    ops: Sequence[str] | None = None,
    stages: int = 1,
    evaluated: bool = True,
) -> Run:
    """A finished run folder of `fake_events`, with an evaluation unless `evaluated` is False."""
    from workbench.trace import open_run, record, record_evaluation

    events = fake_events(
        kinds=kinds,
        nodes=nodes,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        prune=prune,
        seed=seed,
        ops=ops,
        stages=stages,
    )
    space = "nasbench201" if tuple(kinds) == ("cell",) else "darts"
    about = {"method": "fake", "space": space, "data": "digits", "seed": seed, **(meta or {})}
    last = list(record(events, path, meta=about))[-1]
    assert isinstance(last, ev.Derived)
    if evaluated:
        recipe = {"epochs": 3, "classes": [str(digit) for digit in range(10)]}
        list(record_evaluation(fake_evaluation(last.genotype), path, recipe=recipe))
    return open_run(path)


@dataclass
class _Walk:
    """Alphas of every kind, walking at random with a drift of their own per operation."""

    space: Space
    generator: torch.Generator
    alpha: dict[str, Tensor] = field(init=False)
    alive: dict[str, Tensor] = field(init=False)
    drift: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.alpha, self.alive, self.drift = {}, {}, {}
        for cell in self.space.cells:
            shape = (len(cell.edges), len(cell.columns))
            self.alpha[cell.kind] = 1e-3 * torch.randn(shape, generator=self.generator)
            self.alive[cell.kind] = torch.tensor(cell.candidates)
            self.drift[cell.kind] = 0.1 * torch.randn(shape, generator=self.generator)

    def mix(self) -> dict[str, Tensor]:
        """Softmax over what is alive."""
        floor = -math.inf
        return {k: a.masked_fill(~self.alive[k], floor).softmax(-1) for k, a in self.alpha.items()}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Detached copies of alpha, mix and alive."""
        floor = -math.inf
        alpha = {k: a.masked_fill(~self.alive[k], floor) for k, a in self.alpha.items()}
        return alpha, self.mix(), {k: a.clone() for k, a in self.alive.items()}

    def move(self) -> None:
        for kind, alpha in self.alpha.items():
            noise = torch.randn(alpha.shape, generator=self.generator)
            self.alpha[kind] = alpha + self.drift[kind] + 0.1 * noise

    def weakest(self) -> tuple[CellShape, int, int] | None:
        """Cell, edge and column of the smallest weight where an edge has more than one left."""
        found: tuple[float, CellShape, int, int] | None = None
        for cell in self.space.cells:
            mix, alive = self.mix()[cell.kind], self.alive[cell.kind]
            open_ = alive & (alive.sum(-1, keepdim=True) > 1)
            weights = mix.masked_fill(~open_, math.inf)
            value, at = weights.min().item(), int(weights.argmin())
            if value < math.inf and (found is None or value < found[0]):
                found = (value, cell, *divmod(at, len(cell.columns)))
        return None if found is None else found[1:]

    def genotype(self) -> Genotype:
        """The two strongest inputs of every node, `none` left out; one per edge in `cell`."""
        return Genotype(tuple(self._genes(cell) for cell in self.space.cells))

    def _genes(self, cell: CellShape) -> CellGenes:
        mix = self.mix()[cell.kind].clone()
        if "none" in cell.columns and cell.kind != "cell":
            mix[:, cell.columns.index("none")] = -1.0
        best, column = mix.max(-1)
        rows = {edge: index for index, edge in enumerate(cell.edges)}
        genes: list[Gene] = []
        for node in range(cell.inputs, cell.inputs + cell.nodes):
            sources = sorted(range(node), key=lambda src: -float(best[rows[src, node]]))
            if cell.kind != "cell":
                sources = sorted(sources[:2])
            chosen = [Gene(cell.columns[int(column[rows[s, node]])], s, node) for s in sources]
            genes += [gene for gene in chosen if gene.op != "none"]
        return CellGenes(cell.kind, cell.inputs, cell.nodes, tuple(genes), cell.outputs)

    def entropy(self) -> dict[str, float]:
        """Entropy (nats) of every edge's mixing weights."""
        return {
            name: float(-torch.special.xlogy(row, row).sum())
            for cell in self.space.cells
            for name, row in zip(cell.edge_names, self.mix()[cell.kind], strict=True)
        }


def _one_step(
    walk: _Walk, clock: Clock, steps_per_epoch: int, *, prune: bool
) -> Iterator[ev.SearchEvent]:
    """A step; from the second epoch on, the last two of an epoch each lose an operation."""
    warm = clock.epoch == 0
    if not warm:
        walk.move()
    late = clock.step % steps_per_epoch >= steps_per_epoch - 2
    weakest = walk.weakest() if prune and late and not warm else None
    pruned: ev.Pruned | ev.Held | None = None
    if weakest is not None:
        cell, row, column = weakest
        weight = walk.mix()[cell.kind][row, column].item()
        walk.alive[cell.kind][row, column] = False
        name, op = cell.edge_names[row], cell.columns[column]
        pruned = ev.Pruned(clock, name, op, weight, "the smallest mixing weight")
    elif prune and late and not warm:
        name = walk.space.edge_names[0]
        pruned = ev.Held(clock, name, walk.space.columns[0], "the last operation of its edge")
    memory = (256 + clock.step) << 20
    yield ev.Stepped(clock, _scalars(clock, warm=warm), *walk.state(), memory=memory)
    if pruned is not None:
        yield pruned


def _scalars(clock: Clock, *, warm: bool) -> dict[str, Tensor | float]:
    fall = math.exp(-2 * clock.t)
    wave = 0.05 * math.sin(3 * clock.step)
    scalars: dict[str, Tensor | float] = {
        "loss_train": torch.tensor(2.3 * fall + wave),
        "accuracy_train": torch.tensor(1 - 0.9 * fall - wave),
        "lr": 0.025 * (1 - clock.t),
    }
    if not warm:
        scalars["loss_val"] = torch.tensor(2.4 * fall + 2 * wave)
        scalars["accuracy_val"] = torch.tensor(0.95 - 0.85 * fall - wave)
    return scalars


def _epoch_ended(walk: _Walk, clock: Clock) -> ev.EpochEnded:
    genotype = walk.genotype()
    genes = [gene for cell in genotype.cells for gene in cell.genes]
    parameters = 500 + sum(COST.get(gene.op, 1000) for gene in genes)
    alive = int(sum(int(alive.sum()) for alive in walk.alive.values()))
    scalars = {k: float(v) for k, v in _scalars(clock, warm=clock.epoch == 0).items()}
    return ev.EpochEnded(
        clock,
        scalars,
        seconds=0.25,
        memory=1 << 28,
        genotype=genotype,
        parameters=parameters,
        macs=50 * parameters,
        alive=alive,
        supernet_parameters=100 * alive,
    )
