"""What pruning saves: the measured time of a step against the share of operations still alive.

    python benchmarks/pruning.py [--quick] [--device cpu] [--threads 1]

A truth is planted: every operation of every edge has a random price, one of them none.  The search
prunes the dear ones first and ends with the free one alone, so all shares between are met.  Times
are medians, of the processor on a CPU (other programs do not count) and by the clock on a GPU.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import median

import torch

from workbench import Machine, darts, load, methods
from workbench.data import Data, ImageSet
from workbench.events import Stepped
from workbench.parts.objectives import CrossEntropy
from workbench.protocols import Loss, Rows
from workbench.search import search

ENDS = (1.0, 0.75, 0.5, 0.25, 0.13, 0.0)  # lower ends of the shares that are told apart


@dataclass(frozen=True)
class Priced:
    """Cross-entropy plus the price of every edge's mixing weights."""

    prices: Rows
    needs_data = True
    opens_net = False

    def __call__(self, net, mixtures, batch, t, generator) -> Loss:
        """The loss on `batch`."""
        loss = CrossEntropy()(net, mixtures, batch, t, generator)
        bills = [(mixtures[kind].ops * prices).sum() for kind, prices in self.prices.items()]
        return Loss(loss.value + torch.stack(bills).sum(), loss.logs)


def pictures(side: int) -> Data:
    """Digits, every pixel a square, so that pictures are `side` wide."""
    data, scale = load("digits"), torch.ones(side // 8, side // 8, dtype=torch.uint8)
    train, test = (
        ImageSet(torch.kron(part.images, scale), part.labels) for part in (data.train, data.test)
    )
    return replace(data, train=train, test=test)


def measure(options: argparse.Namespace) -> dict[float, list[tuple[float, float]]]:
    """Share alive and seconds of every step, by the share's lower end; finds the planted truth."""
    space = darts(channels=8, cells=3, nodes=2 if options.quick else 4)
    generator = torch.Generator().manual_seed(0)
    prices = {c.kind: 3 * torch.rand(len(c.edges), 8, generator=generator) for c in space.cells}
    for rows in prices.values():
        rows.scatter_(1, torch.randint(1, 8, (len(rows), 1), generator=generator), -1.0)
    method = methods.entmax2_prune.but(
        objective=Priced({kind: rows.to(options.device) for kind, rows in prices.items()}),
        arch_optimizer=lambda params: torch.optim.SGD(params, lr=0.015),
        batch_size=8,
        epochs=1,
    )
    on_gpu = options.device.startswith("cuda")
    clock = time.perf_counter if on_gpu else time.process_time
    machine = Machine(options.device, threads=options.threads, kernel_threads=options.threads)
    data = pictures(8 if options.quick else 32)
    found, share, began = defaultdict(list), 1.0, clock()
    for event in search(method, space, data, machine=machine):
        if on_gpu:
            torch.cuda.synchronize()
        if isinstance(event, Stepped):
            if event.clock.step:  # the first one builds caches
                found[next(end for end in ENDS if share >= end)].append((share, clock() - began))
            masks = {kind: mask.cpu() for kind, mask in event.alive.items()}
            share = float(torch.cat([mask.flatten() for mask in masks.values()]).double().mean())
        began = clock()
    for kind, rows in prices.items():
        assert torch.equal(masks[kind], rows < 0), "the planted truth was not found"
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small cells and pictures")
    parser.add_argument("--device", default="cpu", help="a torch device")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measure(options)
    full = median(seconds for _, seconds in found[1.0])
    print(f"{'alive':>6} {'steps':>6} {'median ms':>10} {'of a full step':>15}")
    for end in (end for end in ENDS if found[end]):
        share, here = (median(column) for column in zip(*found[end], strict=True))
        print(f"{share:6.0%} {len(found[end]):6} {1e3 * here:10.1f} {here / full:15.2f}")


if __name__ == "__main__":
    main()
