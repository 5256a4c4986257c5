"""TE-NAS: prune the operations whose loss helps a random supernet most, by two measures."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from workbench.leaving import may_leave
from workbench.protocols import Batch, Edge, Mixture, Proxy, Rows, View
from workbench.spaces.resize import resized
from workbench.spaces.space import CellShape, Space
from workbench.spaces.supernet import Supernet
from workbench.zero_cost.crop_regions import CropRegions
from workbench.zero_cost.kernel_scores import ConditionNumber

_INPUTS = 2  # edges that the DARTS family keeps into a node
_SIGNIFICANT = 3  # digits of a change that are told apart, as published

Fan = Literal["fan_in", "fan_out"]

_CONDITION, _REGIONS = ConditionNumber(), CropRegions()


class Place(NamedTuple):
    """An operation of an edge: its kind of cell, row and column."""

    kind: str
    edge: int
    op: int


class Change(NamedTuple):
    """What taking an operation out does, relative to before: (before - after) / before."""

    condition: float
    regions: float


@dataclass(frozen=True)
class TeNas:
    """Every round each edge loses the operation whose loss leaves the best thin supernet.

    Better is a smaller condition number of the tangent kernel (trainable) and more linear regions
    (expressive).  All operations of a round are ranked by the change of each, equal changes
    sharing a rank, and on every edge the one with the smallest sum of ranks goes.  `none` goes in
    the first round, unmeasured.  The last round leaves one operation an edge and then, in the DARTS
    family, node by node, two edges into it by the same ranks.  A stage of as many epochs as
    operations less one takes one per epoch; any other number spreads the same removals.

    Both networks of a change have the same random weights, Kaiming fan-out for the kernel and
    fan-in for the regions, averaged over `repeats`.  Both see the last batch of the search, or
    Gaussian pictures where there is none.  A round measures every operation alive: 756 in all in
    the DARTS space, and 24 edges; 54 in NAS-Bench-201's; times `repeats`.

    Args:
        edge: how the thin supernet combines operations; their weights are equal.
        condition, regions: the measures; less of the first is better, more of the second.
        channels: of the supernet for the kernel.
        thin: channels of the supernet for the regions, which has a cell of each kind.
        cells: depth of the other; by default a normal cell between reductions, or one a stage.
        batch_size: pictures of a kernel, at most; regions see crops of the whole batch.

    Chen et al., TE-NAS, ICLR 2021, arXiv:2102.11535.  Differs: the released code has no stem where
    it counts regions, its search on the DARTS space has one channel for the kernel too and 2 cells,
    and it gives every measured change weights of its own; here those of a round share them.
    """

    every: ClassVar[Literal["step", "epoch"]] = "epoch"

    edge: Edge
    condition: Proxy = _CONDITION
    regions: Proxy = _REGIONS
    channels: int = 3
    thin: int = 1
    cells: int | None = None
    batch_size: int = 14
    repeats: int = 3

    def __post_init__(self) -> None:
        for name in ("channels", "thin", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"`TeNas({name}={getattr(self, name)})` must be 1 or more")
        if self.batch_size < 2:
            raise ValueError(
                f"`TeNas(batch_size={self.batch_size})`: a condition number needs 2 pictures"
            )

    def __call__(self, view: View) -> dict[str, Tensor]:
        """The new `alive`, `{kind: bool (edges, ops)}`."""
        device = next(iter(view.alive.values())).device
        alive = {kind: rows.cpu() for kind, rows in view.alive.items()}
        target = _left(view)
        draws = torch.Generator().manual_seed(view.seed * 1_000_003 + view.clock.epoch)
        first = alive = _without_none(view.space, alive)
        while places := _crowded(alive, target):
            alive = _without(alive, self._worst_of_edges(view, alive, places, draws))
        last = view.clock.epoch + 1 == view.clock.epochs
        if last and view.space.family == "darts":
            for cell in view.space.cells:
                for node in range(cell.inputs, cell.inputs + cell.nodes):
                    alive = self._two_edges(view, alive, cell, node, draws)
        if alive is first and all(torch.equal(alive[k], view.alive[k].cpu()) for k in alive):
            return dict(view.alive)
        return {kind: rows.to(device) for kind, rows in alive.items()}

    def _worst_of_edges(
        self, view: View, alive: Rows, places: Sequence[Place], draws: torch.Generator
    ) -> list[Place]:
        """Per edge the operation with the smallest sum of ranks; ties go to the earlier one."""
        ranks = sum_of_ranks(self.changes(view, alive, places, draws))
        worst: dict[tuple[str, int], Place] = {}
        for place in sorted(places, key=lambda place: ranks[place]):
            worst.setdefault((place.kind, place.edge), place)
        return list(worst.values())

    def _two_edges(
        self, view: View, alive: Rows, cell: CellShape, node: int, draws: torch.Generator
    ) -> Rows:
        """`alive` with at most two edges into `node`."""
        into = [index for index, (_, dst) in enumerate(cell.edges) if dst == node]
        rows = alive[cell.kind]
        places = [Place(cell.kind, e, int(rows[e].int().argmax())) for e in into if rows[e].any()]
        if len(places) <= _INPUTS:
            return alive
        ranks = sum_of_ranks(self.changes(view, alive, places, draws))
        ordered = sorted(places, key=lambda place: ranks[place])
        return _without(alive, ordered[: len(places) - _INPUTS])

    def changes(
        self, view: View, alive: Rows, places: Sequence[Place], draws: torch.Generator
    ) -> dict[Place, Change]:
        """The mean change that taking out each of `places` makes."""
        batch = self._batch(view, draws)
        few = Batch(batch.images[: self.batch_size], batch.labels[: self.batch_size])
        wide, thin = self._spaces(view.space)
        jobs: list[tuple[Proxy, Space, int, Batch, Fan]] = [
            (self.condition, wide, batch.images.shape[1], few, "fan_out"),
            (self.regions, thin, 1, batch, "fan_in"),
        ]
        means: list[dict[Place, float]] = []
        for measure, space, pictured, batch, mode in jobs:
            sums = dict.fromkeys(places, 0.0)
            for _ in range(self.repeats):
                net = self._supernet(space, pictured, mode, draws).to(batch.images.device)
                seed = int(torch.randint(2**31, (), generator=draws))
                before = _measured(measure, net, alive, batch, seed)
                for place in places:
                    after = _measured(measure, net, _without(alive, [place]), batch, seed)
                    sums[place] += (before - after) / before if before else before - after
            means.append({place: total / self.repeats for place, total in sums.items()})
        return {place: Change(means[0][place], means[1][place]) for place in places}

    def _batch(self, view: View, draws: torch.Generator) -> Batch:
        """The last batch of the search, or Gaussian pictures, in float32."""
        given = view.trial.batch if view.trial else None
        if given is not None:
            return Batch(given.images.detach().float(), given.labels)
        device = next(iter(view.alive.values())).device
        images = torch.randn(self.batch_size, 3, 32, 32, generator=draws).to(device)
        return Batch(images, torch.zeros(self.batch_size, dtype=torch.long, device=device))

    def _spaces(self, space: Space) -> tuple[Space, Space]:
        """The space of the kernel's supernet and of that of the regions, which is cut short."""
        darts = space.family == "darts"
        cells = self.cells or (5 if darts else 1)  # N R N R N, or one a stage
        wide = resized(space, channels=self.channels, cells=cells)
        thin = resized(space, channels=self.thin, cells=cells)
        return wide, replace(thin, layers=thin.layers[: 2 if darts else 1])

    def _supernet(self, space: Space, pictured: int, mode: Fan, draws: torch.Generator) -> Supernet:
        """A supernet at Kaiming weights, drawn on the CPU."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=draws)))
            net = Supernet(space, edge=self.edge, in_channels=pictured)
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, 0.0, mode, "relu", draws)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        return net


class Thin(nn.Module):
    """A supernet with only `alive` operations, at equal weights; returns logits."""

    def __init__(self, net: Supernet, alive: Rows) -> None:
        super().__init__()
        self.net, self.alive = _with_weights_of(net), alive
        self.net.drop(alive)
        weight = next(net.parameters())
        self.mixtures: Mapping[str, Mixture] = {
            kind: Mixture((rows / rows.sum(dim=1, keepdim=True).clamp_min(1)).to(weight))
            for kind, rows in alive.items()
        }

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch, classes)`."""
        return self.net(images, self.mixtures, 0.0)


def _with_weights_of(net: nn.Module) -> Any:
    """Modules of its own, of which some can be dropped, around weights that are not copied."""
    out = copy.copy(net)
    out._modules = {name: child and _with_weights_of(child) for name, child in net._modules.items()}
    return out


def _measured(measure: Proxy, net: Supernet, alive: Rows, batch: Batch, seed: int) -> float:
    """A measure of the supernet with what is alive; the same seed draws the same pictures."""
    may_leave()  # a round of them takes an hour or more
    generator = torch.Generator(batch.images.device).manual_seed(seed)
    return measure(Thin(net, alive), batch, generator)


def sum_of_ranks(changes: Mapping[Place, Change]) -> dict[Place, int]:
    """Rank by each change, 0 first to go, added up: condition falls most, regions grow most.

    Changes equal in three significant digits share a rank, and the next one is one more.
    """
    falls = {place: -_rounded(change.condition) for place, change in changes.items()}
    grows = {place: _rounded(change.regions) for place, change in changes.items()}
    orders = [sorted(set(each.values())) for each in (falls, grows)]
    return {
        place: orders[0].index(falls[place]) + orders[1].index(grows[place]) for place in changes
    }


def _rounded(value: float) -> float:
    """To three significant digits; a change that is no number is no change."""
    return float(f"{value:.{_SIGNIFICANT - 1}e}") if math.isfinite(value) else 0.0


def _left(view: View) -> int:
    """Operations that this round leaves on an edge."""
    most = max(len(ops) for cell in view.space.cells for ops in cell.ops)
    return 1 + round((most - 1) * (1 - (view.clock.epoch + 1) / view.clock.epochs))


def _without_none(space: Space, alive: Rows) -> dict[str, Tensor]:
    """`alive` without `none` wherever an edge has something else."""
    out = {}
    for cell in space.cells:
        useful = torch.tensor([op != "none" for op in cell.columns])
        rows = alive[cell.kind]
        out[cell.kind] = torch.where((rows & useful).any(dim=1, keepdim=True), rows & useful, rows)
    return out


def _crowded(alive: Rows, target: int) -> list[Place]:
    """Every operation on an edge that has more than `target`."""
    return [
        Place(kind, edge, op)
        for kind, rows in alive.items()
        for edge, op in (rows & (rows.sum(dim=1, keepdim=True) > target)).nonzero().tolist()
    ]


def _without(alive: Rows, places: Sequence[Place]) -> dict[str, Tensor]:
    out = {kind: rows.clone() for kind, rows in alive.items()}
    for kind, edge, op in places:
        out[kind][edge, op] = False
    return out
