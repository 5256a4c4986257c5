"""Whole jobs of the command line and notebooks: search, evaluate, demo, with their records."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from workbench.alpha_files import read_alphas
from workbench.config import MACHINE_SETTINGS, SearchConfig
from workbench.evaluate_config import EvaluateConfig
from workbench.evaluating import run_evaluation, settings_of
from workbench.interrupts import Asked, Interrupted, interruptible
from workbench.parts.derivations import EdgeArgmax, TopEdges, surviving_edges
from workbench.parts.relaxations import Softmax
from workbench.progress import followed
from workbench.protocols import Mixture
from workbench.search import search
from workbench.settings import ConfigError, checked
from workbench.snapshots import load_state
from workbench.trace import Run, RunError, open_run, record
from workbench.trace.checkpoints import newest
from workbench.trace.control import refuse_living
from workbench.trace.folder import (
    CHECKPOINTS,
    LOCK,
    refuse_links,
    refuse_occupied,
    refuse_unwritable,
)
from workbench.trace.lock import WriterLock

if TYPE_CHECKING:
    from workbench.events import SearchEvent
    from workbench.snapshots import State
    from workbench.spaces.genotype import Genotype


def run_search(config: SearchConfig, *, quiet: bool | None = None) -> Run:
    """Search as `config` says, record it, and return the run.

    Args:
        quiet: no progress bar; by default there is one where a person can see it.

    Raises:
        ConfigError, DataError, SpaceError, MachineError, RunError: before anything is written.
        Interrupted: if a signal ended it; the run is saved and can go on.
    """
    return _searched(config, quiet)[0]


def _searched(config: SearchConfig, quiet: bool | None = None) -> tuple[Run, str | None]:
    """The run that was searched, and the signal that came when nothing was left to do."""
    out = config.out or default_out(config)
    with interruptible() as asked, _ended_early(out, asked):
        events = asked.followed(search_events(config, out, asked=asked))
        followed(events, config.method, quiet)
    return _uninterrupted(out, asked), asked.name


@contextmanager
def _ended_early(path: Path, asked: Asked) -> Iterator[None]:
    """Within, a search that a signal did not wait for has ended, if there is a saved state."""
    try:
        yield
    except KeyboardInterrupt:
        if asked.name is None or not any((path / CHECKPOINTS).glob("*.json")):
            raise


def search_events(
    config: SearchConfig, out: Path, *, asked: Callable[[], bool] = lambda: False
) -> Generator[SearchEvent]:
    """The recorded events of a search, for whoever wants to look at each.

    Args:
        asked: looked at between steps; the search is saved and ends once it is true.
    """
    refuse_unwritable(out)
    WriterLock(out / LOCK).refuse_held()
    refuse_occupied(out)
    meta = {
        "config": config.model_dump(mode="json"),
        "command": config.command("search", out=str(out)),
    }
    return record(
        _search(config), out, meta=meta, checkpoints=config.checkpointing(), asked_to_stop=asked
    )


def _search(config: SearchConfig, start: State | None = None) -> Iterator[SearchEvent]:
    method, space = config.build_method(), config.build_space()
    config.check_data()
    probes, machine, data = config.build_probes(), config.build_machine(), config.build_data()
    return search(
        method, space, data, probes=probes, machine=machine, seed=config.seed, start=start
    )


def resume(
    run: Run | Path | str,
    machine: Mapping[str, object] | None = None,
    *,
    quiet: bool | None = None,
) -> Run:
    """Go on with a search that ended before its time, as if nothing had happened.

    It goes on from its newest checkpoint; what was recorded after that comes again, on a CPU with
    the same bits.

    Args:
        run: a run that `run_search` or `workbench search` made.
        machine: settings of `SearchConfig` in `MACHINE_SETTINGS` that shall be others from here on.
        quiet: as in `run_search`.

    Raises:
        RunError: if the run has finished, is being written, or holds no whole checkpoint.
        ConfigError: if a setting may not change, or does not fit.
        SnapshotError: if data, method or device kind are not those that were saved.
        Interrupted: if a signal ended it; the run is saved and can go on.
    """
    run = open_run(run.path if isinstance(run, Run) else run)
    refuse_unwritable(run.path)
    refuse_links(run.path)
    WriterLock(run.path / LOCK).refuse_held()
    refuse_living(run.path)
    config = _resumed_config(run, machine or {})
    checkpoint = newest(run.path / CHECKPOINTS, run.path)
    with interruptible() as asked, _ended_early(run.path, asked):
        events = record(
            _search(config, load_state(checkpoint.state)),
            run.path,
            checkpoints=config.checkpointing(),
            start=checkpoint,
            asked_to_stop=asked,
        )
        followed(asked.followed(events), config.method, quiet)
    return _uninterrupted(run.path, asked)


def _resumed_config(run: Run, machine: Mapping[str, object]) -> SearchConfig:
    if run.status == "finished":
        raise RunError(f"{run.path} has finished; nothing of it is left to do")
    other = [name for name in machine if name not in MACHINE_SETTINGS]
    if other:
        raise ConfigError(
            f"{', '.join(other)}: a resumed search keeps its settings; only "
            f"{', '.join(MACHINE_SETTINGS)} may change. Start another search for the rest"
        )
    return checked(SearchConfig, {**settings_of(run), **machine, "out": str(run.path)})


def _uninterrupted(path: Path, asked: Asked) -> Run:
    """The run that was made, if no signal ended it."""
    run = open_run(path)
    if asked.name is not None and run.status == "stopped":
        raise Interrupted(
            asked.name, path, shlex.join(["workbench", "search", "--resume", str(path)])
        )
    return run


# What the demo searches, and why, is told in the README.
DEMO = SearchConfig(
    method="entmax3_prune_single_level",
    space="darts",
    data="digits",
    noise=1.0,
    channels=8,
    cells=3,
    epochs=12,
    arch_lr=5e-3,
    probes="discretisation_gap",
    probe_every=132,
)


def run_demo(
    out: Path, *, seed: int = 0, epochs: int | None = None, evaluation_epochs: int | None = None
) -> Run:
    """Search on the bundled digits and evaluate what was found, within minutes on two cores.

    Raises:
        Interrupted: if a signal ended the search or the evaluation, or came between them.
    """
    given = {"out": out, "seed": seed, "epochs": DEMO.epochs if epochs is None else epochs}
    search_config = checked(SearchConfig, {**DEMO.model_dump(), **given})
    evaluate_config = checked(EvaluateConfig, {"epochs": evaluation_epochs, "seed": seed})
    run, signal = _searched(search_config)
    if signal is not None:  # the search was at its end; the evaluation is not begun
        command = evaluate_config.command("evaluate", str(run.path))
        raise Interrupted(signal, run.path, command)
    return run_evaluation(run.path, evaluate_config)


def derive(path: Path, space: str, rule: str) -> Genotype:
    """A genotype from an `.npz` file of alphas, one array `(edges, ops)` per kind of cell.

    Weights are softmax of the alphas; an alpha of -inf is a pruned operation, and one that is no
    candidate of its edge does not count.

    Args:
        rule: `top2`, `survivors` or `argmax`.

    Raises:
        ConfigError: if the file holds other arrays than the space's cells need.
    """
    shape = checked(SearchConfig, {"space": space}).build_space()
    found = read_alphas(path, shape)
    arrays = {kind: torch.from_numpy(rows) for kind, rows in found.items()}
    candidates = {cell.kind: torch.tensor(cell.candidates) for cell in shape.cells}
    alive = {kind: torch.isfinite(rows) & candidates[kind] for kind, rows in arrays.items()}
    mix = {kind: Mixture(Softmax().mix(arrays[kind], alive[kind], 1.0)) for kind in arrays}
    rules = {"top2": TopEdges(2), "survivors": surviving_edges, "argmax": EdgeArgmax()}
    return rules[rule](shape, mix, alive)


def default_out(config: SearchConfig) -> Path:
    """A folder in `runs/` named after method, space, data, seed and the time of day."""
    data = Path(config.data.partition(":")[2]).name or config.data
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{config.method}-{config.space}-{data}-{config.seed}-{stamp}"
