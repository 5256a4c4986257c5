"""What a first-order step has to do at least, counted, and what the machine can do, measured.

Arithmetic is that of convolutions and of the classifier, a multiplication and an addition as two:

- depthwise, `k`×`k` taps: `2 k² c` per pixel of its output; pointwise: `2 c_in c_out`; ordinary:
  `2 k² c_in c_out`.  A separable operation is two pairs of depthwise and pointwise ones, a dilated
  one pair, a strided skip two pointwise ones of half the channels, so `2 c²`.
- A backward pass to the map that comes in costs as much again, and one to the weights as well.  The
  weight step has both: 3 times the forward pass, 2 for the stem, whose pictures need no gradient.
  The alpha step has the first only, 2 times the forward pass, and 1 where no alpha lies before:
  behind the stem.

Memory is that of a step whose kernels fuse whatever can be fused.  A map is written once and read
once in the forward pass, in the backward pass read once more, and its gradient is written and read:
5 times its numbers.  Where no gradient flows on, in the alpha step behind the stem, 2, and 3 if the
gradient of a mixing weight needs it.  Maps are outputs of convolutions in front of a batch norm
(normalised ones need not be written, nor depthwise outputs), pooled ones, and nodes.  A weight is
read in both passes of both steps, its gradient and momentum are written and read, and it is
written and read once more for its update: 10 times 4 bytes.  Pictures, alphas and logits are
nothing beside these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from workbench import Machine
from workbench.engine.geometry import Geometry, Placed
from workbench.engine.layout import layout
from workbench.spaces.skeleton import Place, places
from workbench.spaces.space import Space


@dataclass(frozen=True)
class Work:
    """A part of a forward pass.

    Args:
        kind: "depthwise", "pointwise", "ordinary" convolution, or "map".
        flops: operations of arithmetic.
        numbers: of the map it writes, 0 if it need not be written.
        weights: how many it has.
        live: whether an alpha lies before, so that the alpha step's gradient flows on.
        mixed: whether its map is weighed by an alpha.
        first: whether its inputs are the pictures.
    """

    kind: str
    flops: int = 0
    numbers: int = 0
    weights: int = 0
    live: bool = True
    mixed: bool = False
    first: bool = False


def work(space: Space, images: int, side: int, classes: int = 10) -> list[Work]:
    """All parts of a forward pass over `images` colour pictures of `side`×`side`."""
    stem = space.stem_channels
    out = [replace(_convolution(3, stem, 3, images * side**2, live=False), first=True)]
    sizes, alive, width = (side, side), (False, False), stem  # of the farther and nearer input
    for place in places(space.layers, (stem, stem), lambda kind: len(space.cell(kind).outputs)):
        c = place.layer.channels
        inner = (sizes[1] + 1) // 2 if place.layer.reduction else sizes[1]
        if place.layer.kind is None:
            pixels, live = images * inner**2, alive[1]
            out += [_convolution(place.c_previous, c, 3, pixels, live=live)]
            out += [_convolution(c, c, 3, pixels, live=live)]
            out += [_convolution(place.c_previous, c, 1, pixels, live=live)]
            alive, width = (alive[1], alive[1]), c
        else:
            out += _cell(space, place, images, sizes[1], alive)
            alive, width = (alive[1], True), c * len(space.cell(place.layer.kind).outputs)
        sizes = (sizes[1], inner)
    head = Work("pointwise", 2 * width * classes * images, 0, width * classes)
    return [*out, head]


def _cell(
    space: Space, place: Place, images: int, side: int, alive: tuple[bool, bool]
) -> Iterator[Work]:
    """Preprocessing, operations and nodes of a cell with all its candidates."""
    assert place.layer.kind is not None
    shape, c = space.cell(place.layer.kind), place.layer.channels
    packed = layout(shape, c, place.layer.reduction, space.family, shape.ops)
    geometry = Geometry(packed, images, side, side, 1)
    inputs = alive[-shape.inputs :]
    if shape.inputs == 2:
        for before, live in zip((place.c_before, place.c_previous), inputs, strict=True):
            yield _convolution(before, c, 1, images * side**2, live=live)
    for placed in geometry.placed:
        source = placed.bundle.source
        yield from _operation(geometry, placed, source >= shape.inputs or inputs[source])
    yield Work("map", numbers=shape.nodes * geometry.node_map)


def _operation(geometry: Geometry, placed: Placed, live: bool) -> Iterator[Work]:
    """All edges of a bundle."""
    bundle, c, pixels = placed.bundle, geometry.layout.channels, geometry.pixels
    about, edges = bundle.about, len(bundle.edges)
    if about.does in ("max", "mean"):
        yield Work("map", numbers=geometry.node_map, live=live, mixed=True)
    if about.does == "convolution":
        yield _convolution(c, c, about.size, pixels, live=live, mixed=True, times=edges)
    if about.does == "skip" and bundle.stride == 2:
        yield _convolution(c, c, 1, pixels, live=live, mixed=True, times=edges)
    for half in range({"separable": 2, "dilated": 1}.get(about.does, 0)):
        taps = about.size**2 * c * edges
        yield Work("depthwise", 2 * taps * pixels, 0, taps, live)
        last = about.does == "dilated" or half == 1
        yield _convolution(c, c, 1, pixels, live=live, mixed=last, times=edges)


def _convolution(
    c_in: int,
    c_out: int,
    size: int,
    pixels: int,
    *,
    live: bool,
    mixed: bool = False,
    times: int = 1,
) -> Work:
    weights = times * size**2 * c_in * c_out
    kind = "pointwise" if size == 1 else "ordinary"
    return Work(kind, 2 * weights * pixels, times * c_out * pixels, weights, live, mixed)


def flops(parts: Sequence[Work], update: str) -> dict[str, int]:
    """By kind, of a step's alpha part (`update` "arch") or weight part ("weights")."""
    found: dict[str, int] = {}
    for part in parts:
        times = (3 - part.first) if update == "weights" else (1 + part.live)
        if part.flops:
            found[part.kind] = found.get(part.kind, 0) + times * part.flops
    return found


def least_bytes(parts: Sequence[Work], size: int) -> int:
    """Of a whole step, whose maps have `size` bytes a number."""
    alpha = sum(part.numbers * (5 if part.live else 2 + part.mixed) for part in parts)
    weight = sum(part.numbers * 5 for part in parts)
    return size * (alpha + weight) + 4 * 10 * sum(part.weights for part in parts)


def machine_limits(machine: Machine, *, quick: bool) -> dict[str, float]:
    """Measured: FLOP/s of a matrix product by precision, and bytes/s of a copy, "copy".

    A copy's bytes count twice, read and written.
    """
    on_gpu = machine.torch_device.type == "cuda"
    side, numbers = (512, 2**22) if quick else (8192, 2**28)
    found = {}
    for precision in ("float32", "tf32", "bfloat16") if on_gpu else ("float32", "bfloat16"):
        replace(machine, precision=precision).prepare()
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        a, b = torch.randn(2, side, side, device=machine.torch_device, dtype=dtype)
        found[precision] = 2 * side**3 / _least_seconds(lambda a=a, b=b: a @ b, on_gpu)
    machine.prepare()
    source = torch.zeros(numbers, device=machine.torch_device)
    target = torch.empty_like(source)
    found["copy"] = 2 * 4 * numbers / _least_seconds(lambda: target.copy_(source), on_gpu)
    return found


def _least_seconds(once: Callable[[], object], on_gpu: bool, repeats: int = 12) -> float:
    """The first runs, in which caches fill and clocks rise, are not counted."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        once()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds[3:])


def reached(
    parts: Sequence[Work], seconds: float, precision: str, limits: dict[str, float]
) -> dict[str, float]:
    """Least seconds of a step by either limit, and the shares of the limits that it reaches.

    The arithmetic limit is that of matrix products in the variant's precision, which depthwise
    convolutions, on no tensor core, cannot reach.
    """
    operations = sum(sum(flops(parts, update).values()) for update in ("arch", "weights"))
    moved = least_bytes(parts, 2 if precision == "bfloat16" else 4)
    by_flops, by_bytes = operations / limits[precision], moved / limits["copy"]
    return {
        "flops": operations,
        "bytes": moved,
        "seconds_by_flops": by_flops,
        "seconds_by_bytes": by_bytes,
        "share_of_flops": by_flops / seconds,
        "share_of_bytes": by_bytes / seconds,
    }
