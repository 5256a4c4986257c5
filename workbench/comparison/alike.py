"""How alike genotypes are across seeds, and how alike random ones of the same space would be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import combinations, product
from statistics import fmean
from typing import cast

import numpy as np
import pandas as pd

from workbench.comparison.labels import grouped, grouped_names
from workbench.spaces.genotype import CellGenes, Gene, Genotype
from workbench.trace.runs import Run

DRAWS = 200


def agreement(genotypes: Sequence[Genotype]) -> dict[str, float]:
    """How alike genotypes are: what two share, of what either has, on the mean over all pairs.

    |A ∩ B| / |A ∪ B|

    Pairs whose cells are not of the same kinds and nodes cannot be compared and are left out.

    Returns:
        `same_genes` counts operation and edge, `same_edges` the edge alone; 1 where all are the
        same, also without any gene; NaN where no two can be compared.
    """
    pairs = [(a, b) for a, b in combinations(genotypes, 2) if _shape(a) == _shape(b)]
    return {
        "same_genes": _overlap((set(a.genes), set(b.genes)) for a, b in pairs),
        "same_edges": _overlap((_ends(a), _ends(b)) for a, b in pairs),
    }


def agreement_frame(runs: Sequence[Run], *, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Agreement across seeds beside what chance gives, one row per group of `labels`.

    Chance: for every genotype that was found a random one of the space its run recorded, with as
    many inputs per node, sources and operations drawn alike; `none` is drawn only where a genotype
    that was found has it.

    Args:
        runs: The runs.
        draws: How often such a set is drawn.
        seed: Of the drawing.

    Returns:
        Columns method (the group), genotypes; same_genes, same_edges as in `agreement`;
        chance_genes, chance_edges, the mean over the draws; chance_genes_high and
        chance_edges_high, which one draw in twenty exceeds; NaN where no two can be compared.
    """
    rows = []
    for name, part in grouped(runs):
        found = [(run.genotype, run.space) for run in part if run.genotype]
        alike = agreement([genotype for genotype, _ in found])
        row: dict[str, object] = {"method": name, "genotypes": len(found), **alike}
        known = not np.isnan(alike["same_genes"])
        by_chance = _by_chance(found, draws, seed) if known else np.full((1, 2), np.nan)
        for what, values in (("genes", by_chance[:, 0]), ("edges", by_chance[:, 1])):
            row[f"chance_{what}"] = float(values.mean())
            row[f"chance_{what}_high"] = float(np.quantile(values, 0.95))
        rows.append(row)
    columns = ["method", "genotypes"]
    for what in ("genes", "edges"):
        columns += [f"same_{what}", f"chance_{what}", f"chance_{what}_high"]
    return pd.DataFrame(rows, columns=columns)


def pairs_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """Agreement of every run's genotype with every other's, runs of a group beside each other.

    Returns:
        Columns a, b (`run_names`), method_a, method_b (their groups), same_genes, same_edges;
        NaN for two runs whose cells are not of the same kinds and nodes.  Runs without a genotype
        are left out.
    """
    ordered = [(group, name, run.genotype) for group, name, run in grouped_names(runs)]
    known = [(group, name, genotype) for group, name, genotype in ordered if genotype]
    rows = []
    for (group_a, a, one), (group_b, b, other) in product(known, repeat=2):
        names = {"a": a, "b": b, "method_a": group_a, "method_b": group_b}
        rows.append({**names, **agreement([one, other])})
    columns = ["a", "b", "method_a", "method_b", "same_genes", "same_edges"]
    return pd.DataFrame(rows, columns=columns)


def random_genotype(
    like: Genotype, space: Mapping[str, object], random: np.random.Generator, *, none: bool = False
) -> Genotype:
    """A genotype of the recorded space with as many inputs per node as `like`, drawn alike.

    Args:
        like: Says how many inputs each node has.
        space: `Run.space`.
        random: Draws.
        none: Whether `none` is one of the operations.

    Returns:
        The genotype: sources of a node without repetition, operations of an edge with equal chance
        among its candidates.
    """
    cells = cast("Mapping[str, Mapping[str, Sequence[object]]]", space["cells"])
    return Genotype(
        tuple(_random_cell(cell, cells[cell.kind], random, none) for cell in like.cells)
    )


def _random_cell(
    cell: CellGenes, shape: Mapping[str, Sequence[object]], random: np.random.Generator, none: bool
) -> CellGenes:
    columns = [str(name) for name in shape["columns"]]
    edges = [str(edge) for edge in shape["edges"]]
    rows = [cast("Sequence[bool]", row) for row in shape["candidates"]]
    candidates = {
        edge: [
            op for op, there in zip(columns, row, strict=True) if there and (none or op != "none")
        ]
        for edge, row in zip(edges, rows, strict=True)
    }
    genes: list[Gene] = []
    for node, inputs in cell.in_degrees.items():
        able = [src for src in range(node) if candidates[f"{cell.kind}:{src}→{node}"]]
        for src in sorted(random.permutation(able)[:inputs].tolist()):
            ops = candidates[f"{cell.kind}:{src}→{node}"]
            genes.append(Gene(ops[int(random.integers(len(ops)))], src, node))
    return CellGenes(cell.kind, cell.inputs, cell.nodes, tuple(genes), cell.concat)


def _by_chance(
    found: Sequence[tuple[Genotype, Mapping[str, object]]], draws: int, seed: int
) -> np.ndarray:
    """`(draws, 2)`: same genes and same edges of random sets, one of each genotype's own space."""
    random = np.random.default_rng(seed)
    none = any(gene.op == "none" for one, _ in found for gene in one.genes)
    rows = []
    for _ in range(draws):
        drawn = [random_genotype(one, space, random, none=none) for one, space in found]
        rows.append(list(agreement(drawn).values()))
    return np.array(rows)


def _shape(genotype: Genotype) -> list[tuple[str, int, int]]:
    return [(cell.kind, cell.inputs, cell.nodes) for cell in genotype.cells]


def _ends(genotype: Genotype) -> set[tuple[str, int, int]]:
    return {gene[:3] for gene in genotype.genes}


def _overlap(pairs: Iterable[tuple[Set[object], Set[object]]]) -> float:
    shares = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairs]
    return fmean(shares) if shares else float("nan")
