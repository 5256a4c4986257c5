"""Random supernets in both forms, and whether they say the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from workbench.engine import FastSupernet
from workbench.parts.edges import AuxiliarySkip, PartialChannels, WeightedSum
from workbench.parts.schedules import Linear
from workbench.parts.single_op import SingleOp
from workbench.protocols import Edge, Mixture
from workbench.spaces import darts, nasbench201
from workbench.spaces.space import Space
from workbench.spaces.supernet import Supernet

FAMILIES = {
    "darts": (darts.darts, (*darts.OPS, "nor_conv_1x1", "nor_conv_3x3")),
    "nasbench201": (nasbench201.nasbench201, nasbench201.OPS),
}
BESIDE = AuxiliarySkip(Linear(0.7, -0.3))
EDGES: dict[str, Edge] = {
    "plain": WeightedSum,
    "partial": PartialChannels(3),
    "half": PartialChannels(2),
    "beside": BESIDE,
    "beside in partial": PartialChannels(2, BESIDE),
    "chosen": SingleOp(),
    "chosen in partial": PartialChannels(2, SingleOp()),
}
T = 0.25  # of passes, for what stands beside

# The same examples every time.  A new number of lanes is a kernel to compile: an odd width, doubled
# up to twice, needs vectors of 1, 2 and 4.
settings.register_profile(
    "engine",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=20,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
examples = settings.get_profile("engine")

AnyNet = Supernet | FastSupernet


@dataclass(frozen=True)
class Case:
    """A supernet, pictures for it, mixing weights, and what is alive; numbers are drawn by `seed`.

    `alive` is the share of operations that survive, `zeros` that of mixing weights that are 0.
    """

    space: Space
    size: tuple[int, int] = (6, 7)
    batch: int = 3
    seed: int = 0
    alive: float = 1.0
    zeros: float = 0.0
    has_beta: bool = False
    edge: str = "plain"

    def draw(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def images(self, number: int = 0) -> Tensor:
        draw = torch.Generator().manual_seed(self.seed + 1 + number)
        return torch.randn(self.batch, 3, *self.size, generator=draw, dtype=torch.float64)

    def leaves(self) -> dict[str, Tensor]:
        """Mixing weights by kind, and edge weights by `kind beta`; negative ones too."""
        draw, out = self.draw(), {}
        for cell in self.space.cells:
            size = (len(cell.edges), len(cell.columns))
            rows = torch.randn(size, generator=draw, dtype=torch.float64)
            out[cell.kind] = rows * (torch.rand(size, generator=draw) >= self.zeros)
            if self.has_beta:
                out[f"{cell.kind} beta"] = torch.randn(size[0], generator=draw, dtype=torch.float64)
        return out

    def masks(self) -> dict[str, Tensor]:
        """What is alive: one candidate of every edge at least."""
        draw, out = self.draw(), {}
        for cell in self.space.cells:
            candidates = torch.tensor(cell.candidates)
            chance = torch.rand(candidates.shape, generator=draw).masked_fill(~candidates, 2.0)
            out[cell.kind] = candidates & (
                (chance < self.alive) | (chance == chance.amin(1, keepdim=True))
            )
        return out

    def nets(self, *, drop: bool = True) -> tuple[Supernet, FastSupernet]:
        """The readable supernet and a fast one of the same weights, both in float64."""
        net, fast = pair(self.space, seed=self.seed, edge=EDGES[self.edge])
        if drop and self.alive < 1:
            net.drop(self.masks())
            fast.drop(self.masks())
        return net, fast


def pair(
    space: Space, *, seed: int = 0, dtype: torch.dtype = torch.float64, edge: Edge = WeightedSum
) -> tuple[Supernet, FastSupernet]:
    """A readable supernet, weights and statistics drawn by `seed`, and a fast one of the same."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = Supernet(space, edge=edge, classes=3).to(dtype)
    draw = torch.Generator().manual_seed(seed)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(torch.randn(norm.num_features, generator=draw))
        norm.running_var.copy_(torch.rand(norm.num_features, generator=draw) + 0.5)
    return net, FastSupernet(deepcopy(net))


@st.composite
def cases(draw: Callable) -> Case:
    """Any supernet that computes in vectors of 1, 2 or 4 numbers."""
    build, ops = FAMILIES[draw(st.sampled_from(list(FAMILIES)))]
    depth = draw(st.integers(1, 3 if build is darts.darts else 1))
    wide = build is darts.darts and depth == 1  # such a net is all reduction: 2 and 6 become 4, 12
    channels = draw(st.sampled_from((1, 2, 3, 5, 6, 7, 9) if wide else (1, 3, 5, 7, 9)))
    chosen = draw(st.lists(st.sampled_from(ops), min_size=1, unique=True))
    sizes = {"cells": depth} if build is darts.darts else {"cells_per_stage": depth}
    space = build(channels=channels, nodes=draw(st.integers(1, 3)), ops=tuple(chosen), **sizes)
    seed = draw(st.integers(0, 1000))
    if draw(st.booleans()):
        space = unequal(space, seed)
    side = st.integers(4 if wide else 5, 9)  # a batch norm of 2 numbers has hardly a gradient
    return Case(
        space,
        size=(draw(side), draw(side)),
        batch=draw(st.integers(2, 5)),
        seed=seed,
        alive=draw(st.sampled_from((1.0, 0.6, 0.3, 0.0))),
        zeros=draw(st.sampled_from((0.0, 0.4))),
        has_beta=draw(st.booleans()),
    )


@st.composite
def formed(draw: Callable) -> Case:
    """Any supernet whose edges are more than a sum; operations see 1 to 4 channels."""
    edge = draw(st.sampled_from([name for name in EDGES if name != "plain"]))
    k = getattr(EDGES[edge], "k", 1)
    in_darts = draw(st.booleans())
    depth = draw(st.integers(1, 3)) if in_darts else 1
    ops = FAMILIES["darts" if in_darts else "nasbench201"][1]
    chosen = draw(st.lists(st.sampled_from(ops), min_size=1, unique=True))
    sizes = {"cells": depth} if in_darts else {"cells_per_stage": depth}
    channels = k * draw(st.sampled_from((1, 2, 3) if depth == 1 else (1, 3)))
    build = FAMILIES["darts" if in_darts else "nasbench201"][0]
    space = build(channels=channels, nodes=draw(st.integers(1, 3)), ops=tuple(chosen), **sizes)
    seed = draw(st.integers(0, 1000))
    return Case(
        unequal(space, seed) if draw(st.booleans()) else space,
        size=(draw(st.integers(5, 9)), draw(st.integers(5, 9))),
        batch=draw(st.integers(2, 5)),
        seed=seed,
        alive=draw(st.sampled_from((1.0, 0.6, 0.3, 0.0))),
        zeros=draw(st.sampled_from((0.0, 0.4))),
        has_beta=draw(st.booleans()),
        edge=edge,
    )


def unequal(space: Space, seed: int) -> Space:
    """Every edge has candidates of its own."""
    draw = torch.Generator().manual_seed(seed)

    def some(ops: tuple[str, ...]) -> tuple[str, ...]:
        order = torch.randperm(len(ops), generator=draw).tolist()
        count = int(torch.randint(1, len(ops) + 1, (), generator=draw))
        return tuple(ops[i] for i in order[:count])

    cells = tuple(replace(c, ops=tuple(some(ops) for ops in c.ops)) for c in space.cells)
    return replace(space, cells=cells)


def mixtures(leaves: Mapping[str, Tensor]) -> dict[str, Mixture]:
    kinds = [name for name in leaves if not name.endswith(" beta")]
    return {kind: Mixture(leaves[kind], leaves.get(f"{kind} beta")) for kind in kinds}


def by_name(net: AnyNet, numbers: Sequence[Tensor]) -> dict[str, Tensor]:
    """Numbers shaped like the net's parameters, and its buffers, under the readable names."""
    old = [weight.detach().clone() for weight in net.parameters()]
    with torch.no_grad():
        for weight, number in zip(net.parameters(), numbers, strict=True):
            weight.copy_(number)
        named = {name: value.clone() for name, value in net.state_dict().items()}
        for weight, number in zip(net.parameters(), old, strict=True):
            weight.copy_(number)
    return named


def measured(
    net: AnyNet, case: Case, *, weights: bool = True, rows: bool = True
) -> dict[str, Tensor]:
    """Logits, gradients of what is asked for, and statistics after the pass, by name."""
    here = next(net.parameters()).device
    leaves = {name: x.to(here).requires_grad_(rows) for name, x in case.leaves().items()}
    for weight in net.parameters():
        weight.requires_grad_(weights)
    logits = net(case.images().to(here), mixtures(leaves), T)
    draw = torch.randn(logits.shape, generator=case.draw(), dtype=logits.dtype).to(here)
    asked = [*(net.parameters() if weights else ()), *(leaves.values() if rows else ())]
    grads = torch.autograd.grad((logits * draw).sum(), asked, materialize_grads=True)
    first = grads[: len(grads) - len(leaves)] if rows else grads
    named = by_name(net, first if weights else list(net.parameters()))
    found = dict(zip(leaves, grads[len(first) :], strict=True)) if rows else {}
    return {name: x.cpu() for name, x in {"logits": logits.detach(), **found, **named}.items()}


def assert_agree(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], tolerance: float = 1e-10
) -> None:
    """Equal to `tolerance` of each one's scale; of the others' where it is but rounding."""
    assert a.keys() == b.keys()
    most = max(float(y.abs().max()) for y in b.values() if y.numel())
    for name, x in a.items():
        y = b[name]
        assert x.shape == y.shape, name
        if not x.numel():
            continue
        gap, scale = float((x - y).abs().max()), max(float(y.abs().max()), 1e-3 * most)
        assert gap <= tolerance * scale, f"{name}: {gap} apart, of {scale}"
