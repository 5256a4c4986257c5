"""Whether the rule that read off the genotype found what it asks for, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.trace.runs import Run

_THRESHOLD = re.compile(r"Threshold\(threshold=(\d[\d.e+-]*)[,)]")


def fallen_back(run: Run) -> str:
    """Which cells are not by the published rule, as nothing reached its threshold; or nothing.

    `parts.derivations.Threshold` takes `TopEdges`' cell then.  It does where no operation but
    `none` on an edge from the cell's inputs weighs as much: no node is fed then, and so none later.
    """
    method = run.meta.get("method")
    told = str(method.get("derivation")) if isinstance(method, Mapping) else ""
    rule = _THRESHOLD.match(told)
    weighed = "edge_weight" in run.trace  # then an operation's weight is not what is asked for
    if rule is None or run.genotype is None or weighed:
        return ""
    least = float(rule[1])
    kinds = [kind for kind, best in _best_weights(run).items() if best < least]
    if not kinds:
        return ""
    return f"no operation reached {told} in {', '.join(kinds)}: the strongest edges, as in DARTS"


def _best_weights(run: Run) -> dict[str, float]:
    """By kind of cell, the largest weight on an edge from an input at the end, `none` left out."""
    end = run.latest
    weights = end["mix"].where(end["alive"], -1.0)
    best = weights.sel(op=weights["op"] != "none").max("op").to_numpy()
    kinds, src, dst = (end[name].to_numpy() for name in ("kind", "src", "dst"))
    from_input = {kind: (kinds == kind) & (src < dst[kinds == kind].min()) for kind in set(kinds)}
    return {str(kind): float(best[own].max()) for kind, own in sorted(from_input.items())}
