"""Commands that do the work: search, evaluate, report, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from workbench import limits
from workbench.config import SearchConfig
from workbench.evaluate_config import EvaluateConfig
from workbench.settings import ConfigError

_RunPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
_Flat = tyro.conf.arg(name="")  # the config's settings are flags of the command itself


def search(
    config: Annotated[SearchConfig, _Flat],
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None,
) -> None:
    """Search a network and record every edge's architecture weights at every step.

    Settings can also come from a YAML file: `--config FILE`; flags win over it.
    SIGINT, SIGTERM and SIGUSR1 end it after its step, saved, with exit code 75.

    Args:
        config: the settings.
        resume: a run folder whose search goes on where it was saved, with its own settings; only
            those of the machine may be given beside it.
    """
    from workbench import evaluating, tasks
    from workbench.trace import open_run

    if resume is None:
        run = tasks.run_search(config)
    else:
        before = evaluating.searched_with(open_run(resume))
        run = tasks.resume(resume, config.unlike(before))
    found = run.genotype or f"{run.status} before its end, so it derived nothing"
    print(f"{found}\n{run.path}")


def evaluate(
    run: _RunPath,
    config: Annotated[EvaluateConfig, _Flat],
    seeds: int = 1,
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Train the network that a run derived, from scratch, and test it once.

    Another --seed adds an evaluation: how much of the accuracy is luck of the training.
    SIGINT, SIGTERM and SIGUSR1 end it after its step, saved, with exit code 75.

    Args:
        run: the run folder.
        config: the settings.
        seeds: trainings one after the other, with --seed and the seeds after it.
        resume: go on with the evaluation that did not end, and the seeds after it.
    """
    from workbench import evaluating
    from workbench.trace import open_run
    from workbench.trace.evaluations import seed_of

    if resume:
        if config.changed() or seeds != 1:
            raise ConfigError("--resume keeps the evaluation's settings; leave other flags out")
        wanted = evaluating.resume_evaluation(run)
    else:
        most = min(limits.SEEDS, limits.SEED - config.seed + 1)
        if not 1 <= seeds <= most:
            raise ConfigError(
                f"--seeds must be 1 to {most:,} from --seed {config.seed} on, not {seeds}"
            )
        wanted = list(range(config.seed, config.seed + seeds))
        evaluating.run_evaluations(run, config, wanted)
    by_seed = {seed_of(found): found for found in open_run(run).evaluations}
    for seed in wanted:
        line = _evaluation_line(by_seed[seed])
        print(line if len(wanted) == 1 else f"seed {seed}: {line}")


def report(run: _RunPath, out: Path | None = None, notebook: str | None = None) -> None:
    """Write a run's report: one HTML file that needs no network.

    Args:
        run: the run folder.
        out: the file; by default RUN/report.html, or called after the notebook.
        notebook: another than the whole report: 02_weights, 04_pruning, 05_cells, 08_evaluate, or
            a file; it is executed with its parameter `run`.
    """
    from workbench.report import report as write
    from workbench.report import with_size

    print(with_size(write(run, out=out, notebook=notebook)))


def demo(
    out: Path = Path("demo"),
    seed: int = 0,
    epochs: int | None = None,
    evaluation_epochs: int | None = None,
) -> None:
    """Search, evaluate and report on the bundled digits, in a few minutes on two CPU cores.

    Args:
        out: the run folder.
        seed: of everything.
        epochs: of the search phase, if fewer or more than the demo's.
        evaluation_epochs: of the evaluation phase, likewise.
    """
    from workbench.report import report as write
    from workbench.report import with_size
    from workbench.tasks import run_demo

    run = run_demo(out, seed=seed, epochs=epochs, evaluation_epochs=evaluation_epochs)
    print(_evaluation_line(run.evaluation or {}))
    print(f"open {with_size(write(run.path))}")


def _evaluation_line(found: dict[str, object]) -> str:
    return (
        f"test accuracy {100 * float(str(found['test_accuracy'])):.2f} %, "
        f"mAP {100 * float(str(found['test_map'])):.2f} %, "
        f"{found['parameters']:,} parameters, {found['macs']:,} MACs"
    )
