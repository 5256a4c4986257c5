"""Zen(F) = beta1 log(NTK) + beta2 BN: as an objective without labels, a score, and first alphas.

Zhang, "A Zero-Cost DARTS Base on Multi-Step Optimization", eq. 10 (paper A).  What the paper leaves
open, and which reading is ours, is in docs/zero_cost.md.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from workbench.protocols import Batch, BoundNet, Loss, Mixture, Mixtures, SupernetLike
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import Network
from workbench.spaces.space import CellShape, Space
from workbench.spaces.supernet import Supernet
from workbench.zero_cost.batch_norm import Source, batch_norm_variances, bn_term
from workbench.zero_cost.kernels import SCALARS, ScalarName, log_ntk, network_log_ntk, ntk


@dataclass(frozen=True)
class ZenObjective:
    """Ascent on the Zen-score: the loss is -Zen(F) of a fresh Gaussian batch; no label is read.

    Zen(F) = beta1 log(NTK) + beta2 BN

    Differentiable in weights and mixing weights.  It has no optimum: batch norm makes it grow with
    the scale of the weights for ever, so guard them (`Sgd(keep_norms=True)`).

    Args:
        beta1: weight of the kernel's term; positive asks for the better kernel, whatever `ntk`.
        beta2: weight of the batch-norm term.
        ntk: the scalar of the kernel that stands for NTK, a key of `SCALARS`.  A step costs one
            double backward for "mean" and "lmin", two for "cond", `batch_size` for the others.
            "mean" is a constant wherever logits average out over a batch: in every DARTS supernet.
        batch_size: Gaussian pictures per step.
        probes: None for the exact gradient; else that many double backwards for an unbiased
            estimate of it (see `network_log_ntk`).
        bn: "batch" variances, or those of the "running" statistics, which have no gradient.

    Paper A, eq. 10 and section 3.3.  Betas and the scalar are not given: the defaults are ours.
    """

    needs_data: ClassVar[bool] = False
    opens_net: ClassVar[bool] = True  # to read variances before batch norms

    beta1: float = 1.0
    beta2: float = 1.0
    ntk: ScalarName = "fro"
    batch_size: int = 16
    bn: Source = "batch"
    probes: int | None = None

    def __post_init__(self) -> None:
        for field, known in (("ntk", tuple(SCALARS)), ("bn", get_args(Source))):
            value = getattr(self, field)
            if value not in known:
                raise ValueError(f"`ZenObjective({field}={value!r})`: choose {', '.join(known)}")
        if self.batch_size < 2:
            raise ValueError(
                f"`ZenObjective(batch_size={self.batch_size})` needs 2 or more pictures: a kernel "
                "of one has no spread and batch norm no variance"
            )
        if self.probes is not None and self.probes < 1:
            raise ValueError(f"`ZenObjective(probes={self.probes})`: 1 or more, or None for exact")
        if not (math.isfinite(self.beta1) and math.isfinite(self.beta2)):
            raise ValueError(f"beta1={self.beta1} and beta2={self.beta2} must be finite")

    def __call__(
        self,
        net: BoundNet,
        mixtures: Mixtures,
        batch: Batch | None,
        t: float,
        generator: torch.Generator,
    ) -> Loss:
        """-Zen of `net`; logs `zen` and its two terms.  `batch` is not looked at."""
        weights = [weight for weight in net.weights if weight.requires_grad]
        if not weights:
            raise ValueError("`ZenObjective` needs weights that require a gradient: the kernel's")
        images = _gaussian((self.batch_size, *net.input_shape), weights[0], generator)
        signs = None if self.probes is None else _signs(self.probes, images, generator)
        rows = [x for m in mixtures.values() for x in (m.ops, m.edges) if x is not None]
        with torch.enable_grad():  # the kernel is made of gradients, even of a loss without one
            with batch_norm_variances(net.module, self.bn) as variances:
                logits = net(images, mixtures, t)
            kernel = network_log_ntk(logits, weights, self.ntk, others=rows, signs=signs)
            kernel, spread = kernel.to(logits.dtype), bn_term(variances).to(logits)
            zen = self.beta1 * kernel + self.beta2 * spread
        logs = {"zen": zen.detach(), "log_ntk": kernel.detach(), "bn_term": spread.detach()}
        return Loss(-zen if torch.is_grad_enabled() else -zen.detach(), logs)


@dataclass(frozen=True)
class ZenScore:
    """A score, averaged over repeats.

    `zen` has a standard error, NaN of one repeat; `scalars` holds every scalar of the kernel.
    """

    zen: float
    zen_error: float
    log_ntk: float
    bn_term: float
    scalars: Mapping[str, float]


def zen_score(
    genotype: Genotype,
    *,
    channels: int,
    cells: int,
    in_channels: int = 3,
    size: tuple[int, int] = (32, 32),
    classes: int = 10,
    beta1: float = 1.0,
    beta2: float = 1.0,
    ntk: ScalarName = "fro",
    batch_size: int = 16,
    init: Literal["network", "normal"] = "network",
    repeats: int = 1,
    seed: int = 0,
    device: str = "cpu",
) -> ZenScore:
    """The Zen-score of a genotype's network at random weights on Gaussian pictures, larger better.

    Args:
        init: "network", the weights `Network` starts training from; "normal", N(0, 1) for every
            convolution and classifier as in Zen-NAS.  It decides whether the batch-norm term rises
            or falls with depth (docs/zero_cost.md).
        repeats: new weights and pictures each time.
        seed: same seed, same score; torch's global random state is left as it was.
    """
    zen = ZenObjective(beta1, beta2, ntk, batch_size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        measured = []
        for _ in range(_at_least_one(repeats)):
            net = Network(
                genotype, channels=channels, cells=cells, in_channels=in_channels, classes=classes
            )
            if init == "normal":
                net.apply(normal_weights)
            images = torch.randn(batch_size, in_channels, *size)
            net, images = net.to(device), images.to(device)
            measured.append(_measure(zen, net, lambda net=net, x=images: net(x)[0]))
    return _mean(measured)


def supernet_zen_score(
    net: Supernet,
    mixtures: Mixtures,
    *,
    input_shape: tuple[int, int, int],
    t: float = 0.0,
    zen: ZenObjective | None = None,
    repeats: int = 1,
    seed: int = 0,
) -> ZenScore:
    """The Zen-score of a supernet at its own weights, under `mixtures`.

    Operations whose mixing weight is exactly 0 are left out, so that the batch-norm term counts
    what takes part; one-hot mixtures give the score of a sub-architecture.  `net` is not changed.

    Args:
        input_shape: channels, height and width of the Gaussian pictures.
        zen: the formula; its defaults.
        repeats: new pictures each time.
        seed: of the pictures.
    """
    zen, net = zen or ZenObjective(), copy.deepcopy(net)
    net.drop({kind: mixture.ops != 0 for kind, mixture in mixtures.items()})
    weight = next(net.parameters())
    generator = torch.Generator().manual_seed(seed)
    measured = []
    for _ in range(_at_least_one(repeats)):
        images = torch.randn(zen.batch_size, *input_shape, generator=generator).to(weight)
        measured.append(_measure(zen, net, lambda x=images: net(x, mixtures, t)))
    return _mean(measured)


@dataclass(frozen=True)
class ZenInit:
    """First alphas from scores alone: the label-free reading that trains nothing.

    alpha[edge, op] = scale * mean z-score of the sampled sub-architectures with op on that edge

    Every candidate of an edge is in equally many samples (give or take one), in random company;
    all are scored on the same Gaussian pictures at the supernet's first weights.

    Args:
        samples: sub-architectures.
        scale: logits per standard deviation of the score.
        size: height and width of the Gaussian pictures.
        zen: the formula; its defaults.
    """

    samples: int = 64
    scale: float = 1.0
    size: tuple[int, int] = (32, 32)
    zen: ZenObjective = ZenObjective()

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ValueError(f"`ZenInit(samples={self.samples})` needs 2 or more to compare")

    def __call__(
        self, space: Space, net: SupernetLike, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """`{kind: (edges, ops)}`, 0 for an operation that was never drawn."""
        if not isinstance(net, Supernet):
            raise TypeError(f"`ZenInit` scores a `Supernet`, not a {type(net).__name__}")
        seed = int(torch.randint(2**31, (), generator=generator))
        onehots = {cell.kind: _draws(cell, self.samples, generator) for cell in space.cells}
        weight = next(net.parameters())
        shape = (_in_channels(net), *self.size)
        scores = []
        for index in range(self.samples):
            mixtures = {kind: Mixture(rows[index].to(weight)) for kind, rows in onehots.items()}
            score = supernet_zen_score(net, mixtures, input_shape=shape, zen=self.zen, seed=seed)
            scores.append(score.zen)
        z = torch.tensor(scores, dtype=torch.float64)
        z = (z - z.mean()) / z.std().clamp_min(torch.finfo(z.dtype).tiny)
        return {kind: self.scale * _means(rows, z) for kind, rows in onehots.items()}


def _gaussian(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)


def _signs(probes: int, images: Tensor, generator: torch.Generator) -> Tensor:
    shape = (probes, len(images))
    return 2 * torch.randint(2, shape, generator=generator, device=images.device) - 1


def _draws(cell: CellShape, samples: int, generator: torch.Generator) -> Tensor:
    """One-hot rows `(samples, edges, ops)`: a shuffled deck of candidates for every edge."""
    rows = torch.zeros(samples, len(cell.edges), len(cell.columns))
    for edge, ops in enumerate(cell.ops):
        deck = torch.randperm(samples, generator=generator) % len(ops)
        columns = torch.tensor([cell.columns.index(op) for op in ops])
        rows[torch.arange(samples), edge, columns[deck]] = 1.0
    return rows


def _means(rows: Tensor, z: Tensor) -> Tensor:
    """Mean of `z` `(samples,)` over the samples that hold each operation, `(edges, ops)`."""
    total = torch.einsum("seo,s->eo", rows.to(z.dtype), z)
    return (total / rows.sum(dim=0).clamp_min(1)).to(rows.dtype)


def _measure(zen: ZenObjective, net: nn.Module, forward: Callable[[], Tensor]) -> dict[str, float]:
    """`zen`, its terms and the kernel's scalars of one pass."""
    with torch.enable_grad(), batch_norm_variances(net, zen.bn) as variances:
        logits = forward()
    kernel = ntk(logits, [weight for weight in net.parameters() if weight.requires_grad])
    term, spread = float(log_ntk(kernel, zen.ntk)), float(bn_term(variances).detach())
    out = {"zen": zen.beta1 * term + zen.beta2 * spread, "log_ntk": term, "bn_term": spread}
    return out | {name: float(scalar.value(kernel)) for name, scalar in SCALARS.items()}


def _mean(measured: list[dict[str, float]]) -> ZenScore:
    columns = {
        name: torch.tensor([row[name] for row in measured], dtype=torch.float64)
        for name in measured[0]
    }
    means = {name: float(column.mean()) for name, column in columns.items()}
    error = float(columns["zen"].std()) / len(measured) ** 0.5 if len(measured) > 1 else math.nan
    return ZenScore(
        means.pop("zen"), error, means.pop("log_ntk"), means.pop("bn_term"), scalars=means
    )


def _at_least_one(repeats: int) -> int:
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    return repeats


def normal_weights(module: nn.Module) -> None:
    """Zen-NAS's weights for a module: N(0, 1), no shift; for `net.apply`."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _in_channels(net: nn.Module) -> int:
    return next(m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d))
