"""What step.py and gpu.py measure: rows of a table, and a search that takes single steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workbench import Machine, darts, load, methods, nasbench201
from workbench.data import Augment, Data, ImageSet
from workbench.method import Method
from workbench.protocols import Rows
from workbench.pruning import remove
from workbench.search import Run
from workbench.spaces.space import Space

METHODS = {
    "first order": "darts",
    "second order": "darts_second_order",
    "single level": "single_level",
}
SEARCHED = [name for name, method in methods.named().items() if isinstance(method, Method)]
SHARES = (1.0, 0.5, 0.25, 0.0)
WARM_UP = 6  # steps on a GPU: where whole steps are captured, the fourth of each kind is
AT_ONCE = 4  # steps on a GPU between two looks at the clock


@dataclass(frozen=True)
class Row:
    """A step worth measuring: `side` is that of random colour pictures, None takes digits.

    `shares` are how much of the candidates is alive, 0 is one per edge.
    """

    name: str
    method: str
    space: Space
    side: int | None
    batch: int
    shares: tuple[float, ...] = (1.0,)


def rows(
    *, quick: bool, batch: int | None, on_gpu: bool, of: Sequence[str] | None = None
) -> list[Row]:
    """Every row, in the order of the table; `batch` in place of each row's own.

    Args:
        of: methods by their names, in place of the table's three.
    """
    searched = METHODS if of is None else {name: name for name in of}
    sizes: list[tuple[str, Space, int | None, int]] = [
        ("darts C=16 L=8", darts(), 32, 64 if on_gpu else 16),
        ("nasbench201 C=16 N=5", nasbench201(), 32, 64 if on_gpu else 16),
        ("digits C=4 L=8", darts(channels=4), None, 64),
        ("digits C=8 L=3", darts(channels=8, cells=3), None, 64),
    ]
    if quick:
        sizes = [
            ("darts C=16 L=3 16x16", darts(cells=3), 16, 8),
            ("nasbench201 C=16 N=1 16x16", nasbench201(cells_per_stage=1), 16, 8),
            ("digits C=8 L=3", darts(channels=8, cells=3), None, 16),
        ]
    out = []
    for size, space, side, usual in sizes:
        for order, method in searched.items():
            shares = SHARES if not out else SHARES[:1]
            images = batch or usual
            name = f"{size} {order}, batch {images}"
            out.append(Row(name, method, space, side, images, shares))
    return out


@dataclass(frozen=True)
class Case:
    """A row at one share alive, on one machine; `variant` is that machine's name in the table."""

    row: Row
    share: float
    machine: Machine
    variant: str = "fast"


def clock_of(machine: Machine) -> Callable[[], float]:
    """The processor's on one thread of a CPU, where other programs then do not count; else wall."""
    alone = machine.torch_device.type == "cpu" and machine.threads == 1
    return time.process_time if alone else time.perf_counter


class Search:
    """A running search that takes whole steps."""

    def __init__(self, case: Case) -> None:
        case.machine.prepare()
        self.case, row, self.taken = case, case.row, 0
        self.logs: dict[str, Tensor | float] = {}
        method = getattr(methods, row.method).but(batch_size=row.batch)
        self.run = run = Run(method, 0, row.space, pictures(row), case.machine, 0, None)
        if case.share < 1:
            alive = {
                kind: mask.to(run.device) for kind, mask in some(row.space, case.share).items()
            }
            remove(run.net, run.arch, run.weight_optimizer, run.arch_optimizer, alive)
            run.mix = run.arch.mix(0.0)  # of what is left, as the first step asks

    def step(self) -> None:
        """Take one."""
        self.logs, _ = self.run.step(replace(self.run.clock, step=self.taken))
        self.taken += 1

    def timed(self, work: Callable[[], object]) -> float:
        """Its seconds."""
        if self.on_gpu:  # how products are rounded is torch's, per process, and others set it too
            self.case.machine.prepare()
        clock = clock_of(self.case.machine)
        began = clock()
        work()
        if self.on_gpu:
            torch.cuda.synchronize()
        return clock() - began

    def turn(self) -> float:
        """Seconds of a step; on a GPU the mean of several, as no search waits after each for it."""
        if not self.on_gpu:
            return self.timed(self.step)
        return self.timed(lambda: [self.step() for _ in range(AT_ONCE)]) / AT_ONCE

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on one."""
        return self.run.device.type == "cuda"

    def warm_up(self) -> None:
        """Compile kernels, fill optimizer states, capture what is captured."""
        for _ in range(WARM_UP if self.on_gpu else 1):
            self.step()

    @property
    def alive(self) -> float:
        """The share of the candidates that is."""
        alive = sum(int(mask.sum()) for mask in self.run.arch.alive.values())
        return alive / sum(len(ops) for cell in self.run.space.cells for ops in cell.ops)


def pictures(row: Row) -> Data:
    """Digits, or random pictures augmented as CIFAR-10 is."""
    if row.side is None:
        return load("digits")
    size, generator = (max(512, 4 * row.batch), 3, row.side, row.side), torch.Generator()
    pixels = torch.randint(256, size, dtype=torch.uint8, generator=generator.manual_seed(0))
    images = ImageSet(pixels, torch.arange(len(pixels)) % 10)
    half, names = (0.5, 0.5, 0.5), tuple("0123456789")
    return Data("random", names, images, images, half, half, Augment(crop_padding=4, flip=True))


def some(space: Space, share: float) -> Rows:
    """A random `share` of the candidates, at least one per edge and that not `none`."""
    generator, scores = torch.Generator().manual_seed(0), {}
    for cell in space.cells:
        candidates = torch.tensor(cell.candidates)
        rows = torch.rand(candidates.shape, generator=generator).masked_fill(~candidates, -2.0)
        worth = rows - torch.tensor([op == "none" for op in cell.columns]).float()
        scores[cell.kind] = rows.scatter_add(
            1, worth.argmax(1, keepdim=True), torch.ones_like(rows)
        )
    flat = torch.cat([rows.flatten() for rows in scores.values()])
    count = max(sum(map(len, scores.values())), round(share * int((flat >= 0).sum())))
    least = flat.topk(count).values[-1]
    return {kind: rows >= least for kind, rows in scores.items()}
