"""Every method on digits at the same budget: in epochs, or in seconds of search.

`python benchmarks/methods_on_digits.py --out DIR [--budget epochs|seconds] [--methods A B …]`
searches each method's small form with every seed and evaluates what it found; `workbench compare
DIR/BUDGET` then makes the report.  A run that is there is kept, so the command goes on where
it was stopped.  The budget in seconds needs the runs of the budget in epochs: they tell how long an
epoch takes.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tqdm.auto import tqdm

from workbench import methods
from workbench.config import SearchConfig
from workbench.evaluate_config import EvaluateConfig
from workbench.evaluating import run_evaluation
from workbench.settings import ConfigError
from workbench.tasks import run_search
from workbench.trace import open_run
from workbench.walk import Walk

# Width, depth and noise of the demo; four nodes as in the DARTS space.
SIZE = {"channels": 8, "cells": 3, "noise": 1.0, "kernel_threads": 1}
METHODS = (
    "darts", "entmax3_prune_single_level", "single_level", "pc_darts", "gdas", "fair_darts",
    "gaea", "drop_nas", "milenas", "asap", "darts_minus", "snas", "entmax3_prune",
    "random_genotype", "random_search", "darts_pt",
)  # fmt: skip


def main() -> None:
    """Run what is not there yet, some at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", choices=("epochs", "seconds"), default="epochs")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a search, at that budget")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    given = parser.parse_args()
    jobs = [(m, s) for s in range(given.seeds) for m in given.methods]
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            pool.submit(one, given.out, given.budget, given.seconds, method, seed): method
            for method, seed in jobs
        }
        for future in tqdm(as_completed(futures), total=len(jobs), desc=given.budget):
            future.result()


def one(out: Path, budget: str, seconds: float, method: str, seed: int) -> None:
    """Search and evaluate once, unless it is done."""
    place = out / budget / f"{method}-{seed}"
    if (place / "evaluation.json").exists():
        return
    if not (place / "genotype.json").exists():
        settings = {"method": f"{method}_small", "seed": seed, "out": place, **SIZE}
        if budget == "seconds":
            settings |= lasting(out / "epochs" / f"{method}-{seed}", method, seconds)
        run_search(SearchConfig(**settings), quiet=True)  # pyright: ignore[reportArgumentType]
    run_evaluation(place, EvaluateConfig(seed=seed), quiet=True)


def lasting(measured: Path, method: str, seconds: float) -> dict[str, int]:
    """The epochs, or candidates, that take about `seconds`, from a search of the same seed."""
    if not (measured / "genotype.json").exists():
        raise ConfigError(f"{measured} is not there; run with --budget epochs first")
    run = open_run(measured)
    share = seconds / max(float(run.trace["seconds"][-1]), 1e-9)
    small = methods.find(f"{method}_small")
    if isinstance(small, Walk):
        return {"candidates": max(1, round(small.candidates * share))} if small.score else {}
    stages = len(set(run.epochs["stage"]))
    return {"epochs": max(stages, round(len(run.epochs) * share))}


if __name__ == "__main__":
    main()
