"""A run in one table, with the figures a reader wants first on top."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench import analysis
from workbench.comparison.numbers import counted, significant
from workbench.plots.derived import fallen_back
from workbench.plots.ending import ending, held_back
from workbench.plots.pruning import pruning_timeline_frame
from workbench.plots.retrained import which_training
from workbench.trace.latest import LEFT_OUT

if TYPE_CHECKING:
    from workbench.trace.runs import Run

UNKNOWN = "–"
TILES = ("test accuracy", "parameters", "operations left per edge", "edges led by none",
         "edges led by skip_connect", "search time")  # fmt: skip
ENDING = "how it ended"  # stands above the tiles
NOTES = {"test accuracy": "trainings"}  # what stands below a tile's name, where it is known
DETAILS = ("genotype", "seed", "versions", "command")
# The text inherits the page's colour, so the table reads in a light and a dark notebook.
TILES_STYLE = (
    "display:grid;gap:10px;margin:8px 0 16px;"
    "grid-template-columns:repeat(auto-fit,minmax(140px,1fr))"
)
TILE = "border:1px solid rgba(128,128,128,.4);border-radius:8px;padding:8px 14px;text-align:left"


@dataclass(frozen=True, repr=False)
class SummaryTable:
    """What a run was and came to; a notebook shows it as tiles and a table."""

    values: Mapping[str, str]

    def _repr_html_(self) -> str:
        notes = {name: self.values[NOTES[name]] for name in NOTES}
        tiles = "".join(_tile(n, self.values[n], notes.get(n, UNKNOWN)) for n in TILES)
        known = {n: v for n, v in self.values.items() if v != UNKNOWN}
        rest = {n: v for n, v in known.items() if n not in (ENDING, *TILES)}
        shown, folded = (
            "".join(_row(n, v) for n, v in rest.items() if (n in DETAILS) is detail)
            for detail in (False, True)
        )
        return (
            f"{_top_line(ENDING, self.values[ENDING])}"
            f'<div style="{TILES_STYLE}">{tiles}</div>'
            f"<table><tbody>{shown}</tbody></table><details><summary>genotype, versions, command"
            f"</summary><table><tbody>{folded}</tbody></table></details>"
        )

    def __repr__(self) -> str:
        width = max(len(name) for name in self.values)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.values.items())


def _top_line(name: str, value: str) -> str:
    return (
        f'<p style="margin:8px 0;overflow-wrap:anywhere"><strong>{html.escape(name.capitalize())}'
        f"</strong>: {html.escape(value)}</p>"
    )


def _tile(name: str, value: str, note: str) -> str:
    below = "" if note == UNKNOWN else f"<br><small>{html.escape(note)}</small>"
    return (
        f'<div style="{TILE}"><div style="font-size:24px;font-weight:600">{html.escape(value)}'
        f'</div><div style="opacity:.75">{html.escape(name)}{below}</div></div>'
    )


def _row(name: str, value: str) -> str:
    return (
        f'<tr><th scope="row" style="text-align:left;vertical-align:top;white-space:nowrap">'
        f'{html.escape(name)}</th><td style="text-align:left;overflow-wrap:anywhere">'
        f"{html.escape(value)}</td></tr>"
    )


def summary_table_frame(run: Run) -> pd.DataFrame:
    """The table as a frame: columns `name`, `value`, both text; what is not known is a dash."""
    found = analysis.summary(run)
    evaluated = run.evaluation or {}
    network = "of the evaluated network" if evaluated else "of the network at the search's size"
    rows = {
        "test accuracy": _percent(found["test_accuracy"], 2),
        "parameters": _count(found["parameters"]),
        "operations left per edge": f"{found['alive_per_edge']:.2f}",
        "edges led by none": _percent(found["none_share"]),
        "edges led by skip_connect": _percent(found["skip_share"]),
        "search time": duration(found["seconds"]),
        "trainings": which_training(run),
        ENDING: ending(run),
        "method": _noted(run, "method"),
        "paper": _noted(run, "method", "paper"),
        "space": _noted(run, "space"),
        "data": _noted(run, "data"),
        "status": found["status"],
        "epochs and steps": f"{counted(found['epochs'], 'epoch')}, "
        f"{counted(found['steps'], 'step')}",
        "pruned": _pruned(run, found["pruned_share"]),
        "held back from pruning": held_back(run),
        "derived": fallen_back(run),
        "cost of the network": f"{_count(found['parameters'])} parameters, "
        f"{_count(found['macs'])} multiply-adds, {network}",
        "mean average precision": _number(evaluated.get("test_map")),
        "operations chosen": ", ".join(f"{n} × {op}" for op, n in found["op_counts"].items()),
        "genotype": found["genotype"],
        "seed": run.meta.get("seed"),
        "versions": _versions(run.meta.get("versions")),
        "command": run.meta.get("command"),
    }
    values = [UNKNOWN if value in (None, "") else str(value) for value in rows.values()]
    return pd.DataFrame({"name": list(rows), "value": values})


def _pruned(run: Run, gone: float) -> str:
    """Of all candidates, the share that was pruned, and the one that a new stage left out.

    `gone` is both together.
    """
    last = pruning_timeline_frame(run).drop_duplicates(["edge", "op"], keep="last")
    alive = run.latest["alive"].to_series()
    again = [bool(alive.get((edge, op))) for edge, op in zip(last["edge"], last["op"], strict=True)]
    left = int(np.sum((last["reason"] == LEFT_OUT).to_numpy() & ~np.array(again, dtype=bool)))
    candidates = run.starts["alive"].any("stage").to_numpy().sum()
    share = left / max(int(candidates), 1)
    pruned = f"{_percent(max(gone - share, 0.0))} of all candidates"
    return pruned + (f"; {_percent(share)} were left out by a new stage" if left else "")


def _noted(run: Run, key: str, field: str = "name") -> object:
    """What the run's meta or config says of `key`: a text, or the `field` of a description."""
    config = run.meta.get("config")
    value = run.meta.get(key, config.get(key) if isinstance(config, Mapping) else None)
    if isinstance(value, Mapping):
        return value.get(field)
    return value if field == "name" else run.meta.get(field)


def summary_table(run: Run) -> SummaryTable:
    """What the run was, and what it came to."""
    frame = summary_table_frame(run)
    return SummaryTable(dict(zip(frame["name"], frame["value"], strict=True)))


def _percent(share: float | None, digits: int = 0) -> str | None:
    return None if share is None else f"{100 * share:.{digits}f} %"


def _number(value: object) -> str | None:
    return f"{value:.4f}" if isinstance(value, float | int) else None


def _count(value: int | None) -> str:
    """1234567 as `1.23 M`."""
    if value is None:
        return UNKNOWN
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * size and value >= 1000:  # 999,600 are 1 M in three digits
            return f"{significant(value / size, 3)}{unit}"
    return str(value)


def duration(seconds: float) -> str:
    """Seconds, minutes, or hours and minutes."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _versions(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return None if value is None else str(value)
    return ", ".join(f"{name} {version}" for name, version in value.items())
