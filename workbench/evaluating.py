"""The evaluation phase as a whole job: train what a run derived, go on with it, several seeds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from workbench.config import SearchConfig
from workbench.engine import Machine
from workbench.evaluate import evaluate
from workbench.evaluate_config import EvaluateConfig
from workbench.events import Evaluated
from workbench.interrupts import Asked, Interrupted, interruptible
from workbench.progress import followed
from workbench.settings import checked
from workbench.snapshots import load_state
from workbench.trace import Run, RunError, open_run, record_evaluation
from workbench.trace.checkpoints import Checkpoint
from workbench.trace.evaluation_record import unfinished
from workbench.trace.folder import refuse_unwritable

if TYPE_CHECKING:
    from workbench.data import Data
    from workbench.spaces.genotype import Genotype


def run_evaluation(
    path: Path | str,
    config: EvaluateConfig | None = None,
    *,
    then: Sequence[int] = (),
    quiet: bool | None = None,
) -> Run:
    """Train the network a run derived, from scratch, and measure it on the test split.

    A run may be evaluated again under the same recipe with another seed: `Run.evaluations`.

    Args:
        then: seeds that are to follow, for whoever goes on with it.
        quiet: no progress bar.

    Raises:
        RunError: if the run is not finished and was not stopped after an epoch, or was evaluated
            with this seed or another recipe.
        ConfigError: if a setting does not fit.
        Interrupted: if a signal ended it; it is saved and can go on.
    """
    return _evaluated(open_run(path), config or EvaluateConfig(), then, None, quiet)


def resume_evaluation(path: Path | str, *, quiet: bool | None = None) -> list[int]:
    """Go on with an evaluation that ended before its time, and with the seeds that should follow.

    Returns:
        The seeds that were trained to their end.

    Raises:
        RunError: if none can go on, or another process evaluates the run.
        SnapshotError: if the data are not those that were saved.
        Interrupted: if a signal ended it; it is saved and can go on.
    """
    run = open_run(path)
    start = unfinished(run.path)
    if start is None:
        raise RunError(f"{run.path} holds no evaluation that can go on; leave --resume out")
    config, then = _noted(start)
    run = _evaluated(run, config, then, start, quiet)
    run_evaluations(run.path, config, then, quiet=quiet)
    return [config.seed, *then]


def _noted(start: Checkpoint) -> tuple[EvaluateConfig, list[int]]:
    """The settings that were kept with a saved state, and the seeds that should follow."""
    note = start.record.get("note")
    config, then = (note.get(n) for n in ("config", "then")) if isinstance(note, dict) else (0, 0)
    whole = isinstance(then, list) and all(type(seed) is int for seed in then)
    if not isinstance(config, dict) or not whole:
        raise RunError(
            f"{start.file} does not hold the evaluation's settings; remove {start.file.parent} to "
            "begin it again"
        )
    seeds = [checked(EvaluateConfig, {"seed": seed}).seed for seed in cast("list[int]", then)]
    return checked(EvaluateConfig, dict(config)), seeds


def _evaluated(
    run: Run,
    config: EvaluateConfig,
    then: Sequence[int],
    start: Checkpoint | None,
    quiet: bool | None,
) -> Run:
    with interruptible() as asked:
        return _evaluated_unless(asked, run, config, then, start, quiet)


def _evaluated_unless(
    asked: Asked,
    run: Run,
    config: EvaluateConfig,
    then: Sequence[int],
    start: Checkpoint | None,
    quiet: bool | None,
) -> Run:
    refuse_unwritable(run.path)
    genotype, searched = _found(run), _pictured(run, config)
    data = searched.build_data()
    if config.data is not None:
        _refuse_others(run, data)
    recipe = config.build_recipe(searched.data, auxiliary=not genotype.is_nasbench201)
    machine = Machine(config.device, threads=config.threads)
    made = {
        **asdict(recipe),
        "seed": config.seed,
        "machine": machine.describe(),
        "command": config.command("evaluate", str(run.path)),
    }
    state = None if start is None else load_state(start.state)
    events = record_evaluation(
        evaluate(genotype, data, recipe, machine=machine, seed=config.seed, start=state),
        run.path,
        recipe=made,
        note={"config": config.model_dump(mode="json"), "then": list(then)},
        checkpoints=searched.checkpointing(),
        start=start,
        asked_to_stop=asked,
    )
    ended = followed(events, "evaluate", quiet)
    if asked.name is not None and not isinstance(ended, Evaluated):
        command = shlex.join(["workbench", "evaluate", str(run.path), "--resume"])
        raise Interrupted(asked.name, run.path, command)
    if asked.name is not None and then:  # it had nothing left to save; those after it are not begun
        left = config.model_copy(update={"seed": then[0]})
        command = left.command("evaluate", str(run.path), seeds=str(len(then)))
        raise Interrupted(asked.name, run.path, command)
    return run.refresh()


def _pictured(run: Run, config: EvaluateConfig) -> SearchConfig:
    """The settings that say which pictures a network is trained on."""
    knows = isinstance(run.meta.get("config"), dict)
    if config.data is None and not knows:
        raise RunError(
            f"{run.path} was not made by `workbench search`, so it does not say how its pictures "
            "are loaded; say which they are, as --data digits"
        )
    if config.data is None:
        return searched_with(run)
    if knows:
        raise RunError(
            f"{run.path} says its pictures itself, and --data is for a search made in Python; "
            "leave --data out"
        )
    return checked(SearchConfig, {"data": config.data})


def _refuse_others(run: Run, data: Data) -> None:
    """Refuse pictures that the run was not searched on, where it says on which."""
    told = run.meta.get("data")
    if isinstance(told, dict) and told.get("fingerprint", data.fingerprint) != data.fingerprint:
        raise RunError(
            f"{run.path} was searched on other pictures ({told.get('name')}) than {data.name} "
            "has now; give the same, or call workbench.evaluate.evaluate for a transfer"
        )


def _found(run: Run) -> Genotype:
    """What the run derived; of one that was stopped, what it would have at its last epoch's end."""
    found = run.latest_genotype if run.status == "stopped" else run.genotype
    if found is None:
        raise RunError(
            f"{run.path} has no genotype yet (status {run.status}); let the search end, or search "
            "anew"
        )
    return found


def run_evaluations(
    path: Path | str, config: EvaluateConfig, seeds: Sequence[int], *, quiet: bool | None = None
) -> None:
    """`run_evaluation` with each of `seeds`, one after the other.

    Raises:
        RunError, ConfigError, Interrupted: as `run_evaluation`; those before it are kept.
    """
    for seed in seeds:  # all of them before any is trained
        checked(EvaluateConfig, {"seed": seed})
    with interruptible() as asked:  # between two trainings
        for index, seed in enumerate(seeds):
            own, left = config.model_copy(update={"seed": seed}), len(seeds) - index
            if asked.name is not None:
                command = own.command("evaluate", str(path), seeds=str(left))
                raise Interrupted(asked.name, Path(path), command)
            run_evaluation(path, own, then=seeds[index + 1 :], quiet=quiet)


def searched_with(run: Run) -> SearchConfig:
    """The settings of a run that `workbench search` made, checked.

    Raises:
        RunError: if it is none.
        ConfigError: if they are none of this version.
    """
    return checked(SearchConfig, dict(settings_of(run)))


def settings_of(run: Run) -> dict[str, object]:
    """The settings a run was searched with.

    Raises:
        RunError: if it holds none.
    """
    settings = run.meta.get("config")
    if not isinstance(settings, dict):
        raise RunError(f"{run.path} was not made by `workbench search`: it holds no settings")
    return settings
