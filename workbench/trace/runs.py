"""Reading a run folder: a run as labelled arrays and tables, without torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pandas as pd
import xarray as xr

from workbench.spaces.genotype import Genotype
from workbench.trace import folder
from workbench.trace.control import Steering, lost, over
from workbench.trace.dataset import StageLine, count_steps, first_state, first_states, read_trace
from workbench.trace.evaluations import Place, first_place, places, seed_of
from workbench.trace.folder import RunError
from workbench.trace.frames import epochs_frame, tidy
from workbench.trace.header import is_sealed, read_header, turns
from workbench.trace.latest import state_after
from workbench.trace.reading import Known, genotype_in, read_events, read_genotype, stamp, steady
from workbench.trace.telling import about, table


def open_run(path: Path | str) -> Run:
    """The run in the folder `path`; it may still be going on.

    Raises:
        RunError: if `path` is no run folder, or `run.json` is damaged or of a newer schema.
    """
    path = Path(path)
    if not (path / folder.HEADER).is_file():
        raise RunError(
            f"{path} is no run folder; one holds {folder.HEADER}, {folder.EVENTS} and "
            f"{folder.TRACE}, as record(events, path) writes them"
        )
    run, known = Run(path), Known(stamp(path))  # first: whatever comes later is news
    vars(run).update(_known=known, header=read_header(path))
    return run


@dataclass(frozen=True, repr=False)
class Run:
    """A search as it was recorded.  What has been read stays; `refresh()` reads again.

    A file that is lost or damaged is a `RunError` which names it, once it is read.

    Steps and epochs count on over the stages: the second stage begins where the first one ended.
    """

    path: Path

    def refresh(self) -> Run:
        """The same run as it is now, itself if nothing was written since it was opened.

        Steps and lines that were read before are not read again.
        """
        if stamp(self.path) == self._known.stamp:
            return self
        fresh = open_run(self.path)
        if turns(fresh.header) == turns(self.header):  # else steps came anew, or another search
            fresh._known.events = self._known.events
            fresh._known.arrays = self._known.arrays.copy()
        return fresh

    @property
    def control(self) -> Steering:
        """Pauses, steps, resumes and stops the search that writes this run."""
        return Steering(self.path)

    @property
    def meta(self) -> dict[str, object]:
        """What was noted at the start, such as method, space, data and seed."""
        return cast("dict[str, object]", self.header["meta"])

    @property
    def status(self) -> str:
        """`running`, `paused`, `finished`, `stopped` or `failed`; see also `lost`."""
        return str(self.header["status"])

    @property
    def ended(self) -> bool:
        """Has the search said that it is over?"""
        return over(self.header)

    @property
    def lost(self) -> bool:
        """Was the search killed?  Seen on its own machine only: there its process is gone."""
        return lost(self.header)

    @property
    def state(self) -> str:
        """`status`, or `killed` where the search cannot say so any more."""
        return "killed" if self.lost else self.status

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
        return read_header(self.path)

    @cached_property
    def events(self) -> list[dict[str, object]]:
        """Every event but `Stepped`, as in `events.jsonl`: steps and epochs of their own stage."""
        self._known.events = read_events(self.path, self.header, self._known.events)
        return self._known.events.lines

    @cached_property
    def _known(self) -> Known:
        return Known()

    @cached_property
    def trace(self) -> xr.Dataset:
        """`alpha`, `mix`, `alive` `(step, edge, op)` and every scalar `(step,)`, after each step.

        What an epoch's end prunes is gone from the next step on; see `latest.settled`.
        Where the method weighs edges, also `edge_weight` `(step, edge)`; NaN in stages without.
        What probes measured is `(step,)`, `(step, edge)` or `(step, edge, op)`, NaN in steps that
        did not; these variables have the attribute `probed`.
        Coordinates: `kind`, `src`, `dst` of an edge; `stage`, `epoch`, `seconds` of a step.
        Its arrays may be those of earlier looks too: not to be written into, `copy(deep=True)` is.
        """
        return steady(self.path, vars(self), self._read_trace)

    @property
    def steps(self) -> int:
        """How many steps are written, of all stages."""
        return steady(self.path, vars(self), self._count_steps)

    @cached_property
    def initial(self) -> xr.Dataset:
        """`alpha`, `mix`, `alive` `(edge, op)` before the first step."""
        return first_state(self.starts)

    @cached_property
    def starts(self) -> xr.Dataset:
        """The same `(stage, edge, op)` before each stage's first step, whose `step` it knows."""
        return first_states(self._stages)

    @property
    def latest(self) -> xr.Dataset:
        """The same `(edge, op)` after the last step and after what was pruned behind it."""
        return state_after(self, -1) if self.starts.sizes["stage"] else self.initial

    @property
    def space(self) -> dict[str, object]:
        """The first stage's space: its `cells` by kind with their candidates, its `layers`."""
        return cast("dict[str, object]", self._stages[0]["space"]) if self._stages else {}

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """A row per epoch that ended: its scalars, the genotype so far and its costs."""
        return epochs_frame(self._placed("EpochEnded"))

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
        return read_genotype(self.path, self.header, lambda: self.events)

    @cached_property
    def genotypes(self) -> list[tuple[int, Genotype]]:
        """Epochs and what would have been derived after each."""
        return [
            (
                cast("int", line["epoch"]),
                genotype_in(line["genotype"], str(self.path / folder.EVENTS)),
            )
            for line in self._placed("EpochEnded")
            if line["genotype"] is not None
        ]

    @property
    def latest_genotype(self) -> Genotype | None:
        """What the search found, or would have derived at the end of its last epoch so far."""
        return self.genotype or (self.genotypes[-1][1] if self.genotypes else None)

    @cached_property
    def evaluation(self) -> dict[str, object] | None:
        """Figures of the derived network on the test split; None if it was not evaluated.

        Of several evaluations it is the first one; `evaluations` has all.
        """
        first = first_place(self.path, sealed=is_sealed(self.header))
        return first.read() if first.ended() else None

    @cached_property
    def evaluations(self) -> list[dict[str, object]]:
        """Every evaluation that ended, by seed: trainings of one network under one recipe."""
        return [place.read() for place in self._places]

    @cached_property
    def evaluation_epochs(self) -> pd.DataFrame:
        """A row per epoch of the evaluation phase, of the first evaluation."""
        return epochs_frame(first_place(self.path, sealed=is_sealed(self.header)).read_epochs())

    @cached_property
    def retraining_epochs(self) -> pd.DataFrame:
        """A row per epoch of every evaluation that ended; `seed` in front (-1: not recorded)."""
        parts = []
        for place in self._places:
            seed, part = seed_of(place.read()), epochs_frame(place.read_epochs())
            part.insert(0, "seed", -1 if seed is None else seed)
            parts.append(part)
        return pd.concat(parts, ignore_index=True) if parts else epochs_frame([]).assign(seed=[])

    def at_epoch_ends(self) -> Run:
        """The same run, of whose `trace` only the last step of every epoch is left."""
        epoch = self.trace["epoch"].to_numpy()
        last = np.flatnonzero(np.append(epoch[1:] != epoch[:-1], len(epoch) > 0))
        other = Run(self.path)
        vars(other).update(vars(self) | {"trace": self.trace.isel(step=last)})
        return other

    def to_dataframe(self) -> pd.DataFrame:
        """The trace as a tidy table: step, kind, edge, op, alpha, mix, alive; candidates only."""
        return tidy(self.trace)

    def to_xarray(self) -> xr.Dataset:
        """The trace, which says in its `attrs` what it is of: method, space, data, seed, status.

        What is not known is left out.
        """
        of = {what: self.named(what) for what in ("method", "space", "data")}
        of |= {"seed": self.meta.get("seed"), "status": self.status, "run": str(self.path)}
        return self.trace.assign_attrs({k: v for k, v in of.items() if v is not None})

    def to_csv(self, path: Path | str) -> Path:
        """Write `to_dataframe()` into a file, as a whole or not at all.

        Raises:
            RunError: if it cannot be written.
        """
        path = Path(path)
        try:
            with folder.replacing(path) as part:
                self.to_dataframe().to_csv(part, index=False)
        except OSError as error:
            raise RunError(f"{path} cannot be written ({error.strerror or error})") from error
        return path

    def __repr__(self) -> str:
        told = about(self)
        return f"<Run {told.pop('path')}: {', '.join(f'{k} {v}' for k, v in told.items())}>"

    def _repr_html_(self) -> str:
        return table(self)

    def _read_trace(self) -> xr.Dataset:
        return read_trace(self.path / folder.TRACE, self._stages, self.header, self._known.arrays)

    def _count_steps(self) -> int:
        return count_steps(self.path / folder.TRACE, self._stages, self.header)

    @cached_property
    def _places(self) -> list[Place]:
        return places(self.path, sealed=is_sealed(self.header))

    @cached_property
    def _stages(self) -> list[StageLine]:
        return cast("list[StageLine]", [e for e in self.events if e["event"] == "StageStarted"])

    def _placed(self, event: str) -> Iterable[dict[str, object]]:
        """The lines of one kind of event, their step and epoch counted over all stages."""
        offsets = {stage["stage"]: stage for stage in self._stages}
        for line in self.events:
            if line["event"] == event:
                stage = offsets.get(cast("int", line["stage"]))
                if stage is None:
                    raise RunError(
                        f"{self.path / folder.EVENTS} tells {event} of stage {line['stage']}, "
                        f"which has not begun; {folder.RESTORE}"
                    )
                step = cast("int", line["step"]) + stage["step_offset"]
                epoch = cast("int", line["epoch"]) + stage["epoch_offset"]
                yield {**line, "step": step, "epoch": epoch}
