"""What the mixed edges of a supernet do in a forward pass, seen through hooks that go again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from workbench.spaces.supernet import SearchCell, Supernet


@dataclass(frozen=True)
class SeenEdge:
    """One mixed edge of one cell in one pass.

    Args:
        kind: of the cell, whose place in the stack is `layer`, from 0.
        edge: row of its kind's alpha.
        weights: mixing weight of every candidate, by its name.
        ops: output of every operation that ran, by its name.
        mixed: what the edge's combination of them returned: of a plain edge, of `AuxiliarySkip`,
            `SkipDropout` and `NodeNorm` the weighted sum of candidates; of `PartialChannels` that
            of the channels that go through them.
        output: what the node got, before the edge's own weight.  A plain edge's is `mixed`;
            `PartialChannels` adds the channels that pass by, `AuxiliarySkip` its skip connection.
    """

    kind: str
    layer: int
    edge: int
    weights: Mapping[str, Tensor]
    ops: Mapping[str, Tensor]
    mixed: Tensor
    output: Tensor


@contextmanager
def watching(net: nn.Module, see: Callable[[SeenEdge], None]) -> Iterator[None]:
    """Within, `see` is told of every mixed edge of `net` as soon as it ran.

    Outputs of one edge are held at a time.  The hooks are gone afterwards, errors or not.

    Raises:
        TypeError: if `net` is not the readable `Supernet`; `view.trial.net()` is one, of any
            search.
        ValueError: if an edge keeps its operations in no `nn.ModuleDict`.
    """
    if not isinstance(net, Supernet):
        raise TypeError(
            f"`watching` sees the edges of a `Supernet`, not of a {type(net).__name__}; "
            "view.trial.net() is a copy with such edges"
        )
    with ExitStack() as hooks:
        for layer, cell in enumerate(net.blocks):
            if isinstance(cell, SearchCell):
                for number, edge in enumerate(cell.edges):
                    _watch(hooks, see, cell, layer, number, edge)
        yield


def operations(edge: nn.Module) -> nn.ModuleDict:
    """The operations of a mixed edge that are left, by name, however deep it keeps them.

    Raises:
        ValueError: if it keeps them in no `nn.ModuleDict`.
    """
    return _combination(edge)[1]


def _combination(edge: nn.Module) -> tuple[nn.Module, nn.ModuleDict]:
    """The part of an edge that combines operations, and these."""
    for owner in edge.modules():
        for table in owner.children():
            if isinstance(table, nn.ModuleDict):
                return owner, table
    raise ValueError(
        f"the mixed edge {type(edge).__name__} keeps its operations in no nn.ModuleDict, so that "
        "they cannot be told apart; keep them in one, by name"
    )


def _watch(
    hooks: ExitStack,
    see: Callable[[SeenEdge], None],
    cell: SearchCell,
    layer: int,
    number: int,
    edge: nn.Module,
) -> None:
    combination, table = _combination(edge)
    outputs: dict[str, Tensor] = {}
    sums: list[tuple[Tensor, Tensor]] = []  # of this edge: its mixing weights, its sum

    def keep_op(name: str) -> Callable[[object, object, Tensor], None]:
        return lambda module, inputs, out: outputs.update({name: out})

    def keep_sum(module: object, inputs: tuple[Tensor, Tensor, float], out: Tensor) -> None:
        sums.append((inputs[1], out))

    def tell(module: object, inputs: object, out: Tensor) -> None:
        row, mixed = sums.pop()
        weights = dict(zip(cell.shape.ops[number], row.unbind(0), strict=True))
        see(SeenEdge(cell.kind, layer, number, weights, dict(outputs), mixed, out))
        outputs.clear()

    for name, op in table.items():
        hooks.callback(op.register_forward_hook(keep_op(name)).remove)
    hooks.callback(combination.register_forward_hook(keep_sum).remove)
    hooks.callback(edge.register_forward_hook(tell).remove)  # after `keep_sum` where both are one
