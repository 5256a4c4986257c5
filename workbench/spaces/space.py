"""A search space as data: which cells there are, what each edge may hold, how cells are stacked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import prod
from typing import Literal, get_args

from workbench.errors import WorkbenchError

Family = Literal["darts", "nasbench201"]
Output = Literal["concat", "last"]


class SpaceError(WorkbenchError):
    """A search space that cannot be built."""


@dataclass(frozen=True)
class CellShape:
    """One kind of cell: `inputs` input nodes, then `nodes` intermediate ones, fully connected.

    Nodes are counted from 0, inputs first.  `ops` holds the candidates of every edge, in edge
    order.  The output is the channel concatenation of the intermediate nodes, or the last node.
    """

    kind: str
    inputs: int
    nodes: int
    ops: tuple[tuple[str, ...], ...]
    output: Output = "concat"

    def __post_init__(self) -> None:
        if self.output not in get_args(Output):
            raise SpaceError(
                f"cell {self.kind!r} has output {self.output!r}; choose 'concat' or 'last'"
            )
        if len(self.ops) != len(self.edges):
            raise SpaceError(
                f"cell {self.kind!r} with {self.inputs} inputs and {self.nodes} nodes has "
                f"{len(self.edges)} edges, but candidates for {len(self.ops)} were given"
            )
        for name, ops in zip(self.edge_names, self.ops, strict=True):
            if not ops or len(set(ops)) != len(ops):
                raise SpaceError(f"{name} needs one or more different candidates, not {ops!r}")

    def __repr__(self) -> str:
        counts = sorted({len(ops) for ops in self.ops})
        ops = "–".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        return f"<CellShape {self.kind}: {len(self.edges)} edges × {ops} ops>"

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Pairs (source, destination), grouped by destination, sources ascending."""
        ends = range(self.inputs, self.inputs + self.nodes)
        return tuple((src, dst) for dst in ends for src in range(dst))

    @property
    def edge_names(self) -> tuple[str, ...]:
        """Stable addresses such as `normal:0→2`."""
        return tuple(f"{self.kind}:{src}→{dst}" for src, dst in self.edges)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every candidate of any edge, in order of first appearance: the columns of alpha."""
        return tuple(dict.fromkeys(op for ops in self.ops for op in ops))

    @property
    def candidates(self) -> tuple[tuple[bool, ...], ...]:
        """`(edges, columns)`: is the operation a candidate of the edge?"""
        return tuple(tuple(op in ops for op in self.columns) for ops in self.ops)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The nodes that make the cell's output."""
        last = self.inputs + self.nodes
        return tuple(range(self.inputs, last)) if self.output == "concat" else (last - 1,)


@dataclass(frozen=True)
class Layer:
    """One place in the stack: a cell of `kind`, or with None the fixed residual block."""

    kind: str | None
    channels: int
    reduction: bool


@dataclass(frozen=True)
class Space:
    """Cells and how they are stacked.

    `family` says which macro-structure of the field it is: it decides stem, preprocessing and
    head.  `layers` is the stack, first to last.
    """

    family: Family
    cells: tuple[CellShape, ...]
    layers: tuple[Layer, ...]
    stem_channels: int

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            raise SpaceError(
                f"a space has family {self.family!r}, which decides stem, preprocessing and head; "
                "choose 'darts' or 'nasbench201'"
            )

    def cell(self, kind: str) -> CellShape:
        """The cell of that kind."""
        for cell in self.cells:
            if cell.kind == kind:
                return cell
        raise SpaceError(f"no cell of kind {kind!r}; this space has {', '.join(self.kinds)}")

    @property
    def channels(self) -> int:
        """Channels of the nodes of the first cell."""
        return self.layers[0].channels

    @property
    def depth(self) -> int:
        """Cells in the stack; in the NAS-Bench-201 family, cells per stage."""
        return len(self.layers) if self.family == "darts" else (len(self.layers) - 2) // 3

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of cells, in alpha order."""
        return tuple(cell.kind for cell in self.cells)

    @property
    def edge_names(self) -> tuple[str, ...]:
        """Addresses of all edges of all kinds."""
        return tuple(name for cell in self.cells for name in cell.edge_names)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every operation of any cell, in order of first appearance."""
        return tuple(dict.fromkeys(op for cell in self.cells for op in cell.columns))

    def __repr__(self) -> str:
        cells = ", ".join(repr(cell)[len("<CellShape ") : -1] for cell in self.cells[:3])
        more = f", … {len(self.cells)} kinds" if len(self.cells) > 3 else ""
        stack = f"{self.depth} cells" + (" a stage" if self.family == "nasbench201" else "")
        return f"<Space {self.family}: {cells}{more}; {stack}, {self.channels} channels>"

    @property
    def genotypes(self) -> int:
        """How many genotypes the field's own rule can derive, equal networks counted apart.

        NAS-Bench-201: one candidate on every edge.  DARTS: two edges into every node, or all where
        there are fewer, each with a candidate other than `none`.
        """
        if self.family == "nasbench201":
            return prod(len(ops) for cell in self.cells for ops in cell.ops)
        total = 1
        for cell in self.cells:
            kept = [len([op for op in ops if op != "none"]) for ops in cell.ops]
            for node in range(cell.inputs, cell.inputs + cell.nodes):
                into = [n for n, (_, dst) in zip(kept, cell.edges, strict=True) if dst == node]
                pairs = combinations(into, min(2, len(into)))
                total *= sum(prod(pair) for pair in pairs)
        return total

    def to_json(self) -> str:
        """Everything of it, as JSON text."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> Space:
        """Read `to_json`'s text.

        Raises:
            SpaceError: if it is none.
        """
        try:
            value = json.loads(text)
            cells = tuple(
                CellShape(**{**cell, "ops": tuple(tuple(row) for row in cell["ops"])})
                for cell in value["cells"]
            )
            layers = tuple(Layer(**layer) for layer in value["layers"])
            return Space(value["family"], cells, layers, value["stem_channels"])
        except (ValueError, TypeError, KeyError) as error:
            raise SpaceError(f"this is no text of a search space: {error!r}") from error

    def restricted(self, ops: tuple[str, ...]) -> Space:
        """The same space with only `ops` on every edge, in the space's own order."""
        unknown = [op for op in ops if op not in self.columns]
        if unknown:
            raise SpaceError(
                f"{', '.join(unknown)}: no candidate of this space ({', '.join(self.columns)})"
            )
        cells = tuple(
            replace(c, ops=tuple(tuple(o for o in row if o in ops) for row in c.ops))
            for c in self.cells
        )
        return replace(self, cells=cells)
