"""Whole jobs of the command line and notebooks: search, evaluate, demo, with their records."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from workbench.alpha_files import read_alphas
from workbench.config import SearchConfig
from workbench.engine import Machine
from workbench.evaluate import evaluate
from workbench.evaluate_config import EvaluateConfig
from workbench.parts.derivations import EdgeArgmax, TopEdges, surviving_edges
from workbench.parts.relaxations import Softmax
from workbench.progress import progress
from workbench.protocols import Mixture
from workbench.search import search
from workbench.settings import ConfigError, checked
from workbench.trace import Run, RunError, open_run, record, record_evaluation
from workbench.trace.evaluations import seed_of

if TYPE_CHECKING:
    from workbench.events import SearchEvent
    from workbench.spaces.genotype import Genotype


def run_search(config: SearchConfig, *, quiet: bool | None = None) -> Run:
    """Search as `config` says, record it, and return the run.

    Args:
        quiet: no progress bar; by default there is one where a person can see it.

    Raises:
        ConfigError, DataError, SpaceError, MachineError, RunError: before anything is written.
    """
    out = config.out or default_out(config)
    with closing(search_events(config, out)) as events:
        for _ in progress(events, title=config.method, disable=quiet):
            pass
    return open_run(out)


def search_events(config: SearchConfig, out: Path) -> Generator[SearchEvent]:
    """The recorded events of a search, for whoever wants to look at each."""
    method, space = config.build_method(), config.build_space()
    probes, machine, data = config.build_probes(), config.build_machine(), config.build_data()
    meta = {
        "config": config.model_dump(mode="json"),
        "command": config.command("search", out=str(out)),
    }
    events = search(method, space, data, probes=probes, machine=machine, seed=config.seed)
    return record(events, out, meta=meta)


def run_evaluation(
    path: Path | str, config: EvaluateConfig | None = None, *, quiet: bool | None = None
) -> Run:
    """Train the network a run derived, from scratch, and measure it on the test split.

    A run may be evaluated again under the same recipe with another seed: `Run.evaluations`.

    Raises:
        RunError: if the run is not finished and was not stopped after an epoch, or was evaluated
            with this seed or another recipe.
        ConfigError: if a setting does not fit.
    """
    config, run = config or EvaluateConfig(), open_run(path)
    genotype = _found(run)
    searched = checked(SearchConfig, dict(_settings(run)))
    data = searched.build_data()
    recipe = config.build_recipe(searched.data, auxiliary=not genotype.is_nasbench201)
    machine = Machine(config.device, threads=config.threads)
    made = {
        **asdict(recipe),
        "seed": config.seed,
        "machine": machine.describe(),
        "command": config.command("evaluate", str(path)),
    }
    events = record_evaluation(
        evaluate(genotype, data, recipe, machine=machine, seed=config.seed), path, recipe=made
    )
    with closing(events):
        for _ in progress(events, title="evaluate", disable=quiet):
            pass
    return run.refresh()


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
    path: Path | str, config: EvaluateConfig, *, seeds: int, quiet: bool | None = None
) -> dict[int, dict[str, object]]:
    """`run_evaluation` with `seeds` seeds, one after the other from `config.seed` on.

    Returns:
        The evaluations, by seed.

    Raises:
        RunError, ConfigError: as `run_evaluation`; those before it are kept.
    """
    if seeds < 1:
        raise ConfigError(f"--seeds must be 1 or more, not {seeds}")
    wanted = range(config.seed, config.seed + seeds)
    run = open_run(path)
    for seed in wanted:
        run = run_evaluation(path, config.model_copy(update={"seed": seed}), quiet=quiet)
    by_seed = {seed_of(found): found for found in run.evaluations}
    return {seed: by_seed[seed] for seed in wanted}


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
    """Search on the bundled digits and evaluate what was found, within minutes on two cores."""
    given = {"out": out, "seed": seed, "epochs": DEMO.epochs if epochs is None else epochs}
    search_config = checked(SearchConfig, {**DEMO.model_dump(), **given})
    evaluate_config = checked(EvaluateConfig, {"epochs": evaluation_epochs, "seed": seed})
    return run_evaluation(run_search(search_config).path, evaluate_config)


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


def _settings(run: Run) -> dict[str, object]:
    settings = run.meta.get("config")
    if not isinstance(settings, dict):
        raise RunError(f"{run.path} was not made by `workbench search`: it holds no settings")
    return settings


def default_out(config: SearchConfig) -> Path:
    """A folder in `runs/` named after method, space, data, seed and the time of day."""
    data = Path(config.data.partition(":")[2]).name or config.data
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{config.method}-{config.space}-{data}-{config.seed}-{stamp}"
