"""Where numbers stopped being finite: looked for once, after a search has diverged."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workbench.bilevel import frozen_statistics
from workbench.protocols import Batch, Mixture
from workbench.spaces.supernet import SearchCell, Supernet
from workbench.supernets import first_supernet, take_over

if TYPE_CHECKING:
    from workbench.run import Run


@dataclass(frozen=True)
class Place:
    """A place of the supernet: `edge` of the `cell`-th block after the stem, perhaps one `op`.

    What is on no edge, such as the stem, has its name in `part` only.
    """

    part: str = ""
    edge: str | None = None
    cell: int | None = None
    op: str | None = None


def in_forward(run: Run, batch: Batch | None) -> Place:
    """The first place, in the order of the forward pass, whose output is not finite.

    The pass is made again on `batch`, with a copy of the generator; statistics stay as they are.
    """
    if batch is None:
        return Place()
    net, own = run.readable(), torch.Generator(run.device)
    own.set_state(run.generator.get_state())
    if not _all_finite(batch.images):
        return Place("the batch")
    found: list[Place] = []
    handles = list(_watched(net, found))
    try:
        with torch.no_grad(), frozen_statistics(net), run.machine.autocast():
            net(batch.images, run.arch.mixtures(run.clock.t, own), run.clock.t)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else Place()


def _watched(net: Supernet, found: list[Place]) -> Iterator[RemovableHandle]:
    """Hooks on every named place of `net`; an operation ends before its edge does."""

    def look(module: nn.Module, place: Place) -> RemovableHandle:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            parts = output if isinstance(output, tuple) else (output,)
            if not all(_all_finite(x) for x in parts if isinstance(x, Tensor)):
                found.append(place)

        return module.register_forward_hook(hook)

    for name, module in net.named_modules():
        place = place_of(net, name)
        is_op = place.op is not None and name.endswith(f".{place.op}")
        is_edge = place.edge is not None and name.count(".") == 3
        if is_op or is_edge or name in ("stem", "head") or ".preprocess." in f"{name}.":
            yield look(module, place)


def in_gradients(run: Run, grads: Sequence[Tensor]) -> Place:
    """The last place, in the order of the forward pass, whose weights' gradient is not finite.

    Gradients flow backwards: what was broken there has broken everything before it.
    """
    broken = copy.deepcopy(run.net)
    with torch.no_grad():
        for own, grad in zip(broken.parameters(), grads, strict=True):
            own.copy_(grad)
    if isinstance(broken, Supernet):
        net = broken
    else:  # its packed weights are told apart again as the readable supernet's
        fresh = first_supernet(run.stage, run.space, run.data, run.machine, 0)
        net = take_over(fresh, broken, run.arch.alive)
    bad = [name for name, grad in net.named_parameters() if not _all_finite(grad)]
    return place_of(net, bad[-1]) if bad else Place()


def in_rows(run: Run, bad: Mapping[str, Tensor]) -> Place:
    """The first edge for which `bad` `{kind: (edges,)}` is True."""
    for cell in run.space.cells:
        for name, wrong in zip(cell.edge_names, bad[cell.kind].tolist(), strict=True):
            if wrong:
                return Place(edge=name)
    return Place()


def in_alpha_gradients(run: Run, grads: Sequence[Tensor]) -> Place:
    """The first edge, or node of a kind that weighs edges, whose gradient is not finite."""
    count = len(run.space.kinds)
    alphas = dict(zip(run.space.kinds, grads[:count], strict=True))
    place = in_rows(run, {kind: ~grad.isfinite().all(dim=1) for kind, grad in alphas.items()})
    betas = [kind for kind in run.space.kinds if kind in run.arch.beta]
    for kind, grad in zip(betas, grads[count:], strict=True):
        for row, fine in enumerate(grad.isfinite().all(dim=1).tolist()):
            if not fine and place.edge is None:
                return Place(f"edges into node {run.space.cell(kind).inputs + row} of {kind}")
    return place


def invalid_rows(mix: Mapping[str, Mixture], alive: Mapping[str, Tensor], row_sum: str) -> Tensor:
    """Which rows are no mixing weights: bool `(all edges,)`, kind after kind.

    A valid row is finite and not negative, and 0 where not alive.  Where something is alive its sum
    is what `row_sum` (`protocols.Relaxation`) says, up to the root of the number format's epsilon.
    """
    bad = []
    for kind, mixture in mix.items():
        rows, mask = mixture.ops, alive[kind]
        total, some = rows.sum(dim=-1), mask.any(dim=-1)
        wrong = ~((rows.amin(dim=-1) >= 0) & (total < torch.inf))  # NaN compares as False
        wrong |= (rows.masked_fill(mask, 0) != 0).any(dim=-1)
        if row_sum == "one":
            wrong |= some & ((total - 1).abs() > torch.finfo(rows.dtype).eps ** 0.5)
        elif row_sum == "positive":
            wrong |= some & ~(total > 0)
        if mixture.edges is not None:
            wrong |= ~(mixture.edges.isfinite() & (mixture.edges >= 0))
        bad.append(wrong)
    return torch.cat(bad)


@dataclass(frozen=True)
class BrokenRule:
    """What mixing weights have to be and are not: a `rule`, what was `met`, and whose they are."""

    rule: str
    met: str
    of_edges: bool = False  # of the weights of edges, no relaxation's


def broken_rule(
    mix: Mapping[str, Mixture], alive: Mapping[str, Tensor], row_sum: str
) -> BrokenRule | None:
    """The first rule of `invalid_rows` that is not kept; waits for the device."""
    for kind, mixture in mix.items():
        rows, mask = mixture.ops, alive[kind]
        sums = rows.sum(dim=-1)[mask.any(dim=-1)]
        edges = torch.zeros(1) if mixture.edges is None else mixture.edges
        rules = [
            ("finite", rows, ~rows.isfinite(), "a weight is"),
            ("not negative", rows, rows < 0, "a weight is"),
            ("0 where not alive", rows, (rows != 0) & ~mask, "a weight is"),
        ]
        if row_sum == "one":
            wrong = (sums - 1).abs() > torch.finfo(rows.dtype).eps ** 0.5
            rules.append(("of sum 1, as its row_sum 'one' says", sums, wrong, "a sum is"))
        elif row_sum == "positive":
            rules.append(("not all 0, as its row_sum 'positive' says", sums, sums <= 0, "a sum is"))
        rules.append(("finite", edges, ~edges.isfinite(), "an edge's is"))
        rules.append(("not negative", edges, edges < 0, "an edge's is"))
        for rule, values, wrong, met in rules:
            if wrong.any():
                text = f"{met} {float(values[wrong][0]):.3g}"
                return BrokenRule(rule, text, of_edges=met.startswith("an edge"))
    return None


def emptied(run: Run) -> bool:
    """Whether the operations that take part in this step leave a row with nothing."""
    return any(
        bool((mask.any(dim=1) & ~run.arch.kept[kind].any(dim=1)).any())
        for kind, mask in run.arch.alive.items()
    )


def place_of(net: Supernet, name: str) -> Place:
    """Where the module or parameter `name` of a readable supernet is."""
    words = name.split(".")
    if words[0] != "blocks" or len(words) < 2:
        return Place(words[0])
    index = int(words[1])
    block = net.blocks[index]
    if not isinstance(block, SearchCell) or len(words) < 4 or words[2] != "edges":
        return Place(".".join(words[2:4]) or "block", cell=index)
    number = int(words[3])
    ops = set(block.shape.ops[number])
    op = next((word for word in words[4:] if word in ops), None)
    return Place(edge=block.shape.edge_names[number], cell=index, op=op)


def _all_finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())
