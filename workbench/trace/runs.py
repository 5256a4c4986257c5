"""Reading a run folder: a run as labelled arrays and tables, without torch."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pandas as pd
import xarray as xr

from workbench.spaces.genotype import Genotype
from workbench.trace import folder
from workbench.trace.dataset import StageLine, count_steps, first_state, read_trace
from workbench.trace.folder import RunError

COSTS = ("parameters", "macs", "alive", "supernet_parameters", "seconds", "memory")


def open_run(path: Path | str) -> Run:
    """The run in the folder `path`; it may still be going on.

    Raises:
        RunError: if `path` is no run folder.
    """
    path = Path(path)
    if not (path / folder.HEADER).is_file():
        raise RunError(
            f"{path} is no run folder; one holds {folder.HEADER}, {folder.EVENTS} and "
            f"{folder.TRACE}, as record(events, path) writes them"
        )
    return Run(path)


def find_runs(paths: Iterable[Path | str]) -> list[Run]:
    """The runs in these folders: each is a run itself, or holds runs; in order of name.

    Raises:
        RunError: if a folder is no run and holds none.
    """
    found: list[Run] = []
    for path in map(Path, paths):
        inside = sorted(header.parent for header in path.glob(f"*/{folder.HEADER}"))
        places = [path] if (path / folder.HEADER).exists() or not inside else inside
        found += [open_run(place) for place in places]
    if not found:
        raise RunError("no run was named; give one or more run folders")
    return found


@dataclass(frozen=True, repr=False)
class Run:
    """A search as it was recorded.  What has been read stays; `refresh()` reads again.

    Steps and epochs count on over the stages: the second stage begins where the first one ended.
    """

    path: Path

    def refresh(self) -> Run:
        """The same run as it is now."""
        return open_run(self.path)

    @property
    def meta(self) -> dict[str, object]:
        """What was noted at the start, such as method, space, data and seed."""
        return cast("dict[str, object]", self.header["meta"])

    @property
    def status(self) -> str:
        """`running`, `finished`, `stopped` or `failed`; a killed process leaves `running`."""
        return str(self.header["status"])

    def named(self, what: Literal["method", "space", "data"]) -> str | None:
        """The name of the method, space or data, as far as `meta` or its `config` holds it."""
        config = self.meta.get("config")
        value = self.meta.get(what, config.get(what) if isinstance(config, dict) else None)
        if isinstance(value, dict):
            value = value.get("name")
        return None if value is None else str(value)

    @cached_property
    def header(self) -> dict[str, object]:
        """`run.json`: meta, status, times (ISO 8601, UTC), process id, error."""
        return json.loads((self.path / folder.HEADER).read_text(encoding="utf-8"))

    @cached_property
    def events(self) -> list[dict[str, object]]:
        """Every event but `Stepped`, as in `events.jsonl`: steps and epochs of their own stage."""
        return folder.read_lines(self.path / folder.EVENTS)

    @cached_property
    def trace(self) -> xr.Dataset:
        """`alpha`, `mix`, `alive` `(step, edge, op)` and every scalar `(step,)`, after each step.

        Where the method weighs edges, also `edge_weight` `(step, edge)`; NaN in stages without.
        What probes measured is `(step,)`, `(step, edge)` or `(step, edge, op)`, NaN in steps that
        did not; these variables have the attribute `probed`.
        Coordinates: `kind`, `src`, `dst` of an edge; `stage`, `epoch`, `seconds` of a step.
        """
        return read_trace(self.path / folder.TRACE, self._stages)

    @cached_property
    def initial(self) -> xr.Dataset:
        """`alpha`, `mix`, `alive` `(edge, op)` before the first step."""
        return first_state(self._stages)

    @property
    def space(self) -> dict[str, object]:
        """The first stage's space: its `cells` by kind with their candidates, its `layers`."""
        return cast("dict[str, object]", self._stages[0]["space"]) if self._stages else {}

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """A row per epoch that ended: its scalars, the genotype so far and its costs."""
        return _epochs(self._placed("EpochEnded"))

    @cached_property
    def prunings(self) -> pd.DataFrame:
        """A row per operation that was removed; `weight` is its last mixing weight."""
        columns = ["step", "epoch", "stage", "edge", "op", "weight", "reason"]
        return pd.DataFrame(list(self._placed("Pruned")), columns=columns)

    @cached_property
    def held(self) -> pd.DataFrame:
        """A row per operation that the pruner wanted gone, but kept."""
        columns = ["step", "epoch", "stage", "edge", "op", "reason"]
        return pd.DataFrame(list(self._placed("Held")), columns=columns)

    @cached_property
    def genotype(self) -> Genotype | None:
        """What the search found; None as long as it has not ended."""
        path = self.path / folder.GENOTYPE
        return Genotype.from_json(path.read_text(encoding="utf-8")) if path.exists() else None

    @cached_property
    def genotypes(self) -> list[tuple[int, Genotype]]:
        """Epochs and what would have been derived after each."""
        return [
            (cast("int", line["epoch"]), Genotype.from_json(json.dumps(line["genotype"])))
            for line in self._placed("EpochEnded")
            if line["genotype"] is not None
        ]

    @cached_property
    def evaluation(self) -> dict[str, object] | None:
        """Figures of the derived network on the test split; None if it was not evaluated."""
        path = self.path / folder.EVALUATION
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    @cached_property
    def evaluation_epochs(self) -> pd.DataFrame:
        """A row per epoch of the evaluation phase."""
        return _epochs(folder.read_lines(self.path / folder.EVALUATION_EPOCHS))

    def to_dataframe(self) -> pd.DataFrame:
        """The trace as a tidy table: step, kind, edge, op, alpha, mix, alive; candidates only."""
        trace = self.trace
        alpha, alive = trace["alpha"].to_numpy(), trace["alive"].to_numpy()
        step, edge, op = np.nonzero(alive | ~np.isnan(alpha))
        kind, kinds = pd.factorize(trace["kind"].to_numpy())
        return pd.DataFrame(
            {
                "step": trace["step"].to_numpy()[step],
                "kind": pd.Categorical.from_codes(kind[edge], kinds),
                "edge": pd.Categorical.from_codes(edge, trace["edge"].to_numpy()),
                "op": pd.Categorical.from_codes(op, trace["op"].to_numpy()),
                "alpha": alpha[step, edge, op],
                "mix": trace["mix"].to_numpy()[step, edge, op],
                "alive": alive[step, edge, op],
            }
        )

    def __repr__(self) -> str:
        about = self._about()
        return f"<Run {about.pop('path')}: {', '.join(f'{k} {v}' for k, v in about.items())}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in {**self._about(), **self._results()}.items()
        )
        return f"<table>{rows}</table>"

    def _about(self) -> dict[str, str]:
        words = {"method": self.named("method"), "space": self.named("space")}
        words |= {"data": self.named("data")}
        status = self.status
        if status == "running":
            status += f" (last sign of life {self.header['heartbeat']})"
        return {
            "path": str(self.path),
            **{name: word for name, word in words.items() if word is not None},
            "status": status,
            "epochs": str(len(self.epochs)),
            "steps": str(count_steps(self.path / folder.TRACE, self._stages)),
        }

    def _results(self) -> dict[str, str]:
        """What there is to say of the end, for the table."""
        out = {"error": str(self.header["error"])} if self.header["error"] else {}
        if len(self.epochs):
            last = self.epochs.iloc[-1].drop(["epoch", "stage", "step", "genotype", *COSTS])
            out |= {str(name): f"{value:.4g}" for name, value in last.dropna().items()}
        if self.genotype is not None:
            out["genotype"] = str(self.genotype)
        if self.evaluation is not None:
            out["test accuracy"] = f"{self.evaluation['test_accuracy']:.4f}"
        return out

    @cached_property
    def _stages(self) -> list[StageLine]:
        return cast("list[StageLine]", [e for e in self.events if e["event"] == "StageStarted"])

    def _placed(self, event: str) -> Iterable[dict[str, object]]:
        """The lines of one kind of event, their step and epoch counted over all stages."""
        offsets = {stage["stage"]: stage for stage in self._stages}
        for line in self.events:
            if line["event"] == event:
                stage = offsets[cast("int", line["stage"])]
                step = cast("int", line["step"]) + stage["step_offset"]
                epoch = cast("int", line["epoch"]) + stage["epoch_offset"]
                yield {**line, "step": step, "epoch": epoch}


def _epochs(lines: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    rows = []
    names: dict[str, None] = {}  # of scalars, which need not be there in every epoch
    for line in lines:
        scalars = cast("dict[str, float | None]", line["scalars"])
        genotype = cast("dict[str, str] | None", line["genotype"])
        names |= dict.fromkeys(scalars)
        rows.append({**scalars, **line, "genotype": genotype and genotype["text"]})
    columns = ["epoch", "stage", "step", *names, "genotype", *COSTS]
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))
    return frame.assign(**{n: pd.to_numeric(frame[n]) for n in frame.columns if n != "genotype"})
